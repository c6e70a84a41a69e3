"""What was asked for: checks before any work, and the record that a picture carries of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from PIL import Image

from .errors import UsageError
from .plain import parse_json


@dataclass(frozen=True)
class Record:
    """All that is needed to make a picture again; travels in the PNG as `unclip`."""

    prompt: str
    seed: int
    settings: dict[str, Any]
    model: str = ""
    model_hash: str = ""
    version: str = ""
    n: int = 1  # a grid holds several, from `seed` on
    ability: str = "generate"
    inputs: dict[str, str] = field(default_factory=dict)  # what it began from -> digest or words

    def made_by(self, ability: str, **inputs: str) -> Self:
        """This record as that of another ability, with what it began from."""
        return replace(self, ability=ability, inputs=inputs)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def of(cls, picture: Image.Image) -> Self:
        """The record that a picture carries. Raises UsageError where it carries none."""
        text = picture.info.get("unclip")
        if not isinstance(text, str):
            raise UsageError("the picture carries no record of how it was made by unclip")
        try:
            record = cls(**parse_json(text))
        except (TypeError, ValueError) as error:
            raise UsageError(f"the picture's record is damaged: {error}") from None
        kinds = {"prompt": str, "seed": int, "n": int, "settings": dict, "ability": str}
        for name, kind in kinds.items():
            if not isinstance(getattr(record, name), kind):
                raise UsageError(f"the picture's record is damaged: '{name}' is no {kind.__name__}")
        return record


def given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not None."""
    return {key: value for key, value in settings.items() if value is not None}


def check_request(prompt: str, n: int) -> None:
    """Raise UsageError where there is nothing to draw."""
    if not prompt.strip():
        raise UsageError("the prompt is empty; say what to draw, such as 'a red car'")
    if any("\ud800" <= letter <= "\udfff" for letter in prompt):  # bytes that were no UTF-8
        raise UsageError("the prompt is not valid text: it holds bytes that are not UTF-8")
    check_count(n)


def check_count(n: int) -> None:
    """Raise UsageError where no picture is asked for."""
    if n < 1:
        raise UsageError(f"n must be at least 1, got {n}")
