"""Prompts that stand for several: `{red|blue} car`, and `__animals__` for a line of animals.txt.

    {red|blue} car          one of them, as likely as the other
    {2::red|blue} car       red twice as often; an option without a weight has 1
    a {big {red|blue}|} car an option may be empty and may hold choices
    a __animals__           a line of animals.txt in the folder of wildcards; sea/fish is a file too
    \\{a\\} \\| \\__b__        braces, a bar and underscores as they are

A file of wildcards is UTF-8 with one option a line, which may hold choices and weights too. Empty
lines and lines that begin with # are ignored.
"""

from __future__ import annotations

import math
import random
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, product
from pathlib import Path

from ..config import shown
from ..errors import UsageError, nearest, quoted
from ..files import text_of
from ..weighting import LONGEST

MOST = 10_000
"""Most texts of one prompt: all combinations, or the pictures of which each draws its own."""

_UNCOUNTED = 10**12
"""From here on combinations are not counted."""

DEEPEST = 32
"""Choices within choices."""

BYTES = 16 * 2**20
"""Largest file of wildcards."""

_TOKEN = re.compile(r"\\([{}|_])|__(?!/)((?:[\w-]|(?<!/)/){1,255}?)(?<!/)__|([{}|])")
_LINES = re.compile(r"\r\n|\r|\n")
_WEIGHT = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)::")


@dataclass(frozen=True)
class Choice:
    """One of several texts, each with its weight."""

    options: tuple[tuple[float, Parts], ...]

    @cached_property  # files may stand for the same ones again and again
    def count(self) -> int:
        """How many texts it stands for, up to `_UNCOUNTED`."""
        return min(_UNCOUNTED, sum(_count(parts) for _, parts in self.options))

    @cached_property
    def size(self) -> int:
        """Letters and choices of the longest text that it stands for."""
        return 1 + max(_size(parts) for _, parts in self.options)

    def draw(self, rng: random.Random) -> str:
        """One of them."""
        ends = list(accumulate(weight for weight, _ in self.options))
        at = bisect_right(ends, rng.random() * ends[-1])
        return _draw(self.options[min(at, len(ends) - 1)][1], rng)

    def texts(self) -> Iterator[str]:
        """All of them."""
        for _, parts in self.options:
            yield from _texts(parts)


Parts = tuple[str | Choice, ...]
"""What a template is made of."""


def _count(parts: Parts) -> int:
    return min(_UNCOUNTED, math.prod(part.count for part in parts if isinstance(part, Choice)))


def _size(parts: Parts) -> int:
    return sum(len(part) if isinstance(part, str) else part.size for part in parts)


def _draw(parts: Parts, rng: random.Random) -> str:
    return "".join(part if isinstance(part, str) else part.draw(rng) for part in parts)


def _texts(parts: Parts) -> Iterator[str]:
    every = ([part] if isinstance(part, str) else part.texts() for part in parts)
    return ("".join(one) for one in product(*every))


