"""What few-step students, and critics, learn from: the settings of these objectives."""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from ..config import Config, Share
from .limits import Limits


class ConsistencyObjective(Config):
    """Consistency distillation: the truth is a guided teacher's path. See `consistency`."""

    kind: Literal["consistency"] = "consistency"
    teacher: str | None = Field(
        "from",
        description="stage of the recipe whose path is learnt; from: what this one is taken from",
    )
    guidance_scale: float | None = Field(
        None, ge=0, description="of the teacher; none is what it samples with"
    )
    levels: int = Field(32, ge=2, description="levels of the path, evenly spaced")
    parts: int = Field(
        1,
        ge=1,
        description="equal parts of the path: the student learns to go to the end of each, and "
        "draws in so many steps or a multiple",
    )
    noise_share: float = Field(0.4, ge=0, le=1, description="of samples that begin at pure noise")
    own_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="of samples that begin at the student's own picture, noised again, as its "
        "second step does",
    )
    own_level: float = Field(
        0.5, gt=0, lt=1, description="where on the path that is, 0 pure noise to 1 clean"
    )
    strides: tuple[tuple[Share, PositiveInt], ...] = Field(
        ((0.0, 4), (1 / 3, 2), (0.7, 1)),
        description="(share of the training done, levels that the teacher's step then spans)",
    )
    v_gamma: float = Field(5.0, ge=1, description="weight of the error, 1 + SNR, at most this")
    huber: float = Field(0.03, gt=0, description="error above which the loss is linear")
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _equal_parts(self) -> Self:
        if self.levels % self.parts:
            raise ValueError(f"{self.levels} levels have no {self.parts} equal parts")
        if self.parts > 1 and self.own_share:
            raise ValueError(
                "own_share must be 0 with parts: a student of parts goes on from where its last "
                "step led to, and noises no picture of its own again"
            )
        return self

    @model_validator(mode="after")
    def _own_level_between(self) -> Self:
        place = self.own_place
        if not 0 < place < self.levels:
            end = "clean" if place else "pure noise"
            raise ValueError(
                f"own_level {self.own_level:g} of {self.levels} levels is {end}, level {place}: it "
                "must lie on a level between"
            )
        return self

    @property
    def span(self) -> int:
        """Levels of each part."""
        return self.levels // self.parts

    @property
    def own_place(self) -> int:
        """The level of `own_level`, 0 pure noise to `levels` clean."""
        return round(self.own_level * self.levels)

    def stride(self, progress: float) -> int:
        """How many levels the teacher's step spans when `progress` (0 to 1) is done."""
        return [levels for share, levels in self.strides if progress >= share][-1]

    @field_validator("strides")
    @classmethod
    def _from_the_start(cls, strides: tuple[tuple[float, int], ...]) -> Any:
        if not strides or strides[0][0] != 0 or list(strides) != sorted(strides, key=itemgetter(0)):
            raise ValueError("the shares must rise from 0")
        return strides


class AdversarialObjective(ConsistencyObjective):
    """A critic judges the student's pictures, beside consistency where there is a teacher.

    Without a teacher it is a generative adversarial network with CLIP's feedback, learnt from the
    pictures alone.
    """

    kind: Literal["adversarial"] = "adversarial"  # type: ignore[assignment]
    teacher: str | None = Field(
        None, description="stage of the recipe whose path is learnt, and whose features are judged"
    )
    consistency_weight: float = Field(1.0, ge=0, description="of the distance to the path's end")
    data_weight: float = Field(
        0.0, ge=0, description="of the distance to the data, of which an upsampler is shown much"
    )
    adversarial_weight: float = Field(0.5, ge=0, description="of what the critic says")
    clip_weight: float = Field(0.2, ge=0, description="of 1 - cos between picture and text in CLIP")
    embed_weight: float = Field(
        0.0, ge=0, description="of 1 - cos between picture and the z_i that it is drawn from"
    )
    critic: Literal["features", "patches", "whole"] = Field(
        "features",
        description="whether it looks through the teacher's features (without a teacher, a copy's "
        "that learns with it) and its own convolutions, or through these alone: at patches, or at "
        "the whole, for small pictures of which each has one thing",
    )
    critic_from: float = Field(
        0.0, ge=0, lt=1, description="share of the training that is done when the critic begins"
    )
    critic_width: int = Field(64, ge=1, description="channels of each of its heads")
    critic_rate: float = Field(1e-3, gt=0, description="the critic's learning rate")
    critic_sees: tuple[Share, Share] = Field(
        (0.25, 1.0), description="part of the path, 0 pure noise to 1 clean, that it looks at"
    )
    penalty: float = Field(1.0, ge=0, description="of the critic's change by a little noise")
    penalty_noise: float = Field(0.03, gt=0, description="standard deviation of that noise")
    mismatch: float = Field(1.0, ge=0, description="weight of true pictures of another text")
    largest_gap: float = Field(
        4.0, gt=0, description="between true and made pictures; beyond it training stops"
    )

    @model_validator(mode="after")
    def _learns_something_first(self) -> Self:
        if self.critic_from and not (self.data_weight or self.teacher):
            raise ValueError("critic_from needs a data_weight, or a teacher, to learn from before")
        return self
