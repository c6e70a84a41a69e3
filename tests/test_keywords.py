"""diffusers' keywords in calls of a pipeline: what they mean here, or what to use instead."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from unclip import Pipeline
from unclip.abilities import ABILITIES
from unclip.abilities.generate import GenerateRequest
from unclip.abilities.interpolate import InterpolateRequest
from unclip.abilities.upscale import UpscaleRequest
from unclip.errors import UsageError
from unclip.keywords import INSTEAD, RENAMED, outputs
from unclip.request import Drawing
from unclip.stages.sampling import Sampling

PICTURE = Image.new("RGB", (8, 8))


def request(**settings: Any) -> GenerateRequest:
    return GenerateRequest.of(prompt="a fox", settings=settings)


def test_keywords_are_this_packages_own() -> None:
    made = request(
        num_inference_steps=25,
        num_images_per_prompt=4,
        generator=torch.Generator().manual_seed(7),
        guidance_scale=4.0,
        prior_num_inference_steps=10,
    )
    assert (made.n, made.seed) == (4, 7)
    assert made.settings == {"steps": 25, "guidance_scale": 4.0, "prior_steps": 10}
    assert made == GenerateRequest.of(
        prompt="a fox",
        n=4,
        seed=7,
        settings={"steps": 25, "guidance_scale": 4.0, "prior_steps": 10},
    )


def test_they_may_stand_beside_the_fields_too() -> None:
    made = GenerateRequest.of(prompt="a fox", num_images_per_prompt=2, num_inference_steps=3)
    assert (made.n, made.settings) == (2, {"steps": 3})


def test_a_generator_is_its_initial_seed_however_much_was_drawn() -> None:
    generator = torch.Generator().manual_seed(11)
    torch.randn(5, generator=generator)
    assert request(generator=generator).seed == 11
    several = [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]
    assert request(generator=several, num_images_per_prompt=3).seed == 5


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"steps": 4, "num_inference_steps": 5},
            "steps and num_inference_steps set the same: give only one of them",
        ),
        (
            {"num_inference_steps": 4, "decoder_num_inference_steps": 5},
            "num_inference_steps and decoder_num_inference_steps set the same: give only one of",
        ),
        ({"generator": 3}, "generator must be a torch.Generator, got 3"),
        (
            {"generator": [torch.Generator().manual_seed(seed) for seed in (3, 9)]},
            "generator: picture i uses the first one's seed + i, got seeds [3, 9]; call once",
        ),
        (
            {"callback_on_step_end": print},
            "'callback_on_step_end' means nothing here; use on_step=",
        ),
        ({"num_images_per_prompt": 0}, "n must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_meant_is_one_line(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError) as caught:
        request(**settings)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_both_a_field_and_its_keyword_are_named() -> None:
    with pytest.raises(UsageError, match=r"^n and num_images_per_prompt set the same"):
        GenerateRequest.of(prompt="a fox", n=3, settings={"num_images_per_prompt": 2})
    generator = torch.Generator().manual_seed(7)
    with pytest.raises(UsageError, match=r"^seed and generator set the same"):
        GenerateRequest.of(prompt="a fox", seed=3, settings={"generator": generator})
    with pytest.raises(UsageError, match=r"^'num_images_per_prompt' means nothing here: there is"):
        InterpolateRequest.of(a="a", b="b", settings={"num_images_per_prompt": 2})


@pytest.mark.parametrize("name", INSTEAD)
def test_a_keyword_without_a_meaning_says_what_to_use(name: str) -> None:
    with pytest.raises(UsageError, match=rf"^'{name}' means nothing here(; use|:) ") as caught:
        request(**{name: 1})
    assert len(str(caught.value)) < 160


def test_no_keyword_hides_a_name_of_ours() -> None:
    every = [ABILITIES[name].request for name in ABILITIES.names()]
    own = {field for cls in every for field in cls.model_fields}
    assert not (RENAMED.keys() | INSTEAD.keys()) & (own | Sampling.model_fields.keys())
    assert {ours for ours in RENAMED.values() if ours in own} == {"n", "seed"}


class Sized(Drawing):
    ability: ClassVar[str] = "generate"
    size: str | None = None


def test_height_and_width_are_a_size_where_there_is_one() -> None:
    assert Sized.of(height=512, width=768).size == "768x512"
    assert Sized.of(settings={"width": 768, "height": 512}) == Sized.of(size="768x512")
    with pytest.raises(UsageError, match=r"^height and width belong together: give both$"):
        Sized.of(height=512)
    with pytest.raises(UsageError, match=r"^size and height and width set the same"):
        Sized.of(height=512, width=512, size="64x64")
    with pytest.raises(UsageError, match=r"^'height and width' means nothing here: there is no"):
        UpscaleRequest.of(image=PICTURE, settings={"height": 512, "width": 512})


def test_none_is_as_good_as_nothing() -> None:
    assert request(generator=None, num_inference_steps=None) == request()


def test_an_upsamplers_steps() -> None:
    made = UpscaleRequest.of(image=PICTURE, settings={"num_inference_steps": 9})
    assert isinstance(made, Drawing)
    assert made.settings == {"steps": 9}


@pytest.mark.parametrize("name", [name for name in ABILITIES.names() if name != "probe"])
def test_every_method_that_draws_has_output_types(name: str) -> None:
    """Refused before anything else, the pipeline itself included."""
    with pytest.raises(UsageError, match=r"^output_type must be 'pil', 'np' or 'pt', got 'jax'"):
        getattr(Pipeline, ABILITIES[name].function.__name__)(None, output_type="jax")


def test_output_types() -> None:
    """The same pictures: arrays hold their values over 255."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), np.uint8)
    pictures = [Image.fromarray(one) for one in noise]

    def draw(**settings: Any) -> Any:
        assert settings == {"steps": 3}
        return pictures

    drawn = outputs(draw)
    assert drawn(steps=3) is pictures and drawn(steps=3, output_type="pil") is pictures
    array, tensor = drawn(steps=3, output_type="np"), drawn(steps=3, output_type="pt")
    assert array.dtype == np.float32 and tensor.dtype == torch.float32
    assert np.allclose(array, noise / 255, atol=1e-6)
    assert np.allclose(tensor.permute(0, 2, 3, 1), array) and tensor.shape == (2, 3, 4, 6)
    with pytest.raises(UsageError, match=r"^output_type must be 'pil', 'np' or 'pt', got 'latent'"):
        outputs(lambda **_: pytest.fail("nothing may be drawn"))(output_type="latent")
