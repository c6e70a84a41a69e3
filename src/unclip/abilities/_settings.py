"""The keyword arguments of a pipeline's methods that depend on its model, for type checkers.

A misspelt one is then seen before anything runs. Which of them a model takes is checked when it is
given them, by `Model.by_stage`; those of stages with names of their own go into a request's
`settings`, which `Pipeline.run` takes. `tests/abilities/test_settings.py` compares these with the
stages' settings, the requests and `keywords.py`.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

Pair = tuple[float, float]
Threshold = Literal["none", "clamp", "dynamic"]
Inpainting = Literal["auto", "repaint"]


class DiffusersKeywords(TypedDict, total=False):
    """Those of diffusers that are understood: see `keywords.py`."""

    num_inference_steps: int | None
    num_images_per_prompt: int | None
    generator: Any
    decoder_num_inference_steps: int | None
    decoder_guidance_scale: float | None
    super_res_num_inference_steps: int | None
    prior_num_inference_steps: int | None
    height: int | None
    width: int | None
    output_type: Literal["pil", "np", "pt"]


class OtherSettings(DiffusersKeywords, total=False):
    """Of the decoder all but `eta`, of priors and upsamplers all, under their stage's name."""

    sampler: str | None
    steps: int | None
    spacing: str | None
    guidance_scale: float | None
    image_guidance_scale: float | None
    guidance_rescale: float | None
    guidance_interval: Pair | None
    clip_guidance_scale: float | None
    threshold: Threshold | None
    limit: float | None
    quantile: float | None
    ceiling: float | None
    resample: int | None
    inpainting: Inpainting | None
    noise_level: int | None
    prior_sampler: str | None
    prior_steps: int | None
    prior_spacing: str | None
    prior_guidance_scale: float | None
    prior_image_guidance_scale: float | None
    prior_guidance_rescale: float | None
    prior_guidance_interval: Pair | None
    prior_clip_guidance_scale: float | None
    prior_eta: float | None
    prior_threshold: Threshold | None
    prior_limit: float | None
    prior_quantile: float | None
    prior_ceiling: float | None
    prior_resample: int | None
    prior_inpainting: Inpainting | None
    ar_prior_temperature: float | None
    ar_prior_guidance_scale: float | None
    upsampler_sampler: str | None
    upsampler_steps: int | None
    upsampler_spacing: str | None
    upsampler_guidance_scale: float | None
    upsampler_image_guidance_scale: float | None
    upsampler_guidance_rescale: float | None
    upsampler_guidance_interval: Pair | None
    upsampler_clip_guidance_scale: float | None
    upsampler_eta: float | None
    upsampler_threshold: Threshold | None
    upsampler_limit: float | None
    upsampler_quantile: float | None
    upsampler_ceiling: float | None
    upsampler_resample: int | None
    upsampler_inpainting: Inpainting | None
    upsampler_sharpen: float | None
    upsampler_2_sampler: str | None
    upsampler_2_steps: int | None
    upsampler_2_spacing: str | None
    upsampler_2_guidance_scale: float | None
    upsampler_2_image_guidance_scale: float | None
    upsampler_2_guidance_rescale: float | None
    upsampler_2_guidance_interval: Pair | None
    upsampler_2_clip_guidance_scale: float | None
    upsampler_2_eta: float | None
    upsampler_2_threshold: Threshold | None
    upsampler_2_limit: float | None
    upsampler_2_quantile: float | None
    upsampler_2_ceiling: float | None
    upsampler_2_resample: int | None
    upsampler_2_inpainting: Inpainting | None
    upsampler_2_sharpen: float | None
    upsampler_1024_sampler: str | None
    upsampler_1024_steps: int | None
    upsampler_1024_spacing: str | None
    upsampler_1024_guidance_scale: float | None
    upsampler_1024_image_guidance_scale: float | None
    upsampler_1024_guidance_rescale: float | None
    upsampler_1024_guidance_interval: Pair | None
    upsampler_1024_clip_guidance_scale: float | None
    upsampler_1024_eta: float | None
    upsampler_1024_threshold: Threshold | None
    upsampler_1024_limit: float | None
    upsampler_1024_quantile: float | None
    upsampler_1024_ceiling: float | None
    upsampler_1024_resample: int | None
    upsampler_1024_inpainting: Inpainting | None
    upsampler_1024_sharpen: float | None


class SamplingSettings(OtherSettings, total=False):
    """How a picture is sampled: see `Sampling`."""

    eta: float | None


class SizeSettings(TypedDict, total=False):
    """How large a whole picture is: see `Sized`."""

    size: str | None
    aspect: str | None
    tile: bool | Literal["both", "x", "y"] | None


class PictureSettings(SamplingSettings, SizeSettings, total=False):
    """Of abilities that draw whole pictures."""


class VariationSettings(OtherSettings, SizeSettings, total=False):
    """Of `variations`, whose `eta` is an argument of its own."""


class UpscaleSettings(SamplingSettings, total=False):
    """Of `upscale`, which has upsamplers alone: their settings need no stage's name."""

    sharpen: float | None
