"""What is asked of the server: a job, kept until it is done, and what became of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

State = Literal["queued", "running", "done", "failed", "cancelled"]
Format = Literal["png", "jpeg", "webp"]

ENDED: frozenset[State] = frozenset({"done", "failed", "cancelled"})


@dataclass(frozen=True)
class Finish:
    """How a job's pictures are delivered.

    Args:
        size: (width, height), reached by resampling the largest middle part of its proportions;
            None: as they are drawn.
        format: of the file.
        quality: 1 to 100, of JPEG and WebP.
        record: whether the file says how it was made: prompt, seed, settings.
        marked: whether it says, as IPTC has it, that a trained model made it.
    """

    size: tuple[int, int] | None = None
    format: Format = "png"
    quality: int = 95
    record: bool = True
    marked: bool = True


@dataclass(frozen=True)
class Spec:
    """What a job draws: a request as JSON, its input pictures as digests of stored files.

    Args:
        ability: an ability's command, such as "generate" or "vary".
        fields: of its `Request`, without pictures; `settings` among them.
        inputs: field -> digest of a stored file, such as {"image": "3fa1…"}.
        model: a served model's name.
        pictures: how many it draws.
        batch: what jobs that one batch can draw have in common; empty: drawn alone.
        finish: how pictures are delivered.
    """

    ability: str
    fields: dict[str, Any]
    inputs: dict[str, str] = field(default_factory=dict)
    model: str = ""
    pictures: int = 1
    batch: str = ""
    finish: Finish = Finish()

    def to_json(self) -> dict[str, Any]:
        """Plain data that `of` reads back."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """What `to_json` gave, also after a way through JSON."""
        finish = dict(values["finish"])
        if finish["size"] is not None:
            finish["size"] = tuple(finish["size"])
        return cls(**{**values, "finish": Finish(**finish)})


@dataclass(frozen=True)
class Failure:
    """Why a job failed: an error's `code` (`errors.py`), its line, and the field at fault."""

    code: str
    message: str
    field: str | None = None


@dataclass(frozen=True)
class Drawn:
    """A finished picture.

    Args:
        id: 32 hexadecimal digits, a secret: who knows it may fetch the file.
        seed: draws it again.
        width, height: in pixels, as delivered.
        native: (width, height) that the model drew.
        bytes: of the file.
        format: of the file.
        favourite: whether its owner marked it so.
    """

    id: str
    seed: int
    width: int
    height: int
    native: tuple[int, int]
    bytes: int
    format: Format = "png"
    favourite: bool = False


@dataclass(frozen=True)
class Job:
    """A job as it stands.

    Args:
        id: 32 hexadecimal digits.
        owner: whose key asked for it; sees and cancels only their own.
        spec: what it draws.
        state: where it stands.
        created, started, finished: seconds since 1970; 0 where it has not come to that.
        deaths: how many workers died while they drew it.
        failure: why it failed.
        pictures: when it is done.
    """

    id: str
    owner: str
    spec: Spec
    state: State
    created: float
    started: float = 0.0
    finished: float = 0.0
    deaths: int = 0
    failure: Failure | None = None
    pictures: tuple[Drawn, ...] = ()


@dataclass(frozen=True)
class Event:
    """Something that happened to a job, numbered from 1 in each job.

    Args:
        number: the event's, for Last-Event-ID.
        kind: "queued" (`place`), "started", "step" (`stage`, `index`, `total`, `share`),
            "preview" (`picture`, base64 of a PNG, and its `index`), "done", "failed", "cancelled".
        data: plain data for JSON.
    """

    number: int
    kind: str
    data: dict[str, Any] = field(default_factory=dict)
