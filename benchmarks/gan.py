"""How often models of coloured shapes draw the colour and the shape that they are asked for.

    unclip train gan && unclip train tiny
    python benchmarks/gan.py runs/gan/model runs/tiny/model

Each model draws every prompt of the source `shapes` from the same seeds. An analytic judge
(`unclip.data.shapes.recognised`) says what each picture shows; the first row is its word on true
pictures. The deviation is that of a pixel over the seeds of a prompt, at 16 by 16 pixels.
"""

from __future__ import annotations

import argparse
import warnings
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import unclip
from unclip.data.shapes import COLOURS, SHAPES, Shapes, ShapesConfig, recognised
from unclip.media import to_tensor
from unclip.media.grid import make_grid
from unclip.media.measures import laplacian_energy, pixel_deviation

PROMPTS = [f"a {colour} {shape}" for colour in COLOURS for shape in SHAPES]
SIDE = 16


@dataclass(frozen=True)
class Figures:
    """What the judge says of pictures, and how they differ."""

    colour: float  # shares that are right
    shape: float
    both: float
    fit: float
    deviation: float
    energy: float

    def row(self, name: str) -> str:
        """A row of the table."""
        return f"| {name} | " + " | ".join(f"{one:.2f}" for one in astuple(self)) + " |"


def measured(pictures: list[list[Image.Image]]) -> Figures:
    """Of `pictures` of each of `PROMPTS`."""
    seen = [[recognised(np.asarray(one)) for one in each] for each in pictures]
    asked = [tuple(prompt.split()[1:]) for prompt in PROMPTS]
    flat = [(one, of) for each, of in zip(seen, asked, strict=True) for one in each]
    shares = [
        np.mean([one[0] == of[0] for one, of in flat]),
        np.mean([one[1] == of[1] for one, of in flat]),
        np.mean([one[:2] == of for one, of in flat]),
    ]
    fit = np.mean([one[2] for one, _ in flat])
    small = [
        to_tensor([one.resize((SIDE, SIDE), Image.Resampling.BOX) for one in each])
        for each in pictures
    ]
    spread = np.mean([pixel_deviation(one) for one in small])
    energy = float(laplacian_energy(torch.cat(small)).mean())
    return Figures(*map(float, (*shares, fit, spread, energy)))


def true(seeds: int, side: int) -> list[list[Image.Image]]:
    """As many true pictures of each prompt."""
    found: dict[str, list[Image.Image]] = {prompt: [] for prompt in PROMPTS}
    source, position = Shapes(ShapesConfig(seed=1), (side, side)), 0
    while min(map(len, found.values())) < seeds:
        sample = source.sample(position)
        found[sample["caption"]].append(Image.fromarray(sample["image"]))
        position += 1
    return [each[:seeds] for each in found.values()]


def draw(
    pipe: unclip.Pipeline, seeds: int, settings: dict[str, Any] | None = None
) -> list[list[Image.Image]]:
    """So many pictures of each of `PROMPTS`."""
    return [list(pipe.generate(one, n=seeds, seed=0, **(settings or {}))) for one in PROMPTS]


def main() -> None:
    """Draw, judge, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--set", default="", help="sampling settings, such as steps=4")
    parser.add_argument("--sheets", type=Path, help="a folder for a sheet of each model's pictures")
    given = parser.parse_args()
    warnings.simplefilter("ignore", unclip.errors.UnclipWarning)
    settings = {k: int(v) for k, _, v in (one.partition("=") for one in given.set.split() if one)}
    print("| model | colour | shape | both | fit | deviation | Laplacian energy |")
    print("|---|---|---|---|---|---|---|")
    print(measured(true(given.seeds, SIDE)).row("true pictures"))
    for model in given.models:
        pipe = unclip.load(model, device="cpu")
        drawn = draw(pipe, given.seeds, settings)
        print(measured(drawn).row(str(model)), flush=True)
        if given.sheets:
            given.sheets.mkdir(parents=True, exist_ok=True)
            cells = [
                one.resize((48, 48), Image.Resampling.NEAREST) for each in drawn for one in each
            ]
            name = "-".join(model.parts[-2:])
            make_grid(cells, columns=2 * given.seeds).save(given.sheets / f"{name}.png")


if __name__ == "__main__":
    main()
