"""How far a student may go wrong before its training stops."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from ..config import Config


class Limits(Config):
    """What stops a training whose student was within these limits before and is no longer.

    The figures are of fixed conditions and seeds, drawn whenever something is logged.
    """

    diversity: float = Field(
        0.5,
        ge=0,
        description="deviation over seeds from which on it is watched, as a share of the teacher's "
        "in 30 steps",
    )
    diversity_kept: float = Field(
        0.7, ge=0, le=1, description="least share of its best diversity; above 1 that counts as 1"
    )
    sharpness: tuple[float, float] = Field(
        (0.9, 1.1),
        description="Laplacian energy, as a share of the teacher's; an upsampler's, and beside a "
        "critic, of true pictures'",
    )
    text_kept: float = Field(
        0.9,
        ge=0,
        description="least cosine in CLIP of picture and text, as a share of the teacher's",
    )
    mismatch_found: float = Field(
        0.6,
        ge=0,
        le=1,
        description="least share of wrong captions that the critic finds; .5 is chance",
    )
    saturated: float = Field(
        0.1, ge=0, description="most values beyond .98, as a share, above the truth's"
    )
    patience: int = Field(
        10,
        ge=1,
        description="so many looks in a row outside stop it; meanwhile no state is saved "
        "but at a stop, or where a signal asks",
    )

    @model_validator(mode="after")
    def _from_low_to_high(self) -> Self:
        low, high = self.sharpness
        if not 0 <= low < high:
            raise ValueError(f"sharpness must rise from at least 0, got {low:g} and {high:g}")
        return self
