"""What the OpenAPI document says of bodies that FastAPI does not read itself.

It would answer 422 and `detail`, which OpenAI's clients do not understand; so the routes read
bodies on their own, and say here what is in them.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def object_of(required: list[str], **fields: Schema) -> Schema:
    """An object with these fields."""
    kind: Schema = {"type": "object", "properties": fields}
    return {**kind, "required": required} if required else kind


def text(help: str = "", **more: Any) -> Schema:
    """A text."""
    return {"type": "string", **({"description": help} if help else {}), **more}


def maybe(schema: Schema) -> Schema:
    """That, or null, which stands for the default."""
    return {"anyOf": [schema, {"type": "null"}]}


def whole(low: int, high: int, help: str = "", **more: Any) -> Schema:
    """A whole number."""
    described = {"description": help} if help else {}
    return {"type": "integer", "minimum": low, "maximum": high, **described, **more}


def list_of(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


ERROR = object_of(
    ["error"],
    error=object_of(
        ["message", "type", "param", "code"],
        message=text(),
        type=text(),
        param=maybe(text()),
        code=maybe(text()),
    ),
)
"""Every error, of every route."""

_COMMON = {
    "model": maybe(text("A served model, or an alias; the first one by default.")),
    "n": maybe(whole(1, 10, "How many pictures.", default=1)),
    "size": maybe(text("Such as 256x256, 512x512 or 1024x1024.")),
    "response_format": maybe(text(enum=["url", "b64_json"])),
    "user": maybe(text("Ignored.")),
    "seed": maybe(whole(0, 2**31 - 1, "Draws the same picture again; comes back with it.")),
    "steps": maybe(whole(1, 10_000, "Sampling steps of the decoder.")),
    "guidance_scale": maybe({"type": "number", "description": "Guidance of the decoder."}),
    "negative_prompt": maybe(text("What guidance leads away from.")),
    "prior": maybe(text("Which of the model's priors to use; 'none': no prior.")),
}
_PROMPT = text("What to draw, at most 1000 characters.", minLength=1)
_STREAM = {
    "stream": maybe({"type": "boolean"}),
    "partial_images": maybe(whole(0, 3, "Previews in a stream.")),
}
_FILE = {"type": "string", "format": "binary"}

GENERATION = {"application/json": object_of(["prompt"], prompt=_PROMPT, **_COMMON, **_STREAM)}
EDIT = {
    "multipart/form-data": object_of(
        ["image", "prompt"], image=_FILE, mask=_FILE, prompt=_PROMPT, **_COMMON, **_STREAM
    )
}
VARIATION = {"multipart/form-data": object_of(["image"], image=_FILE, **_COMMON)}

IMAGES = object_of(
    ["created", "data"],
    created={"type": "integer"},
    data=list_of(object_of([], url=text(), b64_json=text(), seed={"type": "integer"})),
)
MODEL = object_of(["id", "object"], id=text(), object=text(enum=["model"]))
MODELS = object_of(["object", "data"], object=text(enum=["list"]), data=list_of(MODEL))

SIZE = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}
PICTURE = object_of(
    ["id", "seed", "width", "height", "url"],
    id=text(),
    seed={"type": "integer"},
    width={"type": "integer"},
    height={"type": "integer"},
    native=SIZE,
    bytes={"type": "integer"},
    format=text(enum=["png", "jpeg", "webp"]),
    url=text("Needs no key, for an hour."),
)
JOB = object_of(
    ["id", "ability", "state", "pictures"],
    id=text(),
    ability=text(),
    fields={"type": "object"},
    inputs={"type": "object", "additionalProperties": text()},
    model=text(),
    state=text(enum=["queued", "running", "done", "failed", "cancelled"]),
    place=maybe(whole(0, 10**6, "Jobs before it in the queue.")),
    created={"type": "number"},
    started={"type": "number"},
    finished={"type": "number"},
    failure=maybe(object_of([], code=text(), message=text(), field=maybe(text()))),
    pictures=list_of(PICTURE),
)


def answers(schema: Schema, events: bool = False, status: int = 200) -> dict[int | str, Any]:
    """What a route answers: that, or an error.

    Args:
        events: it may be a stream of events.
    """
    content: Schema = {"application/json": {"schema": schema}}
    if events:
        content["text/event-stream"] = {"schema": text()}
    return {status: {"description": "Success.", "content": content}, **ERRORS}


ERRORS: dict[int | str, Any] = {
    code: {"description": name, "content": {"application/json": {"schema": ERROR}}}
    for code, name in (("4XX", "The request is at fault."), ("5XX", "The server is."))
}


def body(content: Schema, required: bool = True) -> dict[str, Any]:
    """What a route reads, by its content type."""
    shown = {kind: {"schema": schema} for kind, schema in content.items()}
    return {"requestBody": {"required": required, "content": shown}}


def json_body(schema: Schema) -> dict[str, Any]:
    """What a route reads as JSON."""
    return body({"application/json": schema})
