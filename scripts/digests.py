"""Print digests of the results of every ability, with fixed seeds.

    .venv/bin/python scripts/digests.py                    print them
    .venv/bin/python scripts/digests.py -o before.json     save them
    .venv/bin/python scripts/digests.py --against before.json

Compare them before and after a refactoring. They are equal on one machine with the same number of
threads. Other machines may round differently, so this is not a test.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import unclip
from unclip.diffusion.samplers import SAMPLERS

Draw = Callable[[Image.Image], Sequence[Any]]


def mask(picture: Image.Image) -> Image.Image:
    """A mask of the middle ninth, in white."""
    third = picture.width // 3
    mask = Image.new("L", picture.size, 0)
    mask.paste(255, (third, third, 2 * third, 2 * third))
    return mask


def abilities(pipe: Any) -> dict[str, Draw]:
    """Name -> function from a picture to pictures or numbers."""
    fox, wolf = "a fox", "a blue car"
    short: dict[str, Any] = {"steps": 4, "upsampler_steps": 3}
    every: dict[str, Draw] = {
        "generate": lambda _: pipe.generate("a red car", n=3, seed=7),
        "generate, negative": lambda _: pipe.generate(fox, negative_prompt="a car", **short),
        "generate, best of": lambda _: pipe.generate(fox, best_of=2, **short),
        "generate, guidance": lambda _: pipe.generate(
            fox, guidance_scale=4, image_guidance_scale=2, clip_guidance_scale=5, **short
        ),
        "image_to_image": lambda one: pipe.image_to_image(one, wolf, 0.7, n=2, **short),
        "variations": lambda one: pipe.variations(one, n=2, **short),
        "edit": lambda one: pipe.edit(one, mask(one), wolf, n=2, seed=3, **short),
        "outpaint": lambda one: pipe.outpaint(one, right=64, top=32, prompt=wolf, **short),
        "interpolate, texts": lambda _: pipe.interpolate(fox, wolf, frames=3, **short),
        "interpolate": lambda one: pipe.interpolate(one, wolf, frames=3, **short),
        "text_diff": lambda one: pipe.text_diff(one, fox, wolf, frames=3, **short),
        "reconstruct": lambda one: pipe.reconstruct(
            one, [1, 2], pictures=[one, one.rotate(90), one.rotate(180)], **short
        ),
        "upscale": lambda one: pipe.upscale(one.resize((64, 64)), n=2),
        "probe": lambda one: pipe.probe(one, [fox, wolf]),
    }
    every |= {
        f"sampler {name}": lambda _, name=name: pipe.generate(fox, sampler=name, **short)
        for name in SAMPLERS
    }
    every |= {
        f"prior {name}": lambda _, name=name: pipe.generate(fox, prior=name, **short)
        for name in (*pipe.model.priors, "none")
    }
    return every


def digest(results: Sequence[Any]) -> str:
    """A digest of the pixels of pictures, or of numbers as text."""
    found = hashlib.sha256()
    for one in results:
        found.update(one.tobytes() if isinstance(one, Image.Image) else repr(one).encode())
    return found.hexdigest()[:16]


def measure(model: str | None) -> dict[str, str]:
    """Name of the ability -> digest, or the error of a model without it."""
    pipe = unclip.load(model, device="cpu", dtype=torch.float32)
    given = pipe.generate("a fox", seed=1)[0]
    found = {}
    for name, draw in abilities(pipe).items():
        try:
            found[name] = digest(draw(given))
        except unclip.UnclipError as error:
            found[name] = str(error)
        print(f"{name:24}{found[name]}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="default: the bundled one")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--against", type=Path, help="earlier digests; exit code 1 if any changed")
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    found = measure(wanted.model)
    if wanted.output:
        wanted.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if wanted.against:
        before = json.loads(wanted.against.read_text(encoding="utf-8"))
        changed = [name for name in before | found if before.get(name) != found.get(name)]
        print(f"changed: {', '.join(changed)}" if changed else f"{len(found)} are equal")
        sys.exit(bool(changed))


if __name__ == "__main__":
    main()
