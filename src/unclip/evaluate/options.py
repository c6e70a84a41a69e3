"""What may be asked of an evaluation: parts of the report, and how much is measured.

The help of `unclip evaluate` is made from it: nothing here imports PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from ..config import Config
from ..registry import Registry

PARTS = {
    "distribution": "how near the pictures come to real ones: Fréchet distances, KID, precision",
    "diversity": "how far pictures of one prompt differ, next to those of more steps; how sharp "
    "pictures are, next to real ones",
    "ablations": "one thing changed at a time: where the image embedding z_i comes from, guidance, "
    "priors; and inversion",
    "memorisation": "whether pictures are copies of training pictures",
}
"""Parts of the report that every benchmark may have, and what each measures."""

OLD_PARTS = {"science": "ablations"}
"""Former names of parts, which are still understood. Reports and caches are written with them."""


class Sizes(Config):
    """How much is measured. A benchmark may have a subclass with sizes of its own."""

    few: ClassVar[Mapping[str, Any]] = {
        "pictures": 96, "prompts": 8, "pool": 2000, "ablations": 80, "scales": (1, 2, 4, 8),
        "inversions": 8, "source_prompts": 2, "sample": 16,
    }  # fmt: skip
    """What `quick` has; all else is as it is by default."""
    old_names: ClassVar[Mapping[str, str]] = {"science": "ablations", "ways": "source_prompts"}
    """Former names, which are still understood. Reports and caches are written with them."""

    pictures: int = Field(1000, ge=1, description="real pictures, and as many drawn, to compare")
    prompts: int = Field(32, ge=1, description="prompts to draw from several seeds, for diversity")
    seeds: int = Field(8, ge=2, description="pictures of each of these prompts")
    reference_steps: int = Field(
        30, ge=1, description="steps of the run that their diversity is compared with"
    )
    settings: tuple[str, ...] = Field(
        (), description='more settings to compare there, as in ["steps=5","sampler=ddpm; steps=20"]'
    )
    pool: int = Field(
        20_000, ge=1, description="training pictures, and as many unseen, to search for copies"
    )
    ablations: int = Field(500, ge=1, description="pictures drawn from each source of z_i")
    source_prompts: int = Field(
        15, ge=0, description="prompts of each kind, to check pictures from each source of z_i"
    )
    scales: tuple[float, ...] = Field(
        (1, 1.5, 2, 3, 4, 6, 8), description="guidance scales to compare"
    )
    captions: int = Field(
        1000, ge=2, description="captions to tell apart by the z_i that a prior makes"
    )
    inversions: int = Field(64, ge=1, description="pictures to invert and draw again")
    sample: int = Field(32, ge=1, description="example pictures of each kind on the page")

    @model_validator(mode="before")
    @classmethod
    def _old(cls, values: Any) -> Any:
        return cls.renamed(values) if isinstance(values, Mapping) else values

    @classmethod
    def renamed(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same values, old names replaced."""
        return {cls.old_names.get(name, name): value for name, value in values.items()}

    @classmethod
    def quick(cls) -> Self:
        """Fewer of everything: minutes on a CPU."""
        return cls.model_validate(cls.few)

    @classmethod
    def of(cls, sizes: Sizes) -> Self:
        """What these sizes and those of another benchmark have in common; else the default."""
        return cls.model_validate({name: one for name, one in sizes if name in cls.model_fields})

    def dump(self) -> dict[str, Any]:
        """Plain data for reports and caches, under the names that they have always had."""
        old = {new: name for name, new in self.old_names.items()}
        return {old.get(name, name): value for name, value in super().dump().items()}


FULL = Sizes()


@dataclass(frozen=True)
class Options:
    """What may be asked of one benchmark alone."""

    sizes: type[Sizes] = Sizes
    parts: Mapping[str, str] = field(default_factory=dict)  # of the report: name -> what it is


OPTIONS: Registry[Options] = Registry(None, "OPTIONS", "options of a benchmark")
"""By benchmark, where it has any."""
