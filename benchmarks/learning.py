"""How soon a decoder has learnt something, side by side with DALLE2-pytorch 1.15.6.

    make peers
    python benchmarks/learning.py --peers .venv-peers/bin/python
    python benchmarks/learning.py --peers .venv-peers/bin/python --minutes 4 --out learning.png
    python benchmarks/learning.py --peers .venv-peers/bin/python --dim 32

Both sides learn from the same pictures of coloured shapes and their embeddings z_i by the bundled
CLIP, with the same threads and float32. Ours has the settings of the recipe `folder-scratch`,
theirs those of its README: a decoder trainer, and a U-Net of `dim=128`. `--dim 32` gives theirs
about as many parameters as ours. Ours trains for `--minutes`, theirs for three times as long; only
training counts. At each mark both are measured on held-out pictures:

- PSNR: noise, the same for both, is taken off pictures at eight levels. It is the mean over these.
- score: 36 pictures are drawn from held-out z_i. It is the share that shows the right shape in the
  right colour, by least squares over all drawings there can be.

It prints both curves, how long each side takes to what the other has at its end, and the ratio; it
draws them and the last pictures into `--out`. Takes five times `--minutes`. Needs an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import add_options, quiet
from numpy.typing import NDArray
from peers import DALLE2_PYTORCH, HERE
from PIL import Image

import unclip
from unclip.data.shapes import COLOURS, SHAPES, Shapes, ShapesConfig, _draw
from unclip.diffusion.schedule import Cosine
from unclip.media import from_arrays, to_pictures
from unclip.media.grid import make_grid
from unclip.pages.raster import png
from unclip.pages.report import Curve, Line

NETWORK = {"multipliers": [1, 2, 3], "depth": 3, "space_to_depth": 2}
"""Of ours, where it is not the recipe's: 16x16 pictures; about the parameters of their dim 32."""

LONGER = 3
"""How many times as long theirs trains."""

LEVELS, HELD, DRAWN = 8, 64, 36
NAMES = {"ours": "unclip", "theirs": DALLE2_PYTORCH}
MEASURES = {"psnr": "PSNR in dB", "score": "share of drawn pictures that are right"}

Samples = list[dict[str, Any]]


class Judge:
    """Says which shape in which colour a picture shows, by least squares over all drawings."""

    def __init__(self, size: int) -> None:
        radii, places = np.linspace(0.25, 0.4, 6), np.linspace(0.25, 0.75, 17)
        self.shapes: list[str] = []
        drawings = []
        for shape in SHAPES:
            for radius in radii:
                inside = [place for place in places if radius <= place <= 1 - radius]
                for at in [(x, y) for x in inside for y in inside]:
                    black = _draw(shape, (0, 0, 0), at, radius, (size, size))
                    drawings.append(1 - black[..., 0].reshape(-1) / np.float32(255))
                    self.shapes.append(shape)
        self.drawings = np.stack(drawings).astype(np.float32)  # (N, S * S), 1 where the shape is

    def sees(self, picture: NDArray[np.uint8]) -> tuple[str, str] | None:
        """(colour, shape) of (S, S, 3); None where no drawing explains 3/4 of what is not white."""
        shown = picture.reshape(-1, 3).astype(np.float32) - 255
        tints = np.array(list(COLOURS.values()), np.float32) - 255  # (C, 3)
        squares = np.square(self.drawings).sum(1)[:, None] * np.square(tints).sum(1)
        gains = 2 * self.drawings @ (shown @ tints.T) - squares  # (N, C), of squared error
        best, tint = np.unravel_index(gains.argmax(), gains.shape)
        if gains[best, tint] < 0.75 * np.square(shown).sum():
            return None
        return list(COLOURS)[tint], self.shapes[best]

    def score(self, pictures: Sequence[NDArray[np.uint8]], samples: Samples) -> float:
        """The share of pictures that show what these samples are of."""
        wanted = [(one["spec"]["colour"], one["spec"]["shape"]) for one in samples]
        pairs = zip(pictures, wanted, strict=True)
        return float(np.mean([self.sees(one) == two for one, two in pairs]))


