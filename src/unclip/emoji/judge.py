"""What a judge says it sees in a picture, and what every judge can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]  # (B, H, W, 3), sRGB
Box = tuple[float, float, float, float]  # x, y, width, height in 0..1

UNKNOWN = ""
"""The noun of something that is there and is none of the vocabulary."""


@dataclass(frozen=True)
class Detection:
    """One object: its noun (`UNKNOWN` for none of them), its tint, where it is, how sure.

    `tint` is a key of `COLOURS`, or None for the drawing's own colours.
    """

    noun: str
    tint: str | None
    box: Box
    confidence: float

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the box."""
        x, y, width, height = self.box
        return x + width / 2, y + height / 2


@dataclass(frozen=True)
class Detections:
    """All that a judge sees: the objects and the colour word of the background."""

    things: tuple[Detection, ...]
    background: str

    def dump(self) -> dict[str, Any]:
        """Plain data that `parse` reads back."""
        rows = [
            [thing.noun, thing.tint, [round(v, 4) for v in thing.box], round(thing.confidence, 4)]
            for thing in self.things
        ]
        return {"things": rows, "ground": self.background}

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """From what `dump` gave."""
        things = [
            Detection(noun, tint, (box[0], box[1], box[2], box[3]), sure)
            for noun, tint, box, sure in values["things"]
        ]
        return cls(tuple(things), values["ground"])


class Judge(Protocol):
    """Tells what pictures show. Two judges that agree share neither method nor training.

    `name` is one word for tables, `hash` pins weights or templates, `nouns` is what it tells apart.
    """

    name: str
    hash: str
    nouns: tuple[str, ...]

    def look(self, pictures: Pictures) -> list[Detections]:
        """What each of the pictures (B, H, W, 3) shows."""
