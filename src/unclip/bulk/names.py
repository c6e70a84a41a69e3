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
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, about, nearest

if TYPE_CHECKING:
    from PIL.Image import Image

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


def numbered(path: Path, number: int) -> Path:
    """fox.png, fox-2.png, fox-3.png, ..."""
    return path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")


def is_free(path: Path, picture: Image) -> bool:
    """Whether nothing is there, or this very picture, by its record."""
    from ..media.writing import has_record_of

    return not os.path.lexists(path) or has_record_of(path, picture)


def save_new(first: Path, number: int, picture: Image) -> Path:
    """Write where no other picture is: another run may have taken the name by now."""
    from ..media.writing import has_record_of, save

    while True:
        path = numbered(first, number)
        try:
            save(picture, path, new=not has_record_of(path, picture))
        except FileExistsError:
            number += 1
        else:
            return path


def slug(prompt: str) -> str:
    """A prompt as part of a file's name: 'A red car!' -> 'a-red-car'."""
    words = re.sub(r"[\W_]+", "-", prompt.lower()).strip("-")
    return shortened(words[:48], 96).strip("-") or "picture"


def shortened(name: str, most: int) -> str:
    """A name of at most so many bytes, which file systems count: 255 with all that follows."""
    return os.fsencode(name)[:most].decode(errors="ignore")
