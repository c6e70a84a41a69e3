"""What a prior's step takes with CLIP beside it, and from the cache of embeddings.

    python benchmarks/cache.py
    python benchmarks/cache.py --recipe emoji-cpu --pictures 512 --side 128 --repeat 5

The time does not depend on what pictures show: they are generated, and CLIP has fresh weights. Both
steps have the recipe's batch size and its workers, and alternate. Needs an idle machine.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from _machine import add_options, quiet, spread
from PIL import Image

from unclip.data.shapes import Shapes, ShapesConfig
from unclip.train.measuring import seconds_per_step
from unclip.train.recipe import load_recipe
from unclip.train.run import Run
from unclip.train.trainer import Trainer


def write_pictures(folder: Path, count: int, side: int) -> None:
    """Shapes with their captions."""
    source = Shapes(ShapesConfig(), (side, side))
    folder.mkdir()
    for number in range(count):
        sample = source.sample(number)
        Image.fromarray(sample["image"]).save(folder / f"{number}.jpg", quality=92)
        (folder / f"{number}.txt").write_text(sample["caption"])


def prior_of(recipe: str, pictures: Path, folder: Path, cache: bool) -> tuple[Run, Trainer]:
    """The trainer of the recipe's prior; its run is to be ended."""
    changes = ["data.source=folder", f"data.path={pictures}", "tokenizer.captions=200"]
    made = load_recipe(recipe, [*changes, f"stages.prior.train.cache={str(cache).lower()}"])
    run = Run(made, folder, torch.device("cpu"))
    run.begin(resume=False)
    run.export("clip", run.build("clip"))
    return run, run.untrained("prior")


def main() -> None:
    """Print both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="emoji-cpu")
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--window", type=float, default=5.0, help="seconds of steps to measure")
    parser.add_argument("--repeat", type=int, default=3, help="measurements of both, in turn")
    add_options(parser)
    options = parser.parse_args()
    with quiet(torch.get_num_threads(), options.busy), tempfile.TemporaryDirectory() as work:
        pictures = Path(work) / "pictures"
        write_pictures(pictures, options.pictures, options.side)
        both = [
            prior_of(options.recipe, pictures, Path(work) / f"run{cache}", cache)
            for cache in (False, True)
        ]
        taken: list[list[float]] = [[], []]
        for _ in range(options.repeat):
            for (_, trainer), seconds in zip(both, taken, strict=True):
                size = trainer.config.batch_size
                seconds.append(seconds_per_step(trainer, size, options.window))
        for run, _ in both:
            run.end()
        plain, kept = ([1000 * one for one in several] for several in taken)
        faster = [a / b for a, b in zip(plain, kept, strict=True)]
        print(f"with CLIP:      {spread(plain)} ms a step")
        print(f"from the cache: {spread(kept)} ms a step, {spread(faster)} times as fast")


if __name__ == "__main__":
    main()