def samples_of(seed: int, count: int, size: int) -> tuple[Samples, torch.Tensor]:
    """Shapes, and their z_i (count, D); CLIP sees the same drawings at its own size."""
    clip = unclip.load("emoji-cpu").model.clip("embedding pictures", "vision")
    assert clip.image_size is not None
    small, large = (Shapes(ShapesConfig(seed=seed), one) for one in ((size, size), clip.image_size))
    embeds = []
    for first in range(0, count, 100):
        numbers = range(first, min(first + 100, count))
        pictures = from_arrays([large.sample(number)["image"] for number in numbers])
        embeds.append(clip.embed_images(pictures).float().cpu())
    return [dict(small.sample(number)) for number in range(count)], torch.cat(embeds)


def write_data(file: Path, given: argparse.Namespace) -> Samples:
    """What both sides learn from and are measured on. Returns the samples that are drawn."""
    seen, embeds = samples_of(2 * given.seed, given.pictures, given.size)
    held, held_embeds = samples_of(2 * given.seed + 1, HELD + DRAWN, given.size)
    true = from_arrays([one["image"] for one in held[:HELD]])  # (HELD, 3, S, S)
    schedule = Cosine()
    places = (torch.arange(LEVELS) + 0.5) / LEVELS * (schedule.length - 1)
    levels = schedule.level(places.round().double())
    noise = torch.randn(LEVELS, *true.shape, generator=torch.Generator().manual_seed(given.seed))
    alphas, sigmas = (one.reshape(-1, 1, 1, 1, 1) for one in (levels.alpha, levels.sigma))
    arrays = {
        "images": torch.from_numpy(np.stack([one["image"] for one in seen])),
        "embeds": embeds,
        "held": true,
        "held_embeds": held_embeds[:HELD],
        "draw_embeds": held_embeds[HELD:],
        "times": levels.t.long(),
        "alphas": levels.alpha,
        "noisy": alphas * true + sigmas * noise,
    }
    np.savez(file, **{key: value.numpy() for key, value in arrays.items()})
    return held[HELD:]


