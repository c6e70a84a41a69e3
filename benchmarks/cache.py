"""What a prior's step takes with CLIP beside it, and from the cache of embeddings.

    python benchmarks/cache.py --recipe emoji-cpu --pictures 512 --side 128

The time does not depend on what pictures show: they are generated, and CLIP has fresh weights. Both
steps have the recipe's batch size and its workers.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from PIL import Image

from unclip.data.shapes import Shapes, ShapesConfig
from unclip.train.measuring import seconds_per_step
from unclip.train.recipe import load_recipe
from unclip.train.run import Run


def write_pictures(folder: Path, count: int, side: int) -> None:
    """Shapes with their captions."""
    source = Shapes(ShapesConfig(), (side, side))
    folder.mkdir()
    for number in range(count):
        sample = source.sample(number)
        Image.fromarray(sample["image"]).save(folder / f"{number}.jpg", quality=92)
        (folder / f"{number}.txt").write_text(sample["caption"])


def seconds(recipe: str, pictures: Path, folder: Path, cache: bool, window: float) -> float:
    """Of a step of the recipe's prior."""
    changes = ["data.source=folder", f"data.path={pictures}", "tokenizer.captions=200"]
    made = load_recipe(recipe, [*changes, f"stages.prior.train.cache={str(cache).lower()}"])
    run = Run(made, folder, torch.device("cpu"))
    run.begin(resume=False)
    run.export("clip", run.build("clip"))
    taken = seconds_per_step(run.untrained("prior"), made.trained["prior"].batch_size, window)
    run.end()
    return taken


def main() -> None:
    """Print both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="emoji-cpu")
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--window", type=float, default=10.0, help="seconds of steps to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        pictures = Path(work) / "pictures"
        write_pictures(pictures, options.pictures, options.side)
        plain, kept = (
            seconds(options.recipe, pictures, Path(work) / f"run{cache}", cache, options.window)
            for cache in (False, True)
        )
    print(f"with CLIP:      {plain:.3f} s a step")
    print(f"from the cache: {kept:.3f} s a step, {plain / kept:.1f} times as fast")


if __name__ == "__main__":
    main()
