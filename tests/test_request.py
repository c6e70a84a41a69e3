"""Plain numbers out of any, and what a request costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from unclip.abilities.generate import GenerateRequest
from unclip.arguments import plain
from unclip.cost import LIMIT, Cost
from unclip.errors import UsageError


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.int8(-3), -3),
        (np.float16(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(7), 7),
        (np.array([1, 2]), (1, 2)),
        (torch.tensor(7), 7),
        (torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True), 0.5),
        (torch.tensor([0.25, 1.0]), (0.25, 1.0)),
        ([np.int64(1), [torch.tensor(2)]], (1, (2,))),
        (range(3), (0, 1, 2)),
        ("a", "a"),
        (b"a", b"a"),
        (None, None),
    ],
)
def test_plain(value: Any, wanted: Any) -> None:
    found = plain(value)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    "value", [torch.zeros(2, 2), np.zeros((8, 8, 3)), torch.zeros((), device="meta"), range(10**9)]
)
def test_what_is_no_number_stays_as_it_is(value: Any) -> None:
    assert plain(value) is value


def test_costs_add_up() -> None:
    one = Cost(2, (8, 8), {"prior": 3, "decoder": 5}, inverting=4)
    other = Cost(1, (8, 8), {"decoder": 7})
    assert one.total == 12
    assert one + other == Cost(3, (8, 8), {"prior": 3, "decoder": 12}, inverting=4)
    assert one.times(3) == one + one + one


def test_a_cost_is_refused_from_the_limit_on() -> None:
    cost = Cost(1000, (64, 64), {"decoder": LIMIT})
    cost.check(LIMIT)
    cost.check(None)
    with pytest.raises(UsageError) as caught:
        cost.times(36).check(LIMIT)
    assert str(caught.value) == (
        "this would be 36,000 pictures of 64×64 in up to 36,000,000 sampling steps: 10.0 hours "
        "even at a millisecond a step; the limit is 1,000,000 steps: ask for less, or lift it "
        "(--no-limit, in Python pipe.limit = None)"
    )


def test_a_setting_beside_the_settings_is_told_its_place() -> None:
    with pytest.raises(
        UsageError, match=r"GenerateRequest has no field 'steps'; .*\{'steps': \.\.\.\}"
    ):
        GenerateRequest.of(prompt="a fox", steps=3)
    with pytest.raises(UsageError, match=r"did you mean 'prompt'\?"):
        GenerateRequest.of(prompts="a fox")
