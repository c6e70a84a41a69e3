"""NovelAI's text `Comment`: JSON."""

from __future__ import annotations

from typing import Any

from ..plain import parse_json
from . import number, whole
from ._emphasis import translated

_BRACKETS = {"{}": 1.05, "[]": 1 / 1.05}
"""What each pair multiplies the weight by."""


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
        "prompt": translated(str(said.get("prompt", "")), _BRACKETS),
        "negative_prompt": translated(str(said["uc"]), _BRACKETS),
        "sampler": str(said["sampler"]).removeprefix("k_").removesuffix("_v3"),
        "spacing": str(said.get("noise_schedule") or ""),
        "steps": whole("steps", said["steps"]) if "steps" in said else None,
        "seed": whole("seed", said["seed"]) if "seed" in said else None,
        "guidance_scale": number("scale", said["scale"]) if "scale" in said else None,
        "size": size and (whole("height", size[0]), whole("width", size[1])),
        "program": "NovelAI",
    }


READERS = {"Comment": read}
