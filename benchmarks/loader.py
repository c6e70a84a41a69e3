"""Whether the loader makes pictures faster than a stage learns from them.

    python benchmarks/loader.py
    python benchmarks/loader.py --recipe folder-scratch --sources folder webdataset --window 20

Each source holds the same JPEG pictures, of a photograph's size and detail. The loader has the
recipe's workers, and runs alone. The step has one batch, again and again, so that it never waits.
The fastest stage is the one that learns from most pictures a second. Needs an idle machine.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _machine import add_options, quiet
from _peer import _Same
from PIL import Image

from unclip.data.webdataset import write_index, write_shard
from unclip.train.measuring import seconds_per_step
from unclip.train.recipe import load_recipe
from unclip.train.run import Run

SHARDS = 4
GOAL = 2.0
"""The loader feeds a step of half the fastest stage's time."""

Pictures = Sequence[tuple[bytes, str]]


def pictures(count: int, size: tuple[int, int]) -> Iterator[tuple[bytes, str]]:
    """JPEG files and captions: soft shapes under a photograph's grain."""
    height, width = size
    for number in range(count):
        random = np.random.default_rng(number)
        coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        soft = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
        grain = random.normal(0, 8, soft.shape)
        file = io.BytesIO()
        shown = Image.fromarray((soft + grain).clip(0, 255).astype(np.uint8))
        shown.save(file, "JPEG", quality=90)
        yield file.getvalue(), f"a red picture of number {number}"


def write_folder(made: Pictures, out: Path) -> None:
    """A file for each picture and each caption."""
    out.mkdir()
    for number, (picture, caption) in enumerate(made):
        (out / f"{number:06}.jpg").write_bytes(picture)
        (out / f"{number:06}.txt").write_text(caption)


def write_tars(made: Pictures, out: Path) -> None:
    """Tars as img2dataset writes them."""
    out.mkdir()
    each = -(-len(made) // SHARDS)
    shards = []
    for first in range(0, len(made), each):
        samples = (
            (f"{number:06}", {"jpg": made[number][0], "txt": made[number][1].encode()})
            for number in range(first, min(first + each, len(made)))
        )
        shards.append(write_shard(out / f"{first:06}.tar", samples))
    write_index(out, shards)


def write_parquet(made: Pictures, out: Path) -> None:
    """A file with the pictures' bytes."""
    import pyarrow
    from pyarrow import parquet

    out.mkdir()
    columns = {"image": [one for one, _ in made], "text": [text for _, text in made]}
    each = -(-len(made) // SHARDS)
    parquet.write_table(pyarrow.table(columns), out / "pictures.parquet", row_group_size=each)


WRITERS: dict[str, Callable[[Pictures, Path], None]] = {
    "folder": write_folder,
    "webdataset": write_tars,
    "parquet": write_parquet,
}


def loader_rate(trainer: Any, window: float) -> float:
    """Pictures a second of a trainer's loader, without the start of its workers."""
    loader, count = trainer.loader, 0
    next(loader)
    started = time.perf_counter()
    while (taken := time.perf_counter() - started) < window:
        next(loader)
        count += loader.batch_size
    return count / taken


def step_rate(trainer: Any, window: float) -> float:
    """Pictures a second of a trainer's steps on one batch, which is there at once."""
    size = trainer.loader.batch_size
    trainer.loader = _Same(next(trainer.loader), size)
    return size / seconds_per_step(trainer, size, window)


def measure(source: str, where: Path, work: Path, given: argparse.Namespace) -> float:
    """Print the rates of each stage. Returns the loader's beside the fastest stage's."""
    recipe = load_recipe(given.recipe, [f"data={{source='{source}', path='{where}'}}"])
    run = Run(recipe, work, torch.device("cpu"))
    run.begin(resume=False)
    rates: dict[str, tuple[float, float]] = {}
    for name in recipe.trained:
        loader = loader_rate(run.untrained(name), given.window)
        rates[name] = loader, step_rate(run.untrained(name), given.window)
        print(f"  {source:<12}{name:<15}{loader:8.0f}{rates[name][1]:8.0f}", flush=True)
    run.end()
    fastest = max(rates, key=lambda name: rates[name][1])
    ratio = rates[fastest][0] / rates[fastest][1]
    said = "enough" if ratio >= GOAL else f"less than {GOAL:.0f}"
    print(f"  {source}: {ratio:.1f} times the pictures of the fastest stage, {fastest}: {said}")
    return ratio


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every source."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="folder")
    parser.add_argument("--sources", choices=WRITERS, nargs="*", default=list(WRITERS))
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--size", type=int, nargs=2, default=(480, 640), help="height and width")
    parser.add_argument("--window", type=float, default=8.0, help="seconds of each measurement")
    add_options(parser)
    given = parser.parse_args(arguments)
    with quiet(torch.get_num_threads(), given.busy), tempfile.TemporaryDirectory() as folder:
        made = list(pictures(given.pictures, tuple(given.size)))
        height, width = given.size
        print(f"{len(made)} JPEG pictures of {width}x{height}; pictures a second")
        print(f"  {'source':<12}{'stage':<15}{'loader':>8}{'step':>8}")
        for source in given.sources:
            where = Path(folder) / source
            WRITERS[source](made, where)
            measure(source, where, Path(folder) / f"run-{source}", given)


if __name__ == "__main__":
    main()
