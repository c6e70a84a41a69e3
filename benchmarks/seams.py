"""How visible the borders of edits and outpaintings are, with the bundled model.

    .venv/bin/python benchmarks/seams.py [--pictures 12] [-o sheet.png]

Each picture is an object on a plain background. An edit repaints the right three eighths with the
same prompt; outpainting adds a quarter on the right. In levels of 255, along the border:

    across   mean absolute difference of the two pixels at the border
    beside   the same between neighbours 2 and 3 pixels away, on both sides
    tint     difference of the background colours: means of 16 kept and 8 painted pixels, without
             the 8 nearest to the border, in the top 20 rows, which rarely show the object
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import unclip
from unclip.media.grid import make_grid

THINGS = ("fox", "car", "pizza", "penguin", "rocket", "house")
GROUNDS = ("light blue", "green", "yellow", "pink", "light gray", "white")
Pixels = NDArray[np.float64]


@dataclass(frozen=True)
class Seam:
    """One border, in levels of 255."""

    across: float
    beside: float
    tint: float


def measure(picture: Image.Image, x: int) -> Seam:
    """The border between columns `x - 1` and `x`."""
    rows: Pixels = np.asarray(picture, dtype=np.float64)
    steps = np.abs(np.diff(rows, axis=1)).mean((0, 2))  # (W - 1,), step i between i and i + 1
    beside = [steps[x - 1 + off] for off in (-3, -2, 2, 3)]
    kept, painted = rows[:, x - 16 : x], rows[:, x + 8 : x + 16]
    tint = np.abs(kept[:20].mean((0, 1)) - painted[:20].mean((0, 1))).mean()
    return Seam(float(steps[x - 1]), float(np.mean(beside)), float(tint))


def main() -> None:
    """Print one line for edits and one for outpaintings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("-o", "--output", type=Path, help="save a sheet of the results")
    options = parser.parse_args()
    pipe = unclip.load()
    seams: dict[str, list[Seam]] = {"edit": [], "outpaint": []}
    drawn = []
    mask = Image.new("L", (256, 256), 0)
    mask.paste(255, (160, 0, 256, 256))
    for number in range(options.pictures):
        thing, ground = THINGS[number % 6], GROUNDS[(number + number // 6) % 6]
        prompt = f"a {thing} on a {ground} background"
        picture = pipe.generate(prompt, seed=number)[0]
        edited = pipe.edit(picture, mask, prompt, seed=100 + number)[0]
        wider = pipe.outpaint(picture, right=64, prompt=prompt, seed=100 + number)[0]
        seams["edit"].append(measure(edited, 160))
        seams["outpaint"].append(measure(wider, 256))
        drawn += [edited, wider.crop((64, 0, 320, 256))]
    for name, found in seams.items():
        across, beside, tint = (
            np.mean([getattr(one, part) for one in found]) for part in ("across", "beside", "tint")
        )
        print(f"{name:9} across {across:5.2f}  beside {beside:5.2f}  tint {tint:5.2f}")
    if options.output:
        make_grid(drawn).save(options.output)


if __name__ == "__main__":
    main()
