"""How good an upsampler of 256 to 1024 is: beside bicubic and Lanczos, and with how much memory.

    .venv/bin/python benchmarks/enlarging.py [--model emoji-cpu] [--data data/emoji]
        [--pictures 24] [-o sheet.png]
    .venv/bin/python benchmarks/enlarging.py --memory

Of true renderings of held out scenes, averaged down to 256 and enlarged again:

    psnr     in dB, mean of the pictures'
    energy   Laplacian energy as a share of the true rendering's at 1024
    grid     mean difference of neighbours at every fourth pixel's border, where the upsampler's
             patches meet, as a share of that at the borders between

Of pictures that the model draws of the same scenes' captions there is no truth: their energy is a
share of that of the true renderings, and so is that at their own 256 pixels. `--memory` enlarges
one picture to 1024, 2048 and 4096 pixels, each in a process of its own, and prints its peak.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

import unclip
from unclip.emoji.source import EmojiScenes
from unclip.evaluate.sharpness import laplacian_energy
from unclip.media import to_pictures, to_tensor
from unclip.media.grid import make_grid
from unclip.media.measures import psnr
from unclip.rng import Rng
from unclip.train.recipe import load_recipe
from unclip.types import Cond

Enlarge = Callable[[Tensor], Tensor]


def grid(picture: Tensor) -> float:
    """How much more neighbours differ where patches of 4 pixels meet than elsewhere."""
    steps = (picture[..., 1:] - picture[..., :-1]).abs().mean((0, 1, 2))  # (W - 1,)
    meet = torch.arange(1, len(steps) + 1) % 4 == 0
    return float(steps[meet].mean() / steps[~meet].mean())


def resampling(method: Image.Resampling) -> Enlarge:
    """Pillow's."""

    def enlarge(small: Tensor) -> Tensor:
        (picture,) = to_pictures(small)
        return to_tensor([picture.resize((1024, 1024), method)])

    return enlarge


def ways(pipe: unclip.Pipeline, name: str) -> dict[str, Enlarge]:
    """Each takes (1, 3, 256, 256) to (1, 3, 1024, 1024)."""
    stage = pipe.stages[name]

    def network(small: Tensor) -> Tensor:
        image = stage.sample(Cond(image=small), Rng([0])).image
        assert image is not None
        return image.float()

    usual = {one: resampling(Image.Resampling[one.upper()]) for one in ("bicubic", "lanczos")}
    return {name: network, **usual}


def scenes(data: Path) -> Iterator[tuple[Tensor, str]]:
    """True renderings (1, 3, 1024, 1024) of held out scenes, and their captions."""
    settings = load_recipe("emoji-1024").data.dump()
    settings |= {"path": data, "split": "heldout", "crop_size": None, "languages": {"en": 1.0}}
    source = EmojiScenes(EmojiScenes.Config.parse(settings), (1024, 1024))
    for sample in source:
        yield to_tensor([Image.fromarray(sample["image"])]), sample["caption"]


def compare(options: argparse.Namespace) -> None:
    """Print one line for each way and each kind of picture."""
    pipe = unclip.load(options.model)
    every = ways(pipe, options.stage)
    found: dict[str, list[tuple[float, float, float]]] = {}
    shown: list[Image.Image] = []
    own, seconds = list[float](), list[float]()
    for number, (truth, caption) in enumerate(islice(scenes(options.data), options.pictures)):
        real = float(laplacian_energy(truth))
        pictures = pipe.generate(caption, seed=number)
        drawn = to_tensor(pictures)
        averaged = F.avg_pool2d(truth, 4)
        own.append(float(laplacian_energy(drawn)) / float(laplacian_energy(averaged)))
        for name, enlarge in every.items():
            begun = time.perf_counter()
            large, of_drawn = enlarge(averaged), enlarge(drawn)
            if name == options.stage:
                seconds.append((time.perf_counter() - begun) / 2)
                shown += [*to_pictures(truth), *to_pictures(large), *to_pictures(of_drawn)]
            for kind, one in (("rendered", large), ("drawn", of_drawn)):
                energy = float(laplacian_energy(one)) / real
                found.setdefault(f"{name:15} {kind:9}", []).append(
                    (float(psnr(one, truth)), energy, grid(one))
                )
    for name, rows in found.items():
        dB, energy, patches = (sum(column) / len(rows) for column in zip(*rows, strict=True))
        quality = f"psnr {dB:5.2f}  " if "rendered" in name else " " * 12
        print(f"{name}  {quality}energy {energy:5.2f}  grid {patches:5.2f}")
    print(f"drawn at 256: energy {sum(own) / len(own):.2f}")
    print(f"{options.stage}: {sum(seconds) / len(seconds):.2f} s a picture")
    if options.output:
        make_grid(shown, columns=3).save(options.output)


def memory(options: argparse.Namespace) -> None:
    """Print the peak of a process that enlarges a picture to each size."""
    for side in (1024, 2048, 4096):
        command = [sys.executable, __file__, "--model", options.model, "--stage", options.stage]
        run = [*command, "--to", str(side)]
        print(side, subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip())


def once(options: argparse.Namespace) -> None:
    """Enlarge one picture; print the peak before and after, and the picture's own size."""
    pipe = unclip.load(options.model)
    stage, small = pipe.stages[options.stage], torch.rand(1, 3, *[options.to // 4] * 2) * 2 - 1
    stage.sample(Cond(image=small[..., :64, :64]), Rng([0]))  # weights are read
    before = peak()
    begun = time.perf_counter()
    drawn = stage.sample(Cond(image=small), Rng([0])).image
    assert drawn is not None
    taken = time.perf_counter() - begun
    own = drawn.numel() * drawn.element_size() / 2**20
    print(f"{before:.0f} -> {peak():.0f} MiB, a picture {own:.0f} MiB, {taken:.1f} s")


def peak() -> float:
    """MiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="emoji-cpu")
    parser.add_argument("--stage", default="upsampler_1024")
    parser.add_argument("--data", type=Path, default=Path("data/emoji"))
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("-o", "--output", type=Path, help="save truth, enlarged, drawn")
    parser.add_argument("--memory", action="store_true", help="peaks at 1024, 2048 and 4096")
    parser.add_argument("--to", type=int, help="enlarge one picture to this size")
    options = parser.parse_args()
    if options.to:
        once(options)
    elif options.memory:
        memory(options)
    else:
        compare(options)


if __name__ == "__main__":
    main()
