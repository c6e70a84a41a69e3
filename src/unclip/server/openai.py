"""OpenAI's Images API: from a request's body to a `Call`, and from pictures to a reply.

Pure translation: nothing is read, written or fetched here, and nothing knows HTTP. Every fault of a
request is an `ApiError` of status 400 or 404.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from ..errors import UnclipError
from ..weighting import escaped
from .call import Call, Kind, fingerprint, request_class, request_of, spec_of
from .contracts import MOST_PICTURES, Asked, Contract, ResponseFormat, Served, asked_for
from .errors import invalid, of_usage
from .fields import Fields, parse_body
from .form import Files, Part, files_of, is_open, parts_of, picture_of, where_to_paint
from .job import Finish, Format
from .replies import completed_event, model_object, models_list, partial_event, reply

__all__ = [
    "MOST_SEED",
    "Call",
    "Contract",
    "Part",
    "Served",
    "completed_event",
    "edit",
    "fingerprint",
    "generation",
    "model_object",
    "models_list",
    "parse_body",
    "partial_event",
    "reply",
    "spec_of",
    "variation",
]

MOST_SEED = 2**52
"""Largest seed: picture i has seed + i, and JavaScript reads integers up to 2**53 exactly."""

MOST_STEPS = 10_000
"""A model or the limit of steps allows less."""

MOST_PARTIAL = 3

_TEXTS = ("negative_prompt", "prior")
_SETTINGS = ("steps", "guidance_scale")
_RANDOM = random.SystemRandom()


def generation(
    body: Mapping[str, Any],
    served: Served,
    path_model: str | None = None,
    rng: random.Random = _RANDOM,
) -> Call:
    """What /images/generations is asked for.

    Args:
        body: JSON, as `parse_body` gives it.
        served: the server's models.
        path_model: a deployment's name in Azure's paths, in place of the body's.
        rng: draws a seed where none is given.

    Raises:
        ApiError: 400 or 404.
    """
    fields = Fields(body)
    asked = _asked(fields, served, path_model)
    return _call("generation", "generate", asked, fields, {}, rng)


def edit(
    body: Sequence[Part] | Mapping[str, Any],
    served: Served,
    path_model: str | None = None,
    rng: random.Random = _RANDOM,
) -> Call:
    """What /images/edits is asked for: a form, or JSON with data: URLs for `gpt-image-*`.

    Without a mask and transparency a `gpt-image-*` redraws the whole picture. Arguments and errors
    as of `generation`.
    """
    is_json = isinstance(body, Mapping)
    fields, files = (Fields(body), {}) if isinstance(body, Mapping) else parts_of(body)
    asked = _asked(fields, served, path_model)
    limits = {"image": asked.contract.image, "mask": asked.contract.mask}
    if is_json and not asked.contract.json_edits:
        raise invalid(None, f"Edits of '{asked.name}' must be multipart/form-data, not JSON.")
    call = _call("edit", "edit", asked, fields, {"image": b""}, rng)
    if isinstance(body, Mapping):
        files = files_of(body, limits)
    return _with_pictures(call, files)


def _with_pictures(call: Call, files: Files) -> Call:
    """An edit with its checked image, and a mask where there is one."""
    contract = call.contract
    image = picture_of(files, "image", contract.image)
    mask = where_to_paint(image, files, contract.mask, contract.whole)
    pictures = {"image": image.data} | ({} if mask is None else {"mask": mask})
    ability = "edit" if mask is not None or is_open(image) else "img2img"
    return replace(call, ability=ability, files=pictures)


def variation(
    parts: Sequence[Part],
    served: Served,
    path_model: str | None = None,
    rng: random.Random = _RANDOM,
) -> Call:
    """What /images/variations is asked for. Arguments and errors as of `generation`."""
    fields, files = parts_of(parts)
    asked = _asked(fields, served, path_model)
    call = _call("variation", "vary", asked, fields, {"image": b""}, rng)
    image = picture_of(files, "image", asked.contract.image)
    return replace(call, files={"image": image.data})


def _asked(fields: Fields, served: Served, path_model: str | None) -> Asked:
    named = fields.text("model")
    return asked_for(path_model or named, served)


def _call(
    kind: Kind,
    ability: str,
    asked: Asked,
    fields: Fields,
    pictures: Mapping[str, bytes],
    rng: random.Random,
) -> Call:
    """All but the pictures. Raises ApiError."""
    contract = asked.contract
    seed = fields.integer("seed", -1, MOST_SEED)
    random_seed = seed is None or seed == -1
    values = _values(ability, fields, contract)
    values["seed"] = rng.randrange(2**31) if random_seed else seed
    finish = _finish(fields, contract)
    known = ("url", "b64_json")
    response_format = fields.choice("response_format", known, contract.response_format)
    stream, partial = fields.flag("stream"), fields.integer("partial_images", 0, MOST_PARTIAL)
    try:
        request_of(ability, values, pictures)
    except UnclipError as error:
        raise of_usage(error) from None
    return Call(
        kind=kind,
        ability=ability,
        fields=values,
        model=asked.model,
        asked_model=asked.name,
        contract=contract,
        response_format=cast(ResponseFormat, response_format),
        finish=finish,
        stream=stream,
        partial_images=(partial or 0) if stream else 0,
        random_seed=random_seed,
    )


def _values(ability: str, fields: Fields, contract: Contract) -> dict[str, Any]:
    """Of an ability's request, but for its seed.

    Texts are taken by the letter, as OpenAI's models take them: `(a cat)` weighs nothing.
    """
    known = request_class(ability).model_fields
    values: dict[str, Any] = {}
    if "prompt" in known:
        values["prompt"] = escaped(fields.prompt(contract.longest_prompt))
    values["n"] = fields.integer("n", 1, MOST_PICTURES) or 1
    texts = {name: fields.text(name) for name in _TEXTS if name in known}
    values |= {name: text for name, text in texts.items() if text is not None}
    if "negative_prompt" in values:
        values["negative_prompt"] = escaped(values["negative_prompt"])
    steps, scale = fields.integer("steps", 1, MOST_STEPS), fields.number("guidance_scale")
    settings = dict(zip(_SETTINGS, (steps, scale), strict=True))
    values["settings"] = {name: one for name, one in settings.items() if one is not None}
    return values


def _finish(fields: Fields, contract: Contract) -> Finish:
    size = contract.size_of(fields)
    if not contract.chooses_format:
        return Finish(size)
    format = cast(Format, fields.choice("output_format", ("png", "jpeg", "webp"), "png"))
    quality = fields.integer("output_compression", 0, 100)
    return Finish(size, format, Finish.quality if quality is None else max(1, quality))
