"""How a picture was made: the record that its file carries."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from .added import Added
from .errors import UsageError
from .media import Source, read_notes
from .plain import parse_json
from .weighting import escaped, has_syntax

NEGATIVE = "negative_prompt"


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
    added: tuple[Added, ...] = ()  # what its model was loaded with
    unknown: tuple[str, ...] = field(default=(), compare=False)  # read past: a later version's

    def to_json(self) -> str:
        """One line of JSON."""
        values = asdict(self)
        del values["unknown"]
        values["added"] = [one.dump() for one in self.added]
        if not self.added:
            del values["added"]
        if any(map(has_syntax, self._texts())):
            values["syntax"] = True  # records before there was any are of letters alone
        return json.dumps(values, ensure_ascii=False)

    def _texts(self) -> list[str]:
        """What may be a prompt."""
        every = [self.prompt, self.settings.get(NEGATIVE), *self.inputs.values()]
        return [text for text in every if isinstance(text, str)]

    def _as_letters(self) -> Self:
        """The same of texts that have no syntax, written as prompts are now."""
        settings, inputs = dict(self.settings), self.inputs.items()
        if isinstance(settings.get(NEGATIVE), str):
            settings[NEGATIVE] = escaped(settings[NEGATIVE])
        words = {name: escaped(text) if isinstance(text, str) else text for name, text in inputs}
        return replace(self, prompt=escaped(self.prompt), settings=settings, inputs=words)

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
            unknown = tuple(sorted(values.keys() - known - {"syntax"}))
            has_its_syntax = values.pop("syntax", False)
            values["added"] = tuple(Added(**one) for one in values.get("added", ()))
            record = cls(**{k: values[k] for k in values.keys() & known}, unknown=unknown)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"the picture's record is damaged: {error}") from None
        for name, kind in _KINDS.items():
            value = getattr(record, name)
            if not isinstance(value, kind) or isinstance(value, bool):
                raise UsageError(
                    f"the picture's record is damaged: '{name}' must be {kind.__name__}"
                )
        return record if has_its_syntax else record._as_letters()


_KINDS = {
    **dict.fromkeys(("prompt", "model", "model_hash", "version", "ability"), str),
    **dict.fromkeys(("seed", "n", "threads"), int),
    **dict.fromkeys(("settings", "inputs"), dict),
}
