"""What may be asked of an evaluation, under its old names too."""

from __future__ import annotations

import pytest

from unclip.emoji.options import EmojiSizes, emoji_sizes
from unclip.errors import UsageError
from unclip.evaluate import run
from unclip.evaluate.benchmark import BENCHMARKS
from unclip.evaluate.options import FULL, OPTIONS, PARTS, Sizes

OLD = {
    "pictures", "pool", "science", "scales", "captions", "inversions", "scenes", "admission",
    "languages", "ways", "each", "sample", "prompts", "seeds", "reference_steps", "settings",
}  # fmt: skip


def test_help_and_benchmarks_agree() -> None:
    assert tuple(PARTS) == tuple(run.SECTIONS)
    for name in OPTIONS.names():
        benchmark = BENCHMARKS[name]
        assert benchmark.sizes is OPTIONS[name].sizes
        assert tuple(benchmark.own_parts) == tuple(OPTIONS[name].parts)


def test_reports_and_caches_keep_the_names_of_sizes() -> None:
    """And what they hold is read back."""
    assert set(EmojiSizes().dump()) == OLD
    some = EmojiSizes(ablations=3, source_prompts=4, calibration=5)
    assert some.dump()["science"] == 3 and EmojiSizes.parse(some.dump()) == some


def test_quick_sizes_are_smaller() -> None:
    quick = EmojiSizes.quick()
    assert (quick.pictures, quick.ablations, quick.scenes, quick.calibration) == (96, 80, 4, 20)
    assert quick.captions == FULL.captions


def test_sizes_of_another_benchmark_count_for_nothing() -> None:
    few = EmojiSizes(pictures=7, scenes=2)
    assert Sizes.of(few) == Sizes(pictures=7)
    assert emoji_sizes(Sizes(pictures=7)) == EmojiSizes(pictures=7)
    assert emoji_sizes(few) is few
    with pytest.raises(UsageError, match="unknown setting 'scenes'"):
        Sizes.parse(few.dump())
