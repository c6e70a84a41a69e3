"""Requests from what other programs say of a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..added import Added
from ..aliases import resolved
from ..errors import UsageError
from ..parameters import Parameters
from ..parameters.a1111 import lora_hashes
from ..weighting import NUMBER, without_extras
from .generate import GenerateRequest

if TYPE_CHECKING:
    from ..pipeline import Chain

SHORTEST = 8
"""Digits of a hash that name a file."""

_KNOWN_HERE = ("Version", "Hashes", "Lora hashes", "TI hashes", "RNG")
"""Settings of other programs that change nothing of what is asked for."""


def request_of(parameters: Parameters, pipe: Chain, seed: int) -> tuple[GenerateRequest, list[str]]:
    """The request for a picture as another program made it, as far as a model can draw it.

    Args:
        parameters: what that program says.
        pipe: what is going to draw it.
        seed: used where they say none.

    Returns:
        The request, and one line for each thing that is not taken over, with the reason.

    Raises:
        UsageError: there is no prompt, or a value out of range.
    """
    left: list[str] = []
    hashes = lora_hashes(parameters.others)
    texts = [
        _words(text, hashes, pipe, left) for text in (parameters.prompt, parameters.negative_prompt)
    ]
    settings = _settings(parameters, pipe, left)
    given = parameters.seed is not None and parameters.seed >= 0
    if not given:
        asks = "it says no seed" if parameters.seed in (None, -1) else f"seed {parameters.seed}"
        left.append(f"{asks}: {seed} is used")
    size = _size(parameters.size, pipe, left)
    if parameters.model not in ("", pipe.name):
        left.append(f"model {parameters.model}: this is '{pipe.name}'")
    left += [f"{n}: {said}" for n, said in parameters.others.items() if n not in _KNOWN_HERE]
    request = GenerateRequest.of(
        prompt=texts[0],
        negative_prompt=texts[1],
        seed=parameters.seed if given else seed,
        size=size,
        settings=settings,
    )
    return request, left


def _size(size: tuple[int, int] | None, pipe: Chain, left: list[str]) -> str | None:
    """As a request says it, where it is not the model's own and its network draws it."""
    from ..stages.sizes import enlarging, resized

    if size is None or size == pipe.model.size:
        return None
    asked = f"{size[1]}x{size[0]}"
    try:
        GenerateRequest(prompt="x", size=asked)
        if enlarging(pipe.model, size, between=True) is pipe.model:
            resized(pipe.model, size)
    except UsageError as error:
        left.append(str(error))
        return None
    return asked


def _words(text: str, hashes: Mapping[str, str], pipe: Chain, left: list[str]) -> str:
    """A prompt without the networks that are to be loaded for it."""
    words, extras = without_extras(text)
    for kind, _, asked in (extra[1:-1].partition(":") for extra in extras):
        if kind != "lora":
            left.append(f"{kind} {asked}: not read")
        elif said := _lora(asked, hashes, pipe.model.added):
            left.append(f"lora {asked}{said}")
    return words.strip() if extras else text


def _lora(asked: str, hashes: Mapping[str, str], added: Sequence[Added]) -> str:
    """What is to be done about a LoRA of name and scale; empty where the model was given it."""
    name, *rest = asked.split(":")
    scale = float(rest[0]) if rest and re.fullmatch(NUMBER, rest[0]) else 1.0
    known = hashes.get(name, "")
    called = f" ({known})" if known else ""
    for one in added:
        same = _alike(known, one.others_hash) if known else one.name == name
        if one.kind == "lora" and same:
            return "" if one.scale == scale else f"{called}: --lora {one.name} is {one.scale:g}"
    return f"{called}: give --lora FILE:{scale:g}"


def _alike(one: str, other: str) -> bool:
    """Whether two hashes, of which one may be shortened, are of one file."""
    length = min(len(one), len(other))
    return length >= SHORTEST and one[:length].lower() == other[:length]


def _settings(parameters: Parameters, pipe: Chain, left: list[str]) -> dict[str, Any]:
    """Of the sampling, those that the model's decoder takes."""
    named = {"sampler": parameters.sampler, "spacing": parameters.spacing}
    asked = {
        "steps": parameters.steps,
        **resolved({name: value for name, value in named.items() if value}),
        "guidance_scale": parameters.guidance_scale,
    }
    taken: dict[str, Any] = {}
    for name, value in asked.items():
        if value is None:
            continue
        try:
            _check(pipe, {name: value})
        except UsageError as error:
            left.append(f"{name} {value}: {error}")
        else:
            taken[name] = value
    return taken


def _check(pipe: Chain, settings: dict[str, Any]) -> None:
    """Raise UsageError where the model's stages cannot follow settings."""
    for name, sampling in pipe.model.by_stage(settings).items():
        pipe.stages[name].check(sampling)
