"""A picture drawn again: nothing of it changes at strength 0, nothing is left of it at 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from torch.nn import functional as F

from unclip import Pipeline
from unclip.errors import UsageError
from unclip.media import digest, fit_image, to_pictures, to_tensor
from unclip.record import Record
from unclip.rng import Rng
from unclip.types import Cond

Noise = Callable[..., Image.Image]
Off = Callable[[Image.Image, Image.Image], int]


@pytest.mark.parametrize("size", [(16, 16), (33, 20)])
def test_strength_0_is_the_small_picture_upsampled_whatever_the_prompt(
    size: tuple[int, int], pipe: Pipeline, few: dict[str, int], noise: Noise, off: Off
) -> None:
    picture = noise(*size)
    red, blue = (
        pipe.image_to_image(picture, f"a {colour} circle", strength=0, seed=2, **few)[0]
        for colour in ("red", "blue")
    )
    small = F.avg_pool2d(to_tensor([fit_image(picture, (16, 16))]), 2)
    upsampler = pipe.stages["upsampler"]
    image = upsampler.sample(Cond(image=small), Rng(["2/upsampler"]), {"steps": 2}).image
    assert image is not None
    assert off(red, blue) <= 1
    assert off(red, to_pictures(image)[0]) <= 1


def test_a_model_without_upsampler_gives_the_picture_back(
    short: Callable[..., Pipeline], noise: Noise
) -> None:
    model = short("clip", "prior", "decoder")
    (same,) = model.image_to_image(noise(8, 8), "a red circle", strength=0, prior_steps=1)
    assert same.tobytes() == noise(8, 8).tobytes()


def test_strength_1_is_what_the_prompt_alone_draws(
    pipe: Pipeline, few: dict[str, int], noise: Noise, off: Off
) -> None:
    drawn = pipe.image_to_image(noise(16, 16), "a red circle", strength=1, n=2, seed=7, **few)
    plain = pipe.generate("a red circle", n=2, seed=7, **few)
    assert max(off(a, b) for a, b in zip(drawn, plain, strict=True)) <= 1


def test_the_steps_are_as_many_as_the_strength_leaves(pipe: Pipeline, noise: Noise) -> None:
    for strength, left in ((0.0, 0), (0.02, 1), (0.5, 5), (0.55, 6), (1.0, 10)):
        seen: list[str] = []
        pipe.image_to_image(
            noise(16, 16),
            "a",
            strength,
            on_step=lambda step: seen.append(step.stage),  # noqa: B023
            steps=10,
            prior_steps=1,
            upsampler_steps=1,
        )
        assert seen.count("decoder") == left


def test_a_stronger_change_leaves_less_of_the_picture(
    short: Callable[..., Pipeline], noise: Noise
) -> None:
    model, picture = short("clip", "prior", "decoder"), noise(8, 8)

    def distance(strength: float) -> float:
        drawn = model.image_to_image(picture, "a red circle", strength, n=4, prior_steps=2)
        return float((to_tensor(drawn) - to_tensor([picture])).square().mean())

    near, middle, far = (distance(strength) for strength in (0.1, 0.5, 1.0))
    assert near < middle < far


def test_a_seed_is_its_own_whatever_n_is(
    pipe: Pipeline, few: dict[str, int], noise: Noise, off: Off
) -> None:
    many = pipe.image_to_image(noise(16, 16), "a red circle", n=3, seed=5, **few)
    for index, one in enumerate(many):
        (alone,) = pipe.image_to_image(noise(16, 16), "a red circle", seed=5 + index, **few)
        assert off(one, alone) <= 1
        assert Record.of(one) == Record.of(alone)
    assert off(many[0], many[1]) > 10
    record = Record.of(many[2])
    assert (record.ability, record.seed, record.prompt) == ("image_to_image", 7, "a red circle")
    assert record.inputs == {"image": digest(noise(16, 16))}
    assert record.settings == {**few, "strength": 0.6}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": -0.1}, "strength must be at least 0, got -0.1"),
        ({"strength": 1.1}, "strength must be at most 1, got 1.1"),
        ({"strength": float("nan")}, "strength must be finite, got nan"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"n": 0}, "n must be at least 1"),
        ({"prior": "x"}, "has no prior 'x'"),
        ({"stepz": 3}, "unknown setting 'stepz'"),
    ],
)
def test_bad_requests(
    arguments: dict[str, Any], message: str, pipe: Pipeline, noise: Noise
) -> None:
    with pytest.raises(UsageError, match=message):
        pipe.image_to_image(**{"image": noise(16, 16), "prompt": "a", **arguments})
