"""Probing: shares of labels, whatever their order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip import Pipeline
from unclip.data.shapes import COLOURS
from unclip.errors import UsageError

LABELS = [f"a {colour} circle" for colour in COLOURS]


def test_shares_sum_to_1_and_follow_their_labels(
    pipe: Pipeline, noise: Callable[..., Image.Image]
) -> None:
    for picture in (noise(16, 16), noise(40, 24)):
        shares = pipe.probe(picture, LABELS)
        assert len(shares) == len(LABELS)
        assert math.isclose(sum(shares), 1, abs_tol=1e-5)
        assert min(shares) >= 0
        order = np.random.default_rng(0).permutation(len(LABELS))
        turned = pipe.probe(picture, [LABELS[i] for i in order])
        assert turned == pytest.approx([shares[i] for i in order], abs=1e-5)


def test_fewer_labels_share_in_the_same_proportion(
    pipe: Pipeline, noise: Callable[..., Image.Image]
) -> None:
    whole, pair = pipe.probe(noise(16, 16), LABELS), pipe.probe(noise(16, 16), LABELS[:2])
    assert pair[0] * whole[1] == pytest.approx(pair[1] * whole[0], rel=1e-3, abs=1e-7)
    twice = pipe.probe(noise(16, 16), [LABELS[0]] * 4)
    assert twice == pytest.approx([0.25] * 4)


@pytest.mark.parametrize("colour", ["red", "blue"])
def test_a_plain_colour_is_told(colour: str, pipe: Pipeline) -> None:
    (picture,) = pipe.generate(f"a {colour} circle", seed=3)
    shares = pipe.probe(picture, ["a red circle", "a blue circle"])
    assert max(shares) == shares[["red", "blue"].index(colour)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": ["a fox"]}, "at least two labels to choose from, got 1"),
        ({"labels": []}, "at least two labels to choose from, got 0"),
        ({"labels": ["a fox", " "]}, "the prompt is empty"),
        ({"image": b""}, "cannot read"),
    ],
)
def test_bad_requests(
    arguments: dict[str, Any], message: str, pipe: Pipeline, noise: Callable[..., Image.Image]
) -> None:
    with pytest.raises(UsageError, match=message):
        pipe.probe(**{"image": noise(16, 16), "labels": ["a fox", "a wolf"], **arguments})
