"""What is held out: by keys alone, and as much as asked for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from unclip.config import Config
from unclip.data import IndexedSource, Sample
from unclip.data.split import held_out, is_held_out, split
from unclip.errors import DataError


class Numbers(IndexedSource):
    """So many pictures, each its number, in epochs."""

    Config = Config

    def __init__(self, count: int) -> None:
        super().__init__()
        self.pictures = count

    def key(self, position: int) -> str:
        return str(position % self.pictures)

    def sample(self, position: int) -> Sample:
        image = np.full((1, 1, 3), position % self.pictures, np.uint8)
        return {"image": image, "caption": f"number {position % self.pictures}"}

    def captions(self, count: int) -> Iterator[str]:
        return (f"number {position % self.pictures}" for position in range(count))


@pytest.mark.parametrize("share", [0.02, 0.25])
def test_the_share_is_the_share(share: float) -> None:
    found = sum(is_held_out(f"{n}.png", share) for n in range(20_000)) / 20_000
    assert found == pytest.approx(share, rel=0.1)


def test_a_larger_share_holds_what_a_smaller_one_holds() -> None:
    small, large = ({n for n in range(500) if is_held_out(str(n), s)} for s in (0.05, 0.2))
    assert small and small < large


def test_both_sides_together_are_everything_and_nothing_is_on_both() -> None:
    source = Numbers(50)
    held = {source.key(position) for position in held_out(source, 0.2, 100)}
    trained = {split(source, 0.2).key(position) for position in range(500)}
    assert held | trained == {str(n) for n in range(50)}
    assert not held & trained


def test_every_picture_is_trained_on_as_often_as_any_other() -> None:
    kept = split(Numbers(40), 0.3)
    counts = np.bincount([int(kept.key(position)) for position in range(40_000)], minlength=40)
    seen = counts[counts > 0]
    assert seen.min() >= 1000 and seen.max() <= 4000, "once an epoch, and now and then for another"


def test_shares_that_leave_nothing_are_errors() -> None:
    with pytest.raises(DataError, match="holds no picture out"):
        held_out(Numbers(1), 0.01, 4)
    only = next(n for n in range(100) if is_held_out(str(n), 0.5))
    source = Numbers(1)
    source.key = lambda position: str(only)  # type: ignore[method-assign]
    with pytest.raises(DataError, match="leaves nothing to train on"):
        split(source, 0.5).sample(0)
