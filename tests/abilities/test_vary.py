"""Variations: all of the picture at eta 0, and a seed's own beyond."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unclip import Pipeline
from unclip.errors import UsageError
from unclip.media import digest, fit_image
from unclip.record import Record

Off = Callable[[Image.Image, Image.Image], int]


@pytest.mark.parametrize("size", [(16, 16), (40, 24), (9, 13)])
@pytest.mark.parametrize("seed", [0, 3])
def test_eta_0_gives_the_picture_back_to_the_byte(
    size: tuple[int, int],
    seed: int,
    pipe: Pipeline,
    brief: dict[str, int],
    noise: Callable[..., Image.Image],
) -> None:
    picture = noise(*size)
    pictures = pipe.variations(picture, n=2, eta=0, seed=seed, **brief)
    assert [one.tobytes() for one in pictures] == [fit_image(picture, (16, 16)).tobytes()] * 2


def test_a_picture_that_the_model_drew_comes_back_too(
    pipe: Pipeline, brief: dict[str, int]
) -> None:
    (drawn,) = pipe.generate("a red circle", seed=4)
    (same,) = pipe.variations(drawn, eta=0, **brief)
    assert same.tobytes() == drawn.tobytes()


def test_the_picture_fades_as_eta_grows(
    exact: Pipeline, gaussian: Callable[..., Image.Image]
) -> None:
    picture = gaussian()

    def kept(eta: float) -> float:
        (drawn,) = exact.variations(picture, eta=eta, steps=20)
        pair = [np.asarray(one).astype(float).flatten() for one in (drawn, picture)]
        return float(np.corrcoef(pair)[0, 1])

    assert kept(0.1) > 0.97 > 0.9 > kept(0.4) > kept(0.7)
    assert abs(kept(1.0)) < 0.25


@pytest.mark.parametrize("eta", [0.3, 0.8, 1.0])
def test_a_variation_is_its_own_seeds_whatever_n_is(
    eta: float, pipe: Pipeline, brief: dict[str, int], off: Off, noise: Callable[..., Image.Image]
) -> None:
    picture = noise(16, 16)
    many = pipe.variations(picture, n=3, eta=eta, seed=5, **brief)
    for index, one in enumerate(many):
        (alone,) = pipe.variations(picture, eta=eta, seed=5 + index, **brief)
        assert off(one, alone) <= 1
        assert Record.of(one) == Record.of(alone)
    assert min(off(many[0], many[1]), off(many[1], many[2])) > 20
    record = Record.of(many[2])
    assert (record.ability, record.seed, record.inputs) == ("vary", 7, {"image": digest(picture)})
    assert record.settings == {**brief, "eta": eta}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"eta": -0.1}, "eta must be at least 0, got -0.1"),
        ({"eta": 1.5}, "eta must be at most 1, got 1.5"),
        ({"eta": float("nan")}, "eta must be finite, got nan"),
        ({"stepz": 3}, r"unknown setting 'stepz' \(did you mean 'steps'\?\)"),
        ({"image": "no.png"}, r"cannot read no\.png"),
    ],
)
def test_bad_requests(
    arguments: dict[str, Any], message: str, pipe: Pipeline, noise: Callable[..., Image.Image]
) -> None:
    with pytest.raises(UsageError, match=message):
        pipe.variations(**{"image": noise(16, 16), **arguments})
