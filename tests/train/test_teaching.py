"""Recipes of students whose teacher is another model."""

from __future__ import annotations

from typing import Any

import pytest

from unclip.errors import UsageError
from unclip.train.recipe import load_recipe
from unclip.train.teaching import taught_by


@pytest.mark.parametrize("objective", [None, {"huber": 0.01}, {"kind": "diffusion"}])
def test_what_learns_by_diffusion_is_no_student(objective: dict[str, Any] | None) -> None:
    stage = {} if objective is None else {"objective": objective}
    with pytest.raises(UsageError, match="objective` is of another kind than diffusion"):
        taught_by({"stages": {"decoder": stage}}, "emoji-cpu")


def test_a_recipe_of_students_has_one() -> None:
    student = {"objective": {"kind": "consistency"}}
    table = taught_by({"stages": {"decoder": student}}, "emoji-cpu")["stages"]["decoder"]
    assert (table["from"], table["objective"]) == ("emoji-cpu", student["objective"])


def test_the_upsampler_trained_anew_is_that_of_the_whole_recipe() -> None:
    """Recipes cannot include one another, so the same table stands in both."""
    whole, anew = (load_recipe(name).dump()["stages"] for name in ("emoji-cpu", "emoji-upsampler"))
    one, other = whole["upsampler"], anew["upsampler"]
    for table in (one, other):
        for key in ("share", "preview_every"):
            table["train"].pop(key, None)
    assert one == other
