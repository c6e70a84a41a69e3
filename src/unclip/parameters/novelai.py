"""NovelAI's text `Comment`: JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..plain import parse_json
from ..weighting import weighted
from . import number, whole
from ._emphasis import pieces

_BRACKETS = {"{}": 1.05, "[]": 1 / 1.05}
"""What each pair multiplies the weight by."""

_BLOCK = re.compile(r"(?<![\w.])(-?(?:\d++(?:\.\d*+)?|\.\d++))::(.*?)(?:::|\Z)", re.DOTALL)
"""A weight and what it is of, up to the next pair of colons: `1.5::rain::` (from V4 on)."""


def read(text: str) -> dict[str, Any] | None:
    """The fields of `Parameters`; None where it is another program's comment.

    Raises:
        ValueError: a value is of the wrong kind.
    """
    try:
        said = parse_json(text)
    except ValueError:
        return None
    if not isinstance(said, dict) or not {"uc", "sampler"} <= said.keys():
        return None
    size = (said["height"], said["width"]) if {"height", "width"} <= said.keys() else None
    return {
        "prompt": _words(said, "prompt"),
        "negative_prompt": _words(said, "uc"),
        "sampler": str(said["sampler"]).removeprefix("k_").removesuffix("_v3"),
        "spacing": str(said.get("noise_schedule") or ""),
        "steps": whole("steps", said["steps"]) if "steps" in said else None,
        "seed": whole("seed", said["seed"]) if "seed" in said else None,
        "guidance_scale": number("scale", said["scale"]) if "scale" in said else None,
        "size": size and (whole("height", size[0]), whole("width", size[1])),
        "program": "NovelAI",
    }


def _words(said: Mapping[str, Any], name: str) -> str:
    """A prompt in this package's syntax."""
    text = str(said.get(name, ""))
    first, *rest = _BLOCK.split(text) if "v4_prompt" in said else [text]
    parts = [(first, 1.0)]
    for weight, within, after in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        parts += [(within, float(weight)), (after, 1.0)]
    return weighted(
        (letters, own * weight)
        for part, weight in parts
        for letters, own in pieces(part, _BRACKETS)
    )


READERS = {"Comment": read}
