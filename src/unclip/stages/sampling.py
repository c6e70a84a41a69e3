"""The settings of a diffusion stage's sampling, and the watch over its steps."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator
from torch import Tensor

from ..aliases import nearest_sampler, resolved
from ..config import Config, Share
from ..diffusion.samplers import SAMPLERS
from ..errors import SamplingError, UsageError
from ..types import Control, Denoiser, Level, OnStep, Prediction, Step

DropText = Annotated[Share, Field(description="share of samples without their text")]
DropImage = Annotated[
    Share, Field(description="share of samples without their z_i, of objective diffusion alone")
]


class Sampling(Config):
    """How a diffusion stage is sampled."""

    sampler: str = "ddim"
    steps: int = Field(50, ge=1)
    spacing: str = Field("uniform", description="how the steps lie on the schedule")
    guidance_scale: float = Field(1.0, ge=0, description="1 is none and costs half")
    image_guidance_scale: float | None = Field(
        None, ge=0, description="of z_i alone; guidance_scale is then the text's"
    )
    guidance_rescale: float = Field(0.0, ge=0, le=1, description="against oversaturation")
    guidance_interval: tuple[float, float] = Field(
        (0.0, 1.0), description="noise levels that are guided, 0 clean to 1 noise"
    )
    clip_guidance_scale: float = Field(0.0, ge=0, description="pull of CLIP's gradient")
    eta: float | None = Field(
        None,
        ge=0,
        description="fresh noise: 0 deterministic, 1 ancestral; none is the sampler's own",
    )
    threshold: Literal["none", "clamp", "dynamic"] = "none"
    limit: float = Field(1.0, gt=0, description="what x0 is clamped to")
    quantile: float = Field(
        0.995, gt=0, le=1, description="of |x0|, beyond which a dynamic threshold clamps"
    )
    ceiling: float | None = Field(
        None, gt=0, description="above which a dynamic threshold, then in use, does not rise"
    )
    resample: int | None = Field(
        None, ge=1, description="RePaint's repetitions a step; none is 1 where the network inpaints"
    )
    inpainting: Literal["auto", "repaint"] = Field(
        "auto", description="repaint does not show the network what is known"
    )

    @model_validator(mode="after")
    def _own_names(self) -> Self:
        asked = self.model_dump(include=self.model_fields_set & {"sampler", "spacing"})
        for name, value in resolved(asked).items():
            object.__setattr__(self, name, value)  # frozen, but nobody has it yet
        return self

    def unused(self) -> dict[str, str]:
        """Settings that the others leave without effect, each with what it needs.

        `{}` in the text stands for what a setting's name begins with.
        """
        guided = self.guidance_scale != 1.0 or self.image_guidance_scale is not None
        clamped = self.is_dynamic or self.threshold == "clamp"
        needs = {
            "guidance_rescale": (guided, "{}guidance_scale other than 1"),
            "guidance_interval": (guided, "{}guidance_scale other than 1"),
            "quantile": (self.is_dynamic, "{}threshold 'dynamic'"),
            "ceiling": (self.is_dynamic, "{}threshold 'dynamic'"),
            "limit": (clamped, "{}threshold 'clamp' or 'dynamic'"),
        }
        return {name: f"it needs {what}" for name, (has, what) in needs.items() if not has}

    @property
    def is_dynamic(self) -> bool:
        """Whether the dynamic threshold is in use, which a ceiling asks for too."""
        return self.threshold == "dynamic" or (
            self.threshold == "none" and self.ceiling is not None
        )

    def merge(self, changes: dict[str, Any], where: str = "sampling") -> Self:
        """A copy with the settings in `changes` that are not None. Raises UsageError.

        Another sampler comes with its own eta: DDPM with DDIM's 0 would never add noise.

        Args:
            changes: plain data, of exactly the types that the fields have.
            where: what errors call the settings.
        """
        known = resolved({key: value for key, value in changes.items() if value is not None})
        kept = self.dump()
        if known.get("sampler", self.sampler) != self.sampler:
            del kept["eta"]
        return type(self).parse({**kept, **known}, where, strict=True)


def check_sampler(name: str) -> None:
    """Raise UsageError for a name of no sampler, with the nearest one to that of another tool."""
    if name not in SAMPLERS:
        hint, known = nearest_sampler(name, SAMPLERS), ", ".join(SAMPLERS)
        raise UsageError(f"unknown sampler '{name}'{hint}; known: {known}").about("sampler")


class SampleArguments(NamedTuple):
    """The arguments of `Stage.sample` beside the condition and the generators."""

    sampling: dict[str, Any]
    on_step: OnStep | None
    control: Control


class SamplingSteps:
    """The steps of one sampling: each one's numbers are checked, then `on_step` is called."""

    def __init__(self, kind: str, total: int, on_step: OnStep | None) -> None:
        self._kind, self._total, self._on_step = kind, total, on_step
        self._next = 1

    def done(self, index: int, total: int, x0: Tensor) -> None:
        """Step `index` of `total`, counted from 1, is done."""
        self._next = index + 1
        if self._on_step is not None:
            self._on_step(Step(self._kind, index, total, x0))

    def watching(self, denoise: Denoiser) -> Denoiser:
        """`denoise`, which raises SamplingError where x0 or eps is not finite.

        eps too: a clamp hides an infinite x0, and x_t - alpha * x0 does not.
        """

        def watched(x: Tensor, level: Level) -> Prediction:
            said = denoise(x, level)
            check_finite(said.x0, said.eps, stage=self._kind, when=f"at {self._at()}")
            return said

        return watched

    def _at(self) -> str:
        return f"step {min(self._next, self._total)} of {self._total}"


def check_finite(*values: Tensor, stage: str, when: str) -> None:
    """Raise SamplingError unless every number is finite; a sum shows it, in one transfer."""
    total = sum(value.detach().float().sum() for value in values if not value.is_meta)
    if not math.isfinite(float(total)):
        raise SamplingError(stage, when)
