"""Crops that a source renders reach the one stage that they are for."""

from __future__ import annotations

from pathlib import Path

import pytest

from unclip.errors import UsageError
from unclip.train.checking import check_stage
from unclip.train.recipe import Recipe, load_recipe

NETWORK = "channels=32, multipliers=[1], depth=1, low_res=true"
OTHER = (  # twice as large as the preset's upsampler
    "stages.larger={kind='upsampler', low_res_size=32, crop=16, "
    f"network={{image_size=64, {NETWORK}}}}}"
)
READS = (
    "stages.upsampler={kind='upsampler', low_res_size=16, crop=16, "
    f"network={{image_size=32, embed_dim=32, {NETWORK}}}}}"
)


def recipe(corpus: Path, side: int, *changes: str) -> Recipe:
    data = ["data.source=emoji", f"data.path={corpus}", f"data.crop_size={side}"]
    return load_recipe("tiny", [*data, *changes])


def check(one: Recipe) -> None:
    for name in one.trained:
        check_stage(one, name)


@pytest.mark.parametrize(
    ("side", "changes", "part"),
    [
        (8, [], "data.crop_size' is 8, and the stage 'clip' needs whole pictures: leave it out"),
        (16, [READS], "data.crop_size' is 16, and the stage 'upsampler' needs whole pictures"),
        (24, ["stages.upsampler.crop=32"], r"at least stages.upsampler.crop, 32, got 24"),
        (24, ["stages.upsampler.crop=16", OTHER], "would cut the pictures of upsampler, larger:"),
    ],
)
def test_crops_are_refused_where_whole_pictures_are_needed(
    side: int, changes: list[str], part: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=part):
        check(recipe(tmp_path, side, *changes))


def test_one_stage_that_trains_on_crops_may_have_them_rendered(tmp_path: Path) -> None:
    check(recipe(tmp_path, 24, "stages.upsampler.crop=16"))
    check(recipe(tmp_path, 64))  # larger than all pictures: nothing is cut
