"""Outpainting: the picture in its place, and windows that leave nothing out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from unclip import Pipeline
from unclip.abilities.outpaint import windows_outward
from unclip.errors import UsageError
from unclip.media import digest
from unclip.record import Record

Noise = Callable[..., Image.Image]
MARGIN = st.integers(0, 60)
SIDE = st.integers(1, 40)
DRAWN = st.sampled_from([(8, 8), (8, 16), (24, 8), (10, 7)])


@pytest.mark.parametrize("size", [(16, 16), (12, 7), (5, 14)])
def test_the_picture_is_in_its_place_to_the_byte(
    size: tuple[int, int], pipe: Pipeline, few: dict[str, int], noise: Noise
) -> None:
    picture = noise(*size)
    grown = pipe.outpaint(picture, 3, 5, 2, 9, "a red circle", n=2, seed=4, resample=1, **few)
    for one in grown:
        assert (one.size, one.mode) == ((size[0] + 8, size[1] + 11), "RGB")
        place = one.crop((3, 2, 3 + size[0], 2 + size[1]))
        assert place.tobytes() == picture.tobytes()
        outside = np.ones((one.height, one.width), dtype=bool)
        outside[2 : 2 + size[1], 3 : 3 + size[0]] = False
        gray = (np.asarray(one) == 127).all(-1)[outside]
        assert gray.mean() < 0.2, "left as the canvas was"
    assert grown[0].tobytes() != grown[1].tobytes()
    record = Record.of(grown[1])
    assert (record.ability, record.seed, record.prompt) == ("outpaint", 5, "a red circle")
    assert record.inputs == {"image": digest(picture)}
    sides = {"left": 3, "right": 5, "top": 2, "bottom": 9}
    assert record.settings == {**few, "resample": 1, **sides}


def test_a_seed_is_its_own_whatever_n_is(
    pipe: Pipeline,
    few: dict[str, int],
    noise: Noise,
    off: Callable[[Image.Image, Image.Image], int],
) -> None:
    picture = noise(16, 16)
    many = pipe.outpaint(picture, right=20, prompt="a", n=2, seed=4, resample=1, **few)
    (alone,) = pipe.outpaint(picture, right=20, prompt="a", seed=5, resample=1, **few)
    assert off(many[1], alone) <= 6  # a level off in one window is carried on to the next


@given(
    left=MARGIN, right=MARGIN, top=MARGIN, bottom=MARGIN, width=SIDE, height=SIDE, drawn=DRAWN
)  # fmt: skip
def test_windows_cover_the_canvas_each_touching_what_is_known(
    left: int, right: int, top: int, bottom: int, width: int, height: int, drawn: tuple[int, int]
) -> None:
    canvas = (height + top + bottom, width + left + right)
    windows = windows_outward(canvas, (height, width), (top, left), drawn)
    if drawn == (8, 8):
        assert {(one.height, one.width) for one in windows} == {(min(width, height),) * 2}
    known = np.zeros(canvas, dtype=bool)
    known[top : top + height, left : left + width] = True
    for window in windows:
        down, across = window.height, window.width
        assert 0 <= window.x <= canvas[1] - across and 0 <= window.y <= canvas[0] - down
        there = known[window.y : window.y + down, window.x : window.x + across]
        if not there.all():
            assert there.any() or min(down, across) == 1, f"{window} sees nothing that is known"
        there[...] = True
    assert known.all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to paint: give left, right, top or bottom"),
        ({"left": -1, "right": 4}, "left must be at least 0, got -1"),
        ({"left": 10**8}, "is more than 64,000,000 pixels"),
        ({"left": 4, "prompt": ""}, "the prompt is empty"),
        ({"left": 4, "n": 0}, "n must be at least 1"),
        ({"left": 4, "prior": "x"}, "has no prior 'x'"),
    ],
)
def test_bad_requests(
    arguments: dict[str, Any], message: str, pipe: Pipeline, noise: Noise
) -> None:
    with pytest.raises(UsageError, match=message):
        pipe.outpaint(noise(16, 16), **{"prompt": "a", **arguments})


def test_prompt_and_sides_stand_in_either_order(
    pipe: Pipeline, few: dict[str, int], noise: Noise
) -> None:
    picture, words, call = noise(16, 16), "a red circle", cast(Any, pipe.outpaint)
    quick = {**few, "resample": 1}
    (expected,) = call(picture, left=3, top=2, prompt=words, seed=4, **quick)
    for places, named in (
        ((words, 3, 0, 2), {"seed": 4}),
        ((words,), {"left": 3, "top": 2, "seed": 4}),
        ((3, 0, 2), {"prompt": words, "seed": 4}),
        ((np.int64(3), 0, 2, 0, words, 1, 4), {}),
    ):
        (one,) = call(picture, *places, **named, **quick)
        assert one.tobytes() == expected.tobytes()
        assert one.info == expected.info


def test_an_argument_is_given_once(pipe: Pipeline, noise: Noise) -> None:
    call = cast(Any, pipe.outpaint)
    with pytest.raises(TypeError, match=r"multiple values for .*'left'"):
        call(noise(16, 16), 3, left=3, prompt="a")
    with pytest.raises(TypeError, match=r"multiple values for .*'prompt'"):
        call(noise(16, 16), 3, 0, 0, 0, "a", 1, 4, None, "b")