class Wildcards:
    """Reads templates.

    Args:
        folder: of the files that `__name__` stands for; None where there are none.

    Raises:
        UsageError: no such folder.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = None if folder is None else Path(folder).expanduser()
        self._files: dict[str, Choice] = {}
        if self.folder is not None and not self.folder.is_dir():
            raise UsageError(f"there is no folder of wildcards at {quoted(self.folder)}")

    def is_template(self, text: str) -> bool:
        """Whether a text has a choice. Raises UsageError, as `draw`."""
        return any(isinstance(part, Choice) for part in self._parse(text))

    def draw(self, template: str, seed: int | str = 0) -> str:
        """The text that a seed draws, the same on every machine.

        Raises:
            UsageError: a brace without its other, an unknown file, files in a circle, or texts
                longer than a prompt may be.
        """
        return _draw(self._bounded(template), random.Random(f"prompt/{seed}"))

    def combinations(self, template: str, most: int = MOST) -> list[str]:
        """All texts, each once, the last choice changing first; weights do not matter.

        Raises:
            UsageError: as `draw`, or there are more than `most`.
        """
        parts = self._bounded(template)
        if _count(parts) > most:
            raise UsageError(
                f"the prompt {shown(template)} has more than {most:,} combinations: give fewer "
                "options, or have some drawn by seed (without --combinatorial)"
            )
        return list(dict.fromkeys(_texts(parts)))

    def _bounded(self, template: str) -> Parts:
        """As `_parse`. Raises UsageError where a text would be too long."""
        parts = self._parse(template)
        if _size(parts) > LONGEST:
            raise UsageError(
                f"the prompt {shown(template)} stands for texts of more than {LONGEST:,} letters "
                "and choices: give shorter ones"
            )
        return parts

    def _parse(self, template: str, within: tuple[str, ...] = ()) -> Parts:
        return _Parser(self, template, within).parts()

    def file(self, name: str, within: tuple[str, ...], template: str) -> Choice:
        """The options of a file. Raises UsageError."""
        if name in within:
            circle = " → ".join(f"__{one}__" for one in (*within[within.index(name) :], name))
            raise UsageError(f"files of wildcards stand for each other in a circle: {circle}")
        if len(within) > DEEPEST:
            raise UsageError(f"files of wildcards stand for others more than {DEEPEST} deep")
        if name not in self._files:
            self._files[name] = self._read(name, (*within, name), template)
        return self._files[name]

    def _read(self, name: str, within: tuple[str, ...], template: str) -> Choice:
        if self.folder is None:
            raise UsageError(
                f"the prompt {shown(template)} asks for __{name}__: give the folder of {name}.txt "
                rf"with --wildcards DIR, or write \__{name}__ for the text itself"
            )
        path = self.folder / f"{name}.txt"
        try:
            lines = _LINES.split(text_of(path, BYTES))
        except FileNotFoundError:
            known = [str(one.relative_to(self.folder))[:-4] for one in self.folder.rglob("*.txt")]
            hint = nearest(name, known)
            raise UsageError(f"there is no file of wildcards {quoted(path)}{hint}") from None
        except OSError as error:
            raise UsageError(f"cannot read {quoted(path)}: {error.strerror or error}") from None
        except ValueError as error:
            raise UsageError(f"cannot read {quoted(path)}: {error}") from None
        kept = [line.strip() for line in lines]
        options = [_weighed(line) for line in kept if line and not line.startswith("#")]
        if not sum(weight for weight, _ in options):
            raise UsageError(f"{quoted(path)} has no options: give one a line")
        try:
            return Choice(tuple((weight, self._parse(text, within)) for weight, text in options))
        except UsageError as error:
            raise UsageError(f"{quoted(path)}: {error}") from None


def _weighed(text: str) -> tuple[float, str]:
    """'2::red' -> (2.0, 'red'); without a weight it is 1."""
    found = _WEIGHT.match(text)
    return (float(found[1]), text[found.end() :]) if found else (1.0, text)


class _Parser:
    """Of one template, from left to right."""

    def __init__(self, wildcards: Wildcards, text: str, within: tuple[str, ...]) -> None:
        self._wildcards, self._text, self._within = wildcards, text, within
        self._at = 0

    def parts(self) -> Parts:
        """All of it."""
        parts, end = self._until_bar_or_brace(0)
        if end:
            raise self._fault("a } without a {", "}")
        return parts

    def _until_bar_or_brace(self, depth: int) -> tuple[Parts, str]:
        """What stands before the next `|` or `}` of this depth, and which of them it is."""
        parts: list[str | Choice] = []
        while found := _TOKEN.search(self._text, self._at):
            parts.append(self._text[self._at : found.start()])
            self._at = found.end()
            escaped, name, mark = found.groups()
            if name is not None:
                parts.append(self._wildcards.file(name, self._within, self._text))
            elif mark == "{":
                parts.append(self._choice(depth + 1))
            elif mark == "}" or (mark == "|" and depth):
                return _joined(parts), mark
            else:
                parts.append(escaped or mark)
        parts.append(self._text[self._at :])
        self._at = len(self._text)
        return _joined(parts), ""

    def _choice(self, depth: int) -> Choice:
        """What stands in braces, after the first."""
        if depth > DEEPEST:
            raise self._fault(f"choices more than {DEEPEST} deep", "{")
        options: list[tuple[float, Parts]] = []
        mark = "|"
        while mark == "|":
            found = _WEIGHT.match(self._text, self._at)
            self._at = found.end() if found else self._at
            parts, mark = self._until_bar_or_brace(depth)
            options.append((float(found[1]) if found else 1.0, parts))
        if not mark:
            raise self._fault("a { without a }", "{")
        if not sum(weight for weight, _ in options):
            raise UsageError(f"the prompt {shown(self._text)} has a choice whose weights are all 0")
        return Choice(tuple(options))

    def _fault(self, what: str, brace: str) -> UsageError:
        return UsageError(f"the prompt {shown(self._text)} has {what}: write \\{brace} for a brace")


def _joined(parts: list[str | Choice]) -> Parts:
    """Without empty texts, and with neighbouring ones as one."""
    joined: list[str | Choice] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    return tuple(joined)
