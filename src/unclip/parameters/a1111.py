"""The text `parameters` of Stable Diffusion web UI (AUTOMATIC1111's `infotext_utils.py`).

    a fox, oil painting
    Negative prompt: a car
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x768, Model hash: 6ce0161689

A value with a comma, a colon or a line break is a JSON string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from ..config import shown
from ..plain import parse_json
from . import Parameters, number, whole

_NEGATIVE = "Negative prompt:"
_BETWEEN = re.compile(r"[\s,]*")
_KEY = re.compile(r"(\w[\w \-/.]{0,60}):[ \t]*")
_FIRST = re.compile(r"\s*Steps:\s*\S")
_SIZE = re.compile(r"(\d{1,9})\s*x\s*(\d{1,9})")
_SETTINGS = 2**16
"""Longest line of settings in characters."""
_LEAST = 3
"""So many settings make the last line one of settings."""
_JSON = json.JSONDecoder()


def write(parameters: Parameters) -> str:
    """The text; what is not known is left out."""
    height, width = parameters.size or (0, 0)
    known = {
        "Steps": parameters.steps,
        "Sampler": parameters.sampler or None,
        "Schedule type": parameters.spacing or None,
        "CFG scale": parameters.guidance_scale,
        "Seed": parameters.seed,
        "Size": f"{width}x{height}" if parameters.size else None,
        "Model hash": parameters.model_hash or None,
        "Model": parameters.model or None,
        **parameters.others,
    }
    pairs = [f"{name}: {_quoted(value)}" for name, value in known.items() if value is not None]
    negative = parameters.negative_prompt
    lines = [parameters.prompt, negative and f"{_NEGATIVE} {negative}", ", ".join(pairs)]
    return "\n".join(filter(None, lines))


def _quoted(value: object) -> str:
    """As JSON where a reader could take it for more than one value."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    text = str(value)
    if re.search(r'[,:\n\r]|^["{\[]', text) or text != text.strip() or not text:
        return json.dumps(text, ensure_ascii=False)
    return text


def read(text: str) -> dict[str, Any]:
    """The fields of `Parameters`. Raises ValueError where they are damaged."""
    prompt, negative, line = _parts(text)
    said = dict(_pairs(line))
    if not said:
        raise ValueError("it has no line of settings, such as 'Steps: 20, Sampler: Euler, ...'")
    result: dict[str, Any] = {"prompt": prompt, "negative_prompt": negative, "program": "A1111"}
    for key, (field, convert) in _FIELDS.items():
        if key in said:
            result[field] = convert(key, said.pop(key))
    return {**result, "others": said}


def lora_hashes(others: Mapping[str, str]) -> dict[str, str]:
    """The hashes of LoRA files among other settings, by the names that they have in prompts."""
    found: dict[str, str] = {}
    with suppress(ValueError):
        every = parse_json(others.get("Hashes", "{}"))
        pairs = every.items() if isinstance(every, dict) else ()
        found = {name[5:]: str(value) for name, value in pairs if name.startswith("lora:")}
    for one in others.get("Lora hashes", "").split(","):
        name, colon, value = one.partition(":")
        found |= {name.strip(): value.strip()} if colon else {}
    return found


def _parts(text: str) -> tuple[str, str, str]:
    """Prompt, negative prompt, and the line of settings: the last that begins with steps."""
    lines = [line.strip() for line in text.strip().split("\n")]
    firsts = [index for index, line in enumerate(lines) if _FIRST.match(line)]
    last = firsts[-1] if firsts else len(lines) - 1
    settings = lines[last]
    if len(settings) > _SETTINGS:
        raise ValueError(f"its line of settings is longer than {_SETTINGS:,} letters")
    if not firsts and len(list(_pairs(settings))) < _LEAST:
        last, settings = len(lines), ""
    said = lines[:last]
    at = next((n for n, line in enumerate(said) if line.startswith(_NEGATIVE)), len(said))
    negative = "\n".join(said[at:]).removeprefix(_NEGATIVE)
    return "\n".join(said[:at]).strip(), negative.strip(), settings


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """The settings of a line. What has no name belongs to the value before it, which is left."""
    at = 0
    while (at := _BETWEEN.match(line, at).end()) < len(line):  # type: ignore[union-attr]
        key = _KEY.match(line, at)
        if key is None:
            at = _comma(line, at)
            continue
        value, at = _value(line, key.end())
        yield key[1].strip(), value


def _value(line: str, at: int) -> tuple[str, int]:
    """The value that begins here, and where it ends. JSON as text, but for a string."""
    if line[at : at + 1] in ('"', "{", "["):
        try:
            value, end = _JSON.raw_decode(line, at)
        except (ValueError, RecursionError):
            pass
        else:
            return (value if isinstance(value, str) else line[at:end]), end
    end = _comma(line, at)
    return line[at:end].strip(), end


def _comma(line: str, at: int) -> int:
    """Where the next comma is, or the end."""
    found = line.find(",", at)
    return len(line) if found < 0 else found


def _size(name: str, value: str) -> tuple[int, int]:
    """'512x768', width first -> (768, 512). Raises ValueError."""
    found = _SIZE.fullmatch(value)
    if found is None:
        raise ValueError(f"{name} must be WIDTHxHEIGHT, got {shown(value)}")
    return int(found[2]), int(found[1])


def _text(_: str, value: str) -> str:
    return value


_FIELDS: dict[str, tuple[str, Any]] = {
    "Steps": ("steps", whole),
    "Sampler": ("sampler", _text),
    "Schedule type": ("spacing", _text),
    "CFG scale": ("guidance_scale", number),
    "Seed": ("seed", whole),
    "Size": ("size", _size),
    "Model hash": ("model_hash", _text),
    "Model": ("model", _text),
}

READERS = {"parameters": read}
