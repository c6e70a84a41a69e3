"""How a picture was made: the record that its file carries."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from .errors import UsageError
from .media import Source, read_notes
from .plain import parse_json


@dataclass(frozen=True)
class Record:
    """All that is needed to make a picture again; travels in the file as `unclip`."""

    prompt: str
    seed: int
    settings: dict[str, Any]
    model: str = ""
    model_hash: str = ""
    version: str = ""
    threads: int = 0  # of the CPU that drew it; 0 where none is known
    n: int = 1  # a grid holds several, from `seed` on
    ability: str = "generate"
    inputs: dict[str, str] = field(default_factory=dict)  # what it began from -> digest or words
    unknown: tuple[str, ...] = field(default=(), compare=False)  # read past: a later version's

    def to_json(self) -> str:
        """One line of JSON."""
        values = asdict(self)
        del values["unknown"]
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def of(cls, picture: Source) -> Self:
        """The record that a picture or its file carries. Raises UsageError where it has none."""
        return cls.parse(read_notes(picture).get("unclip"))

    @classmethod
    def parse(cls, text: object, instead: str = "") -> Self:
        """Read what `to_json` wrote, now or in another version.

        Args:
            instead: the end of the error where there is no text.

        Raises:
            UsageError: there is none, or it is damaged.
        """
        if not isinstance(text, str):
            why = f"only those that unclip made have one{instead}"
            raise UsageError(f"the picture has no record: {why}")
        known = {one.name for one in fields(cls)} - {"unknown"}
        try:
            values = dict(parse_json(text))
            unknown = tuple(sorted(values.keys() - known))
            record = cls(**{k: values[k] for k in values.keys() & known}, unknown=unknown)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"the picture's record is damaged: {error}") from None
        for name, kind in _KINDS.items():
            value = getattr(record, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise UsageError(
                    f"the picture's record is damaged: '{name}' must be {kind.__name__}"
                )
        return record


_KINDS = {
    **dict.fromkeys(("prompt", "model", "model_hash", "version", "ability"), str),
    **dict.fromkeys(("seed", "n", "threads"), int),
    **dict.fromkeys(("settings", "inputs"), dict),
}
