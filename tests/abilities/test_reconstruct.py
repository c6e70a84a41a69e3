"""Reconstruction: from more and more principal components to z_i itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from PIL import Image

from unclip import Pipeline
from unclip.abilities.reconstruct import find, fit
from unclip.errors import UsageError
from unclip.media import digest, to_pictures, to_tensor
from unclip.nn.pca import Pca
from unclip.record import Record
from unclip.rng import Rng
from unclip.stages.model import Model
from unclip.types import Cond

Noise = Callable[..., Image.Image]
Off = Callable[[Image.Image, Image.Image], int]


def embed(pipe: Pipeline, picture: Image.Image) -> torch.Tensor:
    with torch.no_grad():
        return pipe.model.clip("a test").net.encode_image(to_tensor([picture]))


def image_only(pipe: Pipeline, z_i: torch.Tensor, seed: int, few: Mapping[str, int]) -> Image.Image:
    """What the decoder and the upsampler draw of z_i alone."""
    cond = pipe.read([""]).replace(image_embed=z_i, keep_text=torch.tensor([False]))
    steps = {"decoder": few["steps"], "upsampler": few["upsampler_steps"]}
    for name, count in steps.items():
        cond = pipe.stages[name].sample(cond, Rng([f"{seed}/{name}"]), {"steps": count})
    assert cond.image is not None
    return to_pictures(cond.image)[0]


@pytest.fixture(scope="module")
def many(noise: Noise) -> list[Image.Image]:
    return [noise(16, 16, seed) for seed in range(40)]


def test_all_components_are_z_i_itself(
    pipe: Pipeline, brief: dict[str, int], many: list[Image.Image], noise: Noise, off: Off
) -> None:
    picture = noise(16, 16, seed=99)
    (whole,) = pipe.reconstruct(picture, [32], seed=3, pictures=many, **brief)
    assert off(whole, image_only(pipe, embed(pipe, picture), 3, brief)) <= 1


def test_each_number_of_components_is_its_projection(
    pipe: Pipeline, brief: dict[str, int], many: list[Image.Image], noise: Noise, off: Off
) -> None:
    picture, (pca, seen) = noise(16, 16, seed=99), fit(pipe, many, 5)
    film = pipe.reconstruct(picture, [5, 1, 3], seed=3, pictures=many, **brief)
    for k, one in zip((5, 1, 3), film, strict=True):
        z = embed(pipe, picture)
        left = (z - pca.mean) @ pca.basis[:k].T @ pca.basis[:k] + pca.mean
        z = torch.nn.functional.normalize(left, dim=-1)
        assert off(one, image_only(pipe, z, 3, brief)) <= 1
        record = Record.of(one)
        assert (record.ability, record.seed) == ("reconstruct", 3)
        assert record.inputs == {"image": digest(picture), "pictures": seen}
        assert record.settings == {**brief, "dims": [5, 1, 3]}
    assert len({one.tobytes() for one in film}) == 3


def test_without_pictures_the_priors_components_are_used(
    pipe: Pipeline, brief: dict[str, int], make_stage: Callable[..., Any], noise: Noise, off: Off
) -> None:
    prior = make_stage("ar_prior")
    prior.net.pca = Pca(32, 6)
    prior.net.pca.fit(Rng(range(20)).randn(32))
    model = Pipeline(Model(pipe.tokenizer, {**pipe.stages, "ar": prior}, "both"))
    assert find(model) is prior.net.pca
    (one,) = model.reconstruct(noise(16, 16), [4], **brief)
    z = prior.net.pca.project(embed(pipe, noise(16, 16)), 4)
    assert off(one, image_only(pipe, z, 0, brief)) <= 1
    with pytest.raises(
        UsageError,
        match=r"dims must be at most 6, .* got 7; give smaller ones, or more than 7 pictures",
    ):
        model.reconstruct(noise(16, 16), [7], **brief)


@pytest.mark.parametrize(
    ("dims", "count", "message"),
    [
        ([], 8, "dims must have at least 1"),
        ([0], 8, r"dims\.0 must be at least 1, got 0"),
        ([3, -1], 8, r"dims\.1 must be at least 1, got -1"),
        ([8], 8, "for 8 components give more than 8 pictures, got 8"),
        ([33], 40, "at most 32, the width of z_i, got 33"),
        ([2], 0, "model 'tiny' has no principal components.*give pictures to find them from"),
    ],
)
def test_bad_requests(
    dims: list[int], count: int, message: str, pipe: Pipeline, many: list[Image.Image]
) -> None:
    with pytest.raises(UsageError, match=message):
        pipe.reconstruct(many[0], dims, pictures=many[:count] or None)


def test_an_image_only_condition_hides_the_text(pipe: Pipeline) -> None:
    cond: Cond = pipe.image_only(torch.zeros(2, 32))
    assert cond.keep_text is not None and not cond.keep_text.any()


def test_the_picture_is_opened_before_any_other_is_embedded(
    pipe: Pipeline, many: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.abilities.reconstruct.fit", lambda *_: pytest.fail("too early"))
    with pytest.raises(UsageError, match=r"cannot read none\.png"):
        pipe.reconstruct("none.png", [2], pictures=many)
