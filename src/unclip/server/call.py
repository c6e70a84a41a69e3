"""A request to the Images API, parsed and checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, Literal

from ..abilities import ABILITIES
from ..abilities._several import shared
from ..request import Request
from .contracts import STRICT, Contract, ResponseFormat
from .job import Finish, Spec

Kind = Literal["generation", "edit", "variation"]

_AS_DRAWN = Finish()


@dataclass(frozen=True)
class Call:
    """What a client asks for.

    Args:
        kind: which of the three routes.
        ability: the command of the ability that draws it.
        fields: of the ability's request, without pictures.
        files: field -> file of a picture that was checked.
        model: a served one.
        asked_model: as the client named it.
        contract: what that name promises.
        response_format: of the reply.
        finish: how pictures are delivered.
        stream: as events.
        partial_images: previews of a stream.
        random_seed: the client gave none.
    """

    kind: Kind
    ability: str
    fields: dict[str, Any]
    files: dict[str, bytes] = field(default_factory=dict)
    model: str = ""
    asked_model: str = ""
    contract: Contract = STRICT
    response_format: ResponseFormat = "url"
    finish: Finish = _AS_DRAWN
    stream: bool = False
    partial_images: int = 0
    random_seed: bool = False

    @property
    def n(self) -> int:
        """How many pictures."""
        return int(self.fields["n"])


def request_of(ability: str, fields: Mapping[str, Any], files: Mapping[str, Any]) -> Request[Any]:
    """The ability's request. Raises UsageError, with the field at fault."""
    return request_class(ability).of(**fields, **files)


@lru_cache(maxsize=64)  # a lookup reads folders
def request_class(ability: str) -> type[Request[Any]]:
    """Of the ability with this command."""
    return ABILITIES[ability].request


def spec_of(call: Call, digests: Mapping[str, str]) -> Spec:
    """The job that draws what a call asks for.

    Args:
        digests: name of each of the call's files -> digest of the stored one.
    """
    together = shared(request_of(call.ability, call.fields, call.files))
    return Spec(
        ability=call.ability,
        fields=dict(call.fields),
        inputs=dict(digests),
        model=call.model,
        pictures=call.n,
        batch=f"{call.model} {together}" if together else "",
        finish=call.finish,
    )


def fingerprint(call: Call) -> str:
    """Equal for equal calls, such as a request and its retry; a seed that nobody gave aside."""
    fields = dict(call.fields)
    if call.random_seed:
        del fields["seed"]
    values = {
        "fields": fields,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in call.files.items()},
        "finish": asdict(call.finish),
        **{name: getattr(call, name) for name in ("kind", "ability", "model", "asked_model")},
        **{name: getattr(call, name) for name in ("response_format", "stream", "partial_images")},
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