def trained(
    side: str, python: str, given: argparse.Namespace, work: Path, marks: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """What a side answers at each mark."""
    order = {
        "side": side,
        "data": str(work / "data.npz"),
        "marks": list(marks),
        "threads": given.threads,
        "seed": given.seed,
        "out": str(work),
        "network": NETWORK,
        "dim": given.dim,
        "recipe": str(Path(unclip.__file__).parent / "presets" / "folder-scratch.toml"),
    }
    process = subprocess.Popen(
        [python, str(HERE / "_learning.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(given.threads)},
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.close()
    yield from map(json.loads, process.stdout)
    if process.wait():
        raise SystemExit(f"the process of {NAMES[side]} ended; see its output above")


def measured(
    side: str, python: str, given: argparse.Namespace, work: Path, samples: Samples
) -> tuple[list[dict[str, Any]], list[Image.Image]]:
    """A side's curve, printed as it comes, and what it draws at the end."""
    seconds = 60 * given.minutes * (LONGER if side == "theirs" else 1)
    marks = [seconds * (number + 1) / given.marks for number in range(given.marks)]
    judge, curve, pictures = Judge(given.size), [], []
    for said in trained(side, python, given, work, marks):
        if not curve:
            print(f"\n{NAMES[side]}, {said['parameters'] / 1e6:.1f} M parameters")
            print("  minutes   steps    PSNR   score")
        pictures = to_pictures(torch.from_numpy(np.load(said["drawn"])))
        said["score"] = judge.score([np.asarray(one) for one in pictures], samples)
        said["minutes"] = said["seconds"] / 60
        curve.append(said)
        print(
            f"  {said['minutes']:7.2f}{said['steps']:8}{said['psnr']:8.2f}{said['score']:8.2f}",
            flush=True,
        )
    return curve, pictures


def reached(curve: Sequence[dict[str, Any]], key: str, goal: float) -> float | None:
    """Minutes until a measure first is at a goal, on straight lines between marks; None: never.

    Before the first mark nothing is known: what is there by then took as long as that.
    """
    if curve[0][key] >= goal:
        return float(curve[0]["minutes"])
    for before, after in pairwise(curve):
        if after[key] >= goal:
            share = (goal - before[key]) / (after[key] - before[key])
            return float(before["minutes"] + share * (after["minutes"] - before["minutes"]))
    return None


def tell(curves: dict[str, list[dict[str, Any]]]) -> None:
    """How long each side takes to what the other has at its end."""
    for key, title in MEASURES.items():
        for goal_of, other in (("ours", "theirs"), ("theirs", "ours")):
            goal, took = curves[goal_of][-1][key], curves[goal_of][-1]["minutes"]
            print(f"\n{title}, {goal:.2f}: {NAMES[goal_of]} after {took:.2f} minutes,")
            minutes = reached(curves[other], key, goal)
            end = curves[other][-1]["minutes"]
            said = f"after {minutes:.2f}" if minutes else f"not within {end:.2f}"
            print(f"  {NAMES[other]} {said}: {ratio(goal_of, took, minutes, end)}")


def ratio(goal_of: str, took: float, minutes: float | None, end: float) -> str:
    """How much sooner ours is there, in words."""
    if goal_of == "ours":
        found = (minutes or end) / took
        return f"{'' if minutes else 'at least '}{found:.1f} times as fast"
    return f"{took / minutes:.1f} times as fast" if minutes else f"less than {took / end:.1f} times"


def picture(
    curves: dict[str, list[dict[str, Any]]], drawn: dict[str, list[Image.Image]]
) -> Image.Image:
    """Both measures over time, and below them what each side draws at its end."""
    parts = []
    for key, title in MEASURES.items():
        lines = [
            Line(NAMES[side], tuple((one["minutes"], one[key]) for one in curve))
            for side, curve in curves.items()
        ]
        parts.append(png(Curve("held-out pictures", "minutes of training", title, tuple(lines))))
    half = parts[0].width // 2
    cells = [
        make_grid([one.resize((64, 64), Image.Resampling.NEAREST) for one in several], columns=6)
        for several in drawn.values()
    ]
    names = [f"{NAMES[side]}, {curves[side][-1]['minutes']:.1f} minutes" for side in drawn]
    cells = [one.resize((half, half * one.height // one.width)) for one in cells]
    parts.append(make_grid(cells, columns=2, labels=names))
    width, height = max(one.width for one in parts), sum(one.height for one in parts)
    sheet, top = Image.new("RGB", (width, height), "white"), 0
    for one in parts:
        sheet.paste(one, (0, top))
        top += one.height
    return sheet


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", required=True, help="Python of the peers' environment")
    parser.add_argument("--minutes", type=float, default=4.0, help="of ours; theirs has 3 times")
    parser.add_argument("--marks", type=int, default=8, help="measurements of each side")
    parser.add_argument("--pictures", type=int, default=3000, help="to learn from")
    parser.add_argument("--size", type=int, default=16, help="side of the pictures")
    parser.add_argument("--dim", type=int, default=128, help="their U-Net's (README: 128)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("learning.png"))
    add_options(parser)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    with quiet(given.threads, given.busy), tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        samples = write_data(work / "data.npz", given)
        real = [one["image"] for one in samples]
        print(f"real pictures: score {Judge(given.size).score(real, samples):.2f}", flush=True)
        curves, drawn = {}, {}
        for side, python in (("ours", sys.executable), ("theirs", given.peers)):
            curves[side], drawn[side] = measured(side, python, given, work, samples)
        tell(curves)
        picture(curves, drawn).save(given.out)
        print(f"\n{given.out}: both curves, and what both draw at the end")


if __name__ == "__main__":
    main()
