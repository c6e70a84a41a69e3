"""What cannot be read is skipped, counted and named; too much of it stops training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unclip.data import IndexedSource, Sample
from unclip.data.source import STRIDE, TRIES, sound
from unclip.errors import DataError, UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.train.collate import Collate
from unclip.train.loader import Loader
from unclip.train.recipe import load_recipe
from unclip.train.run import Run
from unclip.train.skipped import FIRST, Skipped
from unclip.train.trainer import Trainer
from unclip.train.world import World

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a single core


class Holes(IndexedSource):
    """Pictures of their position's last two digits; each seventh cannot be made."""

    def sample(self, position: int) -> Sample:
        if position % 7 == 3:
            raise DataError(f"picture {position} is damaged")
        image = np.full((2, 2, 3), position % 100, dtype=np.uint8)
        return {"image": image, "caption": f"number {position}"}

    def captions(self, count: int) -> Iterator[str]:
        return (f"number {position}" for position in range(count))


def lines(count: int) -> list[str]:
    return [f"picture {number} is damaged" for number in range(count)]


def test_another_sample_stands_in_by_the_position_alone() -> None:
    source = Holes()
    made = [sample for sample, _ in zip(source, range(20), strict=False)]
    assert made[3]["caption"] == f"number {3 + STRIDE}"
    assert made[3]["skipped"] == ["picture 3 is damaged"]
    assert "skipped" not in made[4]
    again = Holes()
    again.load_state_dict({"position": 3})
    assert next(iter(again))["caption"] == made[3]["caption"]


def test_a_stream_without_a_good_sample_ends() -> None:
    def bad(position: int) -> int:
        raise DataError(f"{position} is bad")

    with pytest.raises(DataError, match=rf"^{TRIES} samples in a row .*; the first of them: 5 is"):
        sound(bad, 5)
    tries = iter([False, False, True])

    def third(position: int) -> int:
        if next(tries):
            return position
        raise DataError(f"{position} is bad")

    assert sound(third, 5) == (5 + 2 * STRIDE, ["5 is bad", f"{5 + STRIDE} is bad"])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_tell_the_loop_what_they_skipped(
    workers: int, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    loader = Loader(Holes(), Collate(tokenizer), 4, workers)
    loader.skipped = Skipped(tmp_path / "run" / "skipped.log", 1.0, "clip")
    batches = [next(loader) for _ in range(5)]
    shades = [int(value) for batch in batches for value in batch["image"][:, 0, 0, 0]]
    wanted = [n if n % 7 != 3 else (n + STRIDE) % 100 for n in range(20)]
    assert shades == wanted
    assert set(batches[0]) == {"image", "text_tokens", "text_mask"}
    assert (loader.skipped.made, loader.skipped.skipped) == (20, 3)
    log = (tmp_path / "run" / "skipped.log").read_text().splitlines()
    assert log == [f"clip: picture {number} is damaged" for number in (3, 10, 17)]


@pytest.mark.parametrize("made", [100, FIRST, 10 * FIRST])
def test_above_a_share_training_stops_and_says_which(made: int, tmp_path: Path) -> None:
    """One in a hundred, of the first thousand at the least."""
    allowed = max(made, FIRST) // 100
    skipped = Skipped(tmp_path / "skipped.log")
    skipped.count(made, lines(allowed))
    wanted = (
        rf"{allowed + 1} samples of the first {made:,} cannot be used, more than data.max_skipped "
        rf"= 0.01: picture 0 is damaged; {tmp_path / 'skipped.log'} names them"
    )
    with pytest.raises(DataError, match=wanted):
        skipped.count(0, lines(1))


def test_a_reason_is_written_once_and_a_person_is_told_once(tmp_path: Path) -> None:
    skipped, told = Skipped(tmp_path / "skipped.log", 1.0), []
    skipped.warn = told.append
    for _ in range(3):
        skipped.count(10, lines(2))
    assert (tmp_path / "skipped.log").read_text().splitlines() == lines(2)
    assert skipped.skipped == 6
    assert told == [
        f"a sample is skipped: picture 0 is damaged; all such samples are named in "
        f"{tmp_path / 'skipped.log'}"
    ]


class Twice(World):
    """Two processes that meet the same."""

    def total(self, counts: Sequence[int]) -> list[int]:
        return [2 * one for one in counts]


def test_what_several_processes_skip_is_counted_together() -> None:
    """Six of the thousand of each, and again; then it is 25 of 2,400, which is more than 1 %."""
    skipped = Skipped()
    for made, bad in ((1000, 6), (200, 6)):
        skipped.count(made, lines(bad))
        skipped.meet(Twice())
    assert skipped.state_dict() == {"made": 2400, "skipped": 24}
    skipped.count(100, [])  # whoever has nothing to name goes on
    again = Skipped()
    again.load_state_dict({"made": 2400, "skipped": 24})
    again.meet(Twice())
    assert again.state_dict() == {"made": 2400, "skipped": 24}
    with pytest.raises(DataError, match="25 samples of the first 2,400 cannot be used"):
        again.count(0, lines(1))
    assert again.skipped == 24  # that batch is not trained on, and counts when it comes again


def test_nothing_is_written_where_nothing_is_skipped(tmp_path: Path) -> None:
    Skipped(tmp_path / "skipped.log").count(10, [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", ["2", "-0.1", "true", "'all'"])
def test_the_share_is_checked(share: str) -> None:
    with pytest.raises(UsageError, match=r"'data\.max_skipped' must be a share from 0 to 1, got"):
        load_recipe("tiny", [f"data.max_skipped={share}"])
    assert load_recipe("tiny", ["data.max_skipped=0.2"]).max_skipped == 0.2
    assert load_recipe("tiny").max_skipped == 0.01


def test_a_run_skips_and_names_a_broken_picture(tmp_path: Path, notes: Any) -> None:
    """One of fifty: the log in the run's folder names it, and the last step is reached."""
    data = tmp_path / "data"
    data.mkdir()
    for number in range(50):
        Image.new("RGB", (8, 8), (2 * number, 0, 0)).save(data / f"{number}.png")
        (data / f"{number}.txt").write_text(f"shade {number}")
    (data / "7.png").write_bytes((data / "7.png").read_bytes()[:40])

    told: list[str] = []

    def begun(most: float, name: str) -> Trainer:
        changes = ["stages.clip.train.steps=4", "stages.clip.train.batch_size=50"]
        values = f"data={{source='folder', path='{data}', max_skipped={most}}}"
        run = Run(load_recipe("tiny", [values, *changes]), tmp_path / name, torch.device("cpu"))
        run.begin(resume=run.exists())
        run.warn = told.append
        return run.trainer("clip")

    assert begun(0.02, "run").run(notes)
    (line,) = (tmp_path / "run" / "skipped.log").read_text().splitlines()
    assert line.startswith(f"clip: cannot read {data / '7.png'}: this PNG is damaged")
    assert notes.notes[0].startswith(f"a sample is skipped: {line.removeprefix('clip: ')}")
    assert begun(0.02, "run").loader.skipped.state_dict() == {"made": 200, "skipped": 4}
    next(begun(0.02, "before").loader)  # as a stage's statistics are fitted, before the first step
    assert told == [notes.notes[0].replace(str(tmp_path / "run"), str(tmp_path / "before"))]
    with pytest.raises(DataError, match=r"1 sample of the first 50 .* data\.max_skipped = 0:"):
        begun(0.0, "again").run(notes)
