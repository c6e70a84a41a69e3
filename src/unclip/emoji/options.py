"""What may be asked of the emoji benchmark alone. Help is made from it: no PyTorch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from ..evaluate.options import Options, Sizes


class EmojiSizes(Sizes):
    """How much is measured on emoji."""

    few: ClassVar[Mapping[str, Any]] = {
        **Sizes.few, "scenes": 4, "each": 1, "languages": 2, "calibration": 20,
    }  # fmt: skip
    old_names: ClassVar[Mapping[str, str]] = {**Sizes.old_names, "admission": "calibration"}

    scenes: int | None = Field(
        None, ge=1, description="scenes of each kind for the verifier; by default the full list"
    )
    each: int = Field(4, ge=1, description="pictures that the verifier draws of each scene")
    languages: int = Field(40, ge=1, description="scenes of each kind in every language")
    calibration: int = Field(
        300, ge=1, description="real scenes of each kind, to measure how reliable the judges are"
    )


def emoji_sizes(sizes: Sizes) -> EmojiSizes:
    """The sizes of an evaluation on emoji."""
    return sizes if isinstance(sizes, EmojiSizes) else EmojiSizes.of(sizes)


OPTIONS = Options(
    EmojiSizes,
    {
        "verifier": "whether pictures show the objects, counts, colours and positions asked for",
        "languages": "the same scenes in English and in Chinese; a model that was taught no "
        "Chinese scores low",
    },
)
