"""Names of files with fields in braces: `-o "out/{prompt}-{seed}-{model}.png"`.

Every picture is in the folder before the first field, or in a folder in it; links are followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

from ..errors import UsageError, about, nearest
from ._output import Layout, shortened, slug

_SPEC = re.compile(r"0?\d{0,2}")
_UNFIT = re.compile(r"[^\w.+-]+")


@dataclass(frozen=True)
class NameTemplate:
    """A path with fields."""

    text: str

    @classmethod
    @about("output")
    def of(cls, text: str) -> NameTemplate | None:
        """None where a path has no braces. Raises UsageError where they are wrong."""
        if "{" not in text and "}" not in text:
            return None
        if text.endswith("/"):
            text += "{name}-{seed}"
        text = os.path.expanduser(text)
        template = cls(text if Path(text).suffix else f"{text}.png")
        for _, name, spec, conversion in template.parts():
            if name is not None and (not name.isidentifier() or conversion):
                raise UsageError(f"-o {text}: '{{{name}}}' is no field, such as {{prompt}}")
            if spec and not _SPEC.fullmatch(spec):
                raise UsageError(f"-o {text}: '{spec}' is no width, such as 04")
        every = "".join(part + ("x" if name else "") for part, name, *_ in cls(text).parts())
        if ".." in Path(every).relative_to(template.folder).parts:
            raise UsageError(
                f"-o {text}: '..' after a field leads out of {template.folder}, the folder of all "
                "pictures: write it before the first field"
            )
        return template

    def parts(self) -> list[tuple[str, str | None, str | None, str | None]]:
        """(text, field, width, conversion) of each part. Raises UsageError."""
        try:
            return list(Formatter().parse(self.text))
        except ValueError as error:
            hint = "write {{ for a brace"
            raise UsageError(f"-o {self.text}: {str(error).lower()}; {hint}") from None

    @property
    def folder(self) -> Path:
        """Of all pictures: what stands before the first field."""
        return Path(f"{self.parts()[0][0]}x").parent

    @about("output")
    def fill(self, values: Mapping[str, Any]) -> str:
        """The path of a picture. Raises UsageError where a field is not known."""
        made = []
        for text, name, spec, _ in self.parts():
            made.append(text)
            if name is None:
                continue
            if name not in values:
                known = f"{nearest(name, values)}; known: {', '.join(values)}"
                raise UsageError(f"-o {self.text}: there is no field '{name}'{known}")
            value = values[name]
            made.append(f"{value:{spec}}" if spec and isinstance(value, int) else _safe(value))
        return "".join(made)

    def stem(self, values: Mapping[str, Any]) -> str:
        """The same within `folder`, and without suffix."""
        return str(Path(self.fill(values)).relative_to(self.folder).with_suffix(""))


def _safe(value: Any) -> str:
    """As a part of a file's name: without slashes, and not hidden."""
    text = "-".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return shortened(_UNFIT.sub("-", text).strip("-."), 96) or "none"


@dataclass(frozen=True, kw_only=True)
class NamedLayout(Layout):
    """Pictures called as a template says."""

    template: NameTemplate
    command: str
    model: str = ""
    row: int | None = None  # of a file of prompts

    def names(self, count: int) -> list[str]:
        """Raises UsageError where a field is not known."""
        from ..request import stem

        own = self.request.model_dump(exclude={"n", "settings"}, exclude_none=True)
        values = own | self.request.settings | {"model": self.model, "command": self.command}
        values |= {"name": self.name, "prompt": slug(getattr(self.request, "prompt", self.name))}
        if "image" in type(self.request).model_fields:
            values["image"] = stem(getattr(self.request, "image", None))
        if self.row is not None:
            values["row"] = self.row
        each = 0 if self.request.one_seed else 1
        counts = (
            {"index": one + 1, "seed": self.request.seed + each * one} for one in range(count)
        )
        return [self.template.stem(values | one) for one in counts]
