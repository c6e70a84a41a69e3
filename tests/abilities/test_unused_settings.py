"""A setting that has no effect gives a warning, and one that has an effect gives none."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from PIL import Image

from unclip import Pipeline
from unclip.cost import Work
from unclip.errors import SettingWarning, UnclipWarning, UsageError
from unclip.stages.sampling import Sampling

Noise = Callable[..., Image.Image]
Off = Callable[[Image.Image, Image.Image], int]

OTHER: dict[str, Any] = {
    "sampler": "heun",
    "steps": 5,
    "spacing": "trailing",
    "guidance_scale": 4.0,
    "image_guidance_scale": 6.0,
    "guidance_rescale": 1.0,
    "guidance_interval": (0.0, 0.3),
    "clip_guidance_scale": 200.0,
    "eta": 0.6,
    "threshold": "dynamic",
    "limit": 0.2,
    "quantile": 0.2,
    "ceiling": 0.2,
    "resample": 3,
    "inpainting": "repaint",
}
"""A value of every setting, far from the model's own."""

BESIDE: list[dict[str, Any]] = [
    {"guidance_scale": 1.0, "threshold": "none"},
    {"guidance_scale": 3.0, "threshold": "clamp"},
    {"guidance_scale": 1.0, "image_guidance_scale": 3.0, "threshold": "dynamic", "limit": 0.1},
]
"""What else is set."""


def warned(draw: Callable[[], list[Image.Image]]) -> tuple[Image.Image, list[str]]:
    """The first picture, and what was said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SettingWarning)
        (picture, *_) = draw()
    assert all(issubclass(one.category, SettingWarning) for one in caught)
    return picture, [str(one.message) for one in caught]


def test_every_setting_has_another_value() -> None:
    assert OTHER.keys() == Sampling.model_fields.keys()


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("stage", ["prior", "decoder", "upsampler"])
def test_what_has_no_effect_is_said_and_what_has_one_is_not(
    stage: str, beside: dict[str, Any], pipe: Pipeline, few: dict[str, int], off: Off
) -> None:
    """The oracle is the picture: the same one with the setting and without, or another."""
    prefix = "" if stage == "decoder" else f"{stage}_"
    if stage != "decoder":  # which alone reads an image embedding
        beside = {key: value for key, value in beside.items() if key != "image_guidance_scale"}
    base: dict[str, Any] = {**few, **{f"{prefix}{key}": value for key, value in beside.items()}}
    usual, _ = warned(partial(pipe.generate, "a red circle", **base))
    for key, value in OTHER.items():
        if key in beside:
            continue
        name = f"{prefix}{key}"
        changed = base | {name: value}
        picture, lines = warned(partial(pipe.generate, "a red circle", **changed))
        said = any(line.startswith(f"setting '{name}' has no effect: ") for line in lines)
        change = off(picture, usual)  # by a level, guidance by nothing rounds otherwise
        assert change <= 1 if said else change, (name, lines)


@pytest.mark.parametrize("key", ["resample", "inpainting"])
@pytest.mark.parametrize("prefix", ["", "prior_", "upsampler_"])
def test_what_only_inpainting_reads(
    key: str, prefix: str, pipe: Pipeline, few: dict[str, int], noise: Noise, off: Off
) -> None:
    picture, name = noise(16, 16), f"{prefix}{key}"

    def draw(**more: Any) -> Callable[[], list[Image.Image]]:
        return lambda: pipe.edit(picture, None, "a red circle", box=(4, 4, 8, 8), **few, **more)

    usual, silent = warned(draw())
    other, lines = warned(draw(**{name: OTHER[key]}))
    assert not silent
    assert bool(lines) == (off(usual, other) == 0), (name, lines)


def test_a_stage_that_does_not_run(pipe: Pipeline, few: dict[str, int], noise: Noise) -> None:
    """The line names the setting as it was given, what runs instead, and what to give."""
    size, here = noise(16, 16), "has no effect: this draws with"
    two = Pipeline(pipe.with_stages({**pipe.stages, "second": pipe.stages["prior"]}).model)
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: pipe.upscale(size, decoder_steps=3), f"'decoder_steps' {here} upsampler, not"),
        (lambda: pipe.variations(size, **few), f"'prior_steps' {here} decoder, "),
        (lambda: pipe.interpolate(size, size, frames=2, **few), f"'prior_steps' {here} decoder, "),
        (lambda: pipe.generate("a", prior="none", **few), f"'prior_steps' {here} decoder, "),
        (
            lambda: two.generate("a", second_steps=2, **few),
            r"'second_steps' .*with prior, decoder, upsampler, not with second; to use it, give "
            r"--prior second \(in Python prior='second'\)$",
        ),
    ]  # fmt: skip
    for draw, line in cases:
        with pytest.warns(SettingWarning, match=f"^setting {line}") as told:
            draw()
        assert len(told) == 1
        assert told[0].filename == __file__, "the line that called"
    with pytest.raises(UsageError, match="unknown setting 'upsampler_steeps'"):
        pipe.upscale(size, steeps=3)
    with pytest.raises(UsageError, match=r"unknown setting 'xyz'; known: .*steps, .*prior_"):
        pipe.generate("a", xyz=3)


def test_a_value_that_the_stage_has_anyway_is_not_said(pipe: Pipeline) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnclipWarning)
        pipe.cost(Work(1, {"resample": None, "quantile": 0.995, "guidance_interval": [0, 1]}, 1))


@pytest.mark.parametrize("name", ["generate", "edit", "outpaint", "image_to_image", "interpolate"])
def test_a_negative_prompt_leads_elsewhere_or_is_said_to_have_no_effect(
    name: str, pipe: Pipeline, few: dict[str, int], noise: Noise, off: Off
) -> None:
    """In every ability that draws from a text; the oracle is the picture."""
    picture = noise(16, 16)
    given: dict[str, tuple[Any, ...]] = {
        "generate": ("a red circle",),
        "edit": (picture, None, "a red circle"),
        "outpaint": (picture, "a red circle", 4),
        "image_to_image": (picture, "a red circle"),
        "interpolate": ("a red circle", "a blue square"),
    }
    more: dict[str, Any] = {"box": (4, 4, 8, 8)} if name == "edit" else {}
    more |= {"frames": 2} if name == "interpolate" else {}

    def draw(negative: str, scale: float) -> tuple[Image.Image, list[str]]:
        scales = {"guidance_scale": scale, "prior_guidance_scale": scale}
        return warned(
            lambda: getattr(pipe, name)(
                *given[name], negative_prompt=negative, **more, **few, **scales
            )
        )

    line = "setting 'negative_prompt' has no effect: it needs "
    for scale, has_effect in ((3.0, True), (1.0, False)):
        (usual, _), (other, lines) = draw("", scale), draw("a blue square", scale)
        assert (off(usual, other) > 1) == has_effect
        assert any(one.startswith(line) for one in lines) != has_effect
