"""What jobs may ask for is checked, and told in the words of the API."""

from __future__ import annotations

import re
from typing import Any

import pytest

from unclip.server import abilities
from unclip.server.errors import ApiError

WRONG: tuple[Any, ...] = (5, 5.5, "x", "", [], {}, True, -1, [1], {"a": 1}, 10**30)
PYTHONS = re.compile(r"Request\b|--\w|see --help|section|Traceback|<class|NoneType")


@pytest.mark.parametrize("name", sorted(abilities.drawing()))
def test_no_error_names_what_is_pythons_or_the_command_lines(name: str) -> None:
    told = abilities.describe(name)
    required = dict.fromkeys(told["fields"]["required"], "a fox")
    errors: list[str] = []
    for field in [*told["fields"]["properties"], "none such"]:
        for value in WRONG:
            try:
                abilities.spec_of(name, {**required, field: value}, {}, "tiny")
            except ApiError as error:
                errors.append(error.message)
    assert len(errors) > len(WRONG)
    assert [one for one in errors if PYTHONS.search(one)] == []


def test_an_unknown_field_is_named_with_the_one_that_may_be_meant() -> None:
    with pytest.raises(ApiError) as found:
        abilities.spec_of("generate", {"prompt": "a fox", "promt": "a car"}, {}, "tiny")
    assert (found.value.status, found.value.param) == (400, "promt")
    assert found.value.message == "'generate' has no field 'promt' (did you mean 'prompt'?)."
    with pytest.raises(ApiError, match="such as steps, are in settings"):
        abilities.spec_of("generate", {"prompt": "a fox", "zzz": 5}, {}, "tiny")
