"""Interpolation: ends that are exact, whatever they are, and a path between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unclip import Pipeline
from unclip.abilities._latent import Latent, decode_latents
from unclip.abilities.interpolate import InterpolateRequest, between, end_of
from unclip.errors import UsageError
from unclip.media import digest, fit_image, to_pictures
from unclip.record import Record

Noise = Callable[..., Image.Image]
Off = Callable[[Image.Image, Image.Image], int]
PROMPTS = ("a red circle", "a blue square")


def asked(seed: int, settings: dict[str, int]) -> InterpolateRequest:
    return InterpolateRequest.of(a="a", b="b", seed=seed, settings=settings)


@pytest.mark.parametrize("frames", [2, 3, 5])
def test_ends_that_are_pictures_come_back_to_the_byte(
    frames: int, pipe: Pipeline, brief: dict[str, int], noise: Noise
) -> None:
    a, b = noise(16, 16), noise(30, 20, seed=1)
    film = pipe.interpolate(a, b, frames=frames, seed=3, **brief)
    assert len(film) == frames
    assert film[0].tobytes() == a.tobytes()
    assert film[-1].tobytes() == fit_image(b, (16, 16)).tobytes()
    assert len({one.tobytes() for one in film}) == frames


def test_an_end_that_is_a_picture_is_exact_though_the_other_is_a_prompt(
    pipe: Pipeline, few: dict[str, int], noise: Noise
) -> None:
    picture, (drawn,) = noise(16, 16), pipe.generate("a green triangle", seed=1)
    for one in (picture, drawn):
        assert pipe.interpolate(one, PROMPTS[0], frames=3, **few)[0].tobytes() == one.tobytes()
        assert pipe.interpolate(PROMPTS[0], one, frames=3, **few)[-1].tobytes() == one.tobytes()


def test_an_end_is_exact_though_only_one_of_both_can_be_inverted(
    exact: Pipeline, gaussian: Callable[..., Image.Image]
) -> None:
    gray = Image.new("RGB", (8, 8), (128, 128, 128))
    noisy = gaussian()
    for a, b in ((gray, noisy), (noisy, gray)):
        film = exact.interpolate(a, b, frames=3, steps=20)
        assert [film[0].tobytes(), film[-1].tobytes()] == [a.tobytes(), b.tobytes()]


def test_ends_that_are_prompts_are_what_their_own_latent_draws(
    pipe: Pipeline, few: dict[str, int], off: Off
) -> None:
    film = pipe.interpolate(*PROMPTS, frames=4, seed=6, **few)
    for prompt, frame in zip(PROMPTS, (film[0], film[-1]), strict=True):
        alone, _ = decode_latents(pipe, [end_of(pipe, prompt, asked(6, few), None)], [6], few)
        assert off(frame, to_pictures(alone)[0]) <= 1
    assert off(film[0], film[-1]) > 20


def test_a_prompts_latent_is_the_priors_and_the_seeds(pipe: Pipeline, few: dict[str, int]) -> None:
    first, again, other, words = (
        end_of(pipe, prompt, asked(seed, few), None)
        for prompt, seed in ((PROMPTS[0], 1), (PROMPTS[0], 1), (PROMPTS[0], 2), (PROMPTS[1], 1))
    )
    assert torch.equal(first.image_embed, again.image_embed)
    assert torch.equal(first.noises["decoder"], again.noises["decoder"])
    assert torch.equal(first.noises["decoder"], words.noises["decoder"])
    assert not torch.equal(first.noises["decoder"], other.noises["decoder"])
    assert not torch.equal(first.image_embed, words.image_embed)


def test_fixed_noise_is_the_same_where_the_ends_share_theirs(
    pipe: Pipeline,
    few: dict[str, int],
    off: Off,
    exact: Pipeline,
    gaussian: Callable[..., Image.Image],
) -> None:
    """Two prompts of one seed have one x_T: nothing is left to interpolate."""
    walked, fixed = (
        pipe.interpolate(*PROMPTS, frames=3, noise=way, **few)  # type: ignore[arg-type]
        for way in ("slerp", "fixed")
    )
    assert max(off(a, b) for a, b in zip(walked, fixed, strict=True)) <= 1
    noisy = [gaussian(seed) for seed in (0, 1)]
    walked, fixed = (
        exact.interpolate(*noisy, frames=3, steps=20, noise=way)  # type: ignore[arg-type]
        for way in ("slerp", "fixed")
    )
    assert fixed[0].tobytes() == walked[0].tobytes() == noisy[0].tobytes()
    assert off(fixed[1], walked[1]) > 10


def test_a_latent_between_is_on_the_sphere_of_both_parts() -> None:
    a, b = (
        Latent(torch.eye(4)[i : i + 1], 0, {"decoder": torch.eye(4)[i : i + 1] * 3}) for i in (0, 1)
    )
    half = between(a, b, 0.5, "slerp")
    assert torch.allclose(half.image_embed, torch.tensor([[0.5**0.5, 0.5**0.5, 0, 0]]))
    assert torch.allclose(half.noises["decoder"], 3 * half.image_embed)
    assert torch.equal(between(a, b, 0.5, "fixed").noises["decoder"], a.noises["decoder"])


def test_an_end_is_a_file_where_there_is_one(
    pipe: Pipeline, few: dict[str, int], noise: Noise, tmp_path: Path
) -> None:
    file = tmp_path / "a.png"
    noise(16, 16).save(file)
    film = pipe.interpolate(str(file), "a blue square", frames=2, seed=9, **few)
    assert film[0].tobytes() == noise(16, 16).tobytes()
    record = Record.of(film[1])
    assert (record.ability, record.seed) == ("interpolate", 9)
    assert record.inputs == {"a": digest(noise(16, 16)), "b": "a blue square"}
    assert record.settings == {**few, "noise": "slerp", "frames": 2}
    assert np.array_equal(np.asarray(film[0]), np.asarray(noise(16, 16)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"frames": 1}, "frames must be at least 2, got 1"),
        ({"a": "no.png"}, r"cannot read no\.png: there is no such file"),
        ({"a": "no.avif"}, r"cannot read no\.avif: there is no such file"),
        ({"a": ""}, "the prompt is empty"),
        ({"prior": "x"}, "has no prior 'x'"),
        ({"stepz": 3}, "unknown setting 'stepz'"),
    ],
)
def test_bad_requests(arguments: dict[str, Any], message: str, pipe: Pipeline) -> None:
    with pytest.raises(UsageError, match=message):
        pipe.interpolate(**{"a": PROMPTS[0], "b": PROMPTS[1], **arguments})
