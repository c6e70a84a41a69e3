"""Recipes of students whose teacher is another model."""

from __future__ import annotations

from typing import Any

import pytest

from unclip.errors import UsageError
from unclip.train.teaching import taught_by


@pytest.mark.parametrize("objective", [None, {"huber": 0.01}, {"kind": "diffusion"}, "diffusion"])
def test_what_learns_by_diffusion_is_no_student(objective: Any) -> None:
    stage = {} if objective is None else {"objective": objective}
    with pytest.raises(UsageError, match="objective` is of another kind than diffusion"):
        taught_by({"stages": {"decoder": stage}}, "emoji-cpu")


@pytest.mark.parametrize("objective", [{"kind": "consistency"}, "consistency"])
def test_a_recipe_of_students_has_one(objective: Any) -> None:
    stages = {"clip": {"objective": "siglip"}, "decoder": {"objective": objective}}
    table = taught_by({"stages": stages}, "emoji-cpu")["stages"]["decoder"]
    assert (table["from"], table["objective"]) == ("emoji-cpu", objective)
