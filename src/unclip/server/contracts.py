"""What a model's name promises: OpenAI's models differ in sizes, defaults and limits.

`dall-e-2`, a served model's own name and no name at all have the contract of DALL·E 2. The names of
OpenAI's later models are served where the server was told so (`--alias`), with their own defaults;
they take DALL·E 2's smaller sizes too, which clients send that know no others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from ..media import Limits
from .errors import not_found_model, quoted
from .fields import Fields

ResponseFormat = Literal["url", "b64_json"]
Sizes = dict[str, tuple[int, int] | None]
"""What a client may ask for -> (width, height); None: as it is drawn."""

MOST_PICTURES = 10

MOST_PIXELS = 3840 * 2160
"""Of a size that is not one of a list."""

DALLE2 = "dall-e-2"


def _sizes(*sides: tuple[int, int]) -> Sizes:
    return {f"{width}x{height}": (width, height) for width, height in sides}


_IMAGE, _MASK = Limits(square=True), Limits()
_SQUARES = ((256, 256), (512, 512), (1024, 1024))


@dataclass(frozen=True)
class Contract:
    """What clients of a model send and expect.

    Args:
        longest_prompt: in characters.
        sizes: those it takes.
        size: its default.
        any_size: it takes any width and height that are not too long or many, in steps of 16.
        response_format: its default.
        image, mask: what may be uploaded.
        whole: without a mask the whole picture is edited; else it has to be transparent somewhere.
        chooses_format: `output_format` and `output_compression` are obeyed.
        json_edits: edits may be JSON with data: URLs.
        describes: replies say size, format and usage.
        revises: replies have a `revised_prompt`.
    """

    longest_prompt: int = 1000
    sizes: Mapping[str, tuple[int, int] | None] = field(default_factory=lambda: _sizes(*_SQUARES))
    size: str = "1024x1024"
    any_size: bool = False
    response_format: ResponseFormat = "url"
    image: Limits = _IMAGE
    mask: Limits = _MASK
    whole: bool = False
    chooses_format: bool = False
    json_edits: bool = False
    describes: bool = False
    revises: bool = False

    def size_of(self, fields: Fields) -> tuple[int, int] | None:
        """(width, height) of a request's `size`; None: as drawn. Raises ApiError."""
        asked = fields.get("size")
        if self.any_size and isinstance(asked, str) and (size := _any_size(asked)):
            return size
        return self.sizes[fields.choice("size", self.sizes, self.size)]


def _any_size(text: str) -> tuple[int, int] | None:
    """As `gpt-image-2` takes them; None where it does not."""
    found = re.fullmatch("([0-9]{2,4})x([0-9]{2,4})", text)
    if found is None:
        return None
    width, height = int(found[1]), int(found[2])
    fits = width % 16 == height % 16 == 0 and 1 / 3 <= width / max(1, height) <= 3
    return (width, height) if fits and 0 < width * height <= MOST_PIXELS else None


STRICT = Contract()

DALLE3 = Contract(
    longest_prompt=4000,
    sizes=_sizes(*_SQUARES, (1792, 1024), (1024, 1792)),
    revises=True,
)

GPT_IMAGE = Contract(
    longest_prompt=32_000,
    sizes={**_sizes(*_SQUARES, (1536, 1024), (1024, 1536)), "auto": None},
    size="auto",
    response_format="b64_json",
    image=Limits(("PNG", "JPEG", "WEBP"), megabytes=50),
    whole=True,
    chooses_format=True,
    json_edits=True,
    describes=True,
)

GPT_IMAGE_2 = replace(GPT_IMAGE, any_size=True)

_BY_BEGINNING = {
    "dall-e-3": DALLE3,
    "gpt-image-1": GPT_IMAGE,
    "gpt-image": GPT_IMAGE_2,
    "chatgpt-image": GPT_IMAGE,
}
"""The first that an alias begins with says what it promises."""


@dataclass(frozen=True)
class Served:
    """What a server has.

    Args:
        models: names of models; the first is used where none, or `dall-e-2`, is asked for.
        aliases: further name -> model.
        native: model -> (width, height) that it draws.
    """

    models: tuple[str, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    native: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All that a client may ask for."""
        return list(dict.fromkeys((*self.models, DALLE2, *self.aliases)))


@dataclass(frozen=True)
class Asked:
    """A model as a client named it: the served one, and what its name promises."""

    name: str
    model: str
    contract: Contract


def asked_for(name: str | None, served: Served) -> Asked:
    """The model of a name. Raises ApiError 404 where none has it."""
    if not name:
        return Asked(served.models[0], served.models[0], STRICT)
    if name in served.aliases:
        return Asked(name, served.aliases[name], _contract(name))
    if name in served.models:
        return Asked(name, name, STRICT)
    if name == DALLE2:
        return Asked(name, served.models[0], STRICT)
    raise not_found_model(name, _advice(name, served))


def _contract(alias: str) -> Contract:
    found = (one for start, one in _BY_BEGINNING.items() if alias.startswith(start))
    return next(found, STRICT)


def _advice(name: str, served: Served) -> str:
    known = f" Served here: {', '.join(served.names)}."
    if any(name.startswith(start) for start in _BY_BEGINNING):
        known += (
            f" `unclip serve --alias {quoted(name)[1:-1]}` serves the first one under that name."
        )
    return known
