"""What the OpenAPI document says of bodies that FastAPI does not read itself.

It would answer 422 and `detail`, which OpenAI's clients do not understand; so the routes read
bodies on their own, and say here what is in them.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

COMPONENTS: dict[str, Schema] = {}
"""The document's named schemas."""


def named(name: str, schema: Schema) -> Schema:
    """A reference to a schema that the document has under a name."""
    COMPONENTS[name] = schema
    return {"$ref": f"#/components/schemas/{name}"}


def names_of(reference: Schema) -> frozenset[str]:
    """The fields of a named object."""
    return frozenset(COMPONENTS[reference["$ref"].rpartition("/")[2]]["properties"])


def object_of(required: list[str], /, **fields: Schema) -> Schema:
    """An object with these fields."""
    kind: Schema = {"type": "object", "properties": fields}
    return {**kind, "required": required} if required else kind


def whole_object(**fields: Schema) -> Schema:
    """An object that has all of these fields."""
    return object_of(list(fields), **fields)


def map_of(values: Schema, help: str = "") -> Schema:
    """An object of any names."""
    described = {"description": help} if help else {}
    return {"type": "object", "additionalProperties": values, **described}


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


def number(help: str = "", **more: Any) -> Schema:
    """A number."""
    return {"type": "number", **({"description": help} if help else {}), **more}


def list_of(items: Schema, help: str = "") -> Schema:
    """A list."""
    return {"type": "array", "items": items, **({"description": help} if help else {})}


BOOLEAN: Schema = {"type": "boolean"}
INTEGER: Schema = {"type": "integer"}

ERROR = named(
    "Error",
    whole_object(
        error=whole_object(
            message=text("One line, for people."),
            type=text("The kind of error."),
            param=maybe(text("The parameter at fault.")),
            code=maybe(text("What is wrong, for programs.")),
        ),
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
    "guidance_scale": maybe(number("Guidance of the decoder.")),
    "negative_prompt": maybe(text("What guidance leads away from.")),
    "prior": maybe(text("Which of the model's priors to use; 'none': no prior.")),
}
_PROMPT = text("What to draw, at most 1000 characters.", minLength=1)
_STREAM = {
    "stream": maybe({"type": "boolean"}),
    "partial_images": maybe(whole(0, 3, "Previews in a stream.")),
}
FILE: Schema = {"type": "string", "format": "binary"}

GENERATION = {"application/json": object_of(["prompt"], prompt=_PROMPT, **_COMMON, **_STREAM)}
EDIT = {
    "multipart/form-data": object_of(
        ["image", "prompt"], image=FILE, mask=FILE, prompt=_PROMPT, **_COMMON, **_STREAM
    )
}
VARIATION = {"multipart/form-data": object_of(["image"], image=FILE, **_COMMON)}

IMAGES = named(
    "Images",
    object_of(
        ["created", "data"],
        created=INTEGER,
        data=list_of(object_of([], url=text(), b64_json=text(), seed=INTEGER,
                               revised_prompt=text())),
        background=text(),
        output_format=text(),
        quality=text(),
        size=text(),
        usage={"type": "object"},
    ),
)  # fmt: skip
MODEL = named(
    "OpenAIModel",
    whole_object(id=text(), object=text(enum=["model"]), created=INTEGER, owned_by=text()),
)
MODELS = named("OpenAIModels", whole_object(object=text(enum=["list"]), data=list_of(MODEL)))
STATUS = named("Status", whole_object(status=text()))

SIZE = {"type": "array", "items": INTEGER, "minItems": 2, "maxItems": 2}


def answers(schema: Schema, events: bool = False, status: int = 200) -> dict[int | str, Any]:
    """What a route answers: that, or an error.

    Args:
        events: it may be a stream of events.
    """
    content: Schema = {"application/json": {"schema": schema}}
    if events:
        content["text/event-stream"] = {"schema": text()}
    return {status: {"description": "Success.", "content": content}, **ERRORS}


def streams(about: Schema) -> dict[int | str, Any]:
    """What a route answers with events alone; `about` names their data."""
    told = {"schema": text("Server-sent events.", **{"x-events": about})}
    return {200: {"description": "Success.", "content": {"text/event-stream": told}}, **ERRORS}


def files(*kinds: str) -> dict[int | str, Any]:
    """What a route answers with files of these types."""
    content = {kind: {"schema": FILE} for kind in kinds}
    return {200: {"description": "Success.", "content": content}, **ERRORS}


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
