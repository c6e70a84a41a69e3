"""Look at every picture and caption of a source, before hours are spent on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..media import read_image
from ._captions import normalised, script_of
from ._parallel import processes
from .duplicates import Print, groups, print_of
from .source import Item

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Look:
    """What one stored picture is.

    Args:
        name: of its item.
        captions: as stored.
        fault: why it cannot be read; empty where it can.
        size: upright (height, width).
        stored_bytes: of its file.
        kind: of the file's name: jpg, png, ...
        print: None where no library computes it.
    """

    name: str
    captions: tuple[str, ...]
    fault: str = ""
    size: tuple[int, int] = (0, 0)
    stored_bytes: int = 0
    kind: str = ""
    print: Print | None = None


@dataclass(frozen=True)
class Findings:
    """What a check found.

    Args:
        looks: at every picture, in the source's order.
        hashed: whether duplicates could be looked for.
        unused: see `Source.unused`.
    """

    looks: tuple[Look, ...]
    hashed: bool = True
    unused: tuple[tuple[str, str], ...] = ()

    @cached_property
    def sound(self) -> list[Look]:
        """Pictures that can be read."""
        return [one for one in self.looks if not one.fault]

    @cached_property
    def unreadable(self) -> list[Look]:
        """Pictures that cannot."""
        return [one for one in self.looks if one.fault]

    @cached_property
    def captions(self) -> list[str]:
        """Of the pictures that can be read, as stored."""
        return [text for one in self.sound for text in one.captions]

    @cached_property
    def duplicates(self) -> list[list[Look]]:
        """Groups of pictures that look the same, the largest first."""
        known = [(one, one.print) for one in self.sound if one.print is not None]
        return [[known[n][0] for n in group] for group in groups([two for _, two in known])]

    @property
    def unreadable_share(self) -> float:
        """Of all pictures."""
        return len(self.unreadable) / max(1, len(self.looks))

    @cached_property
    def scripts(self) -> Counter[str]:
        """How many captions are mostly in a script."""
        return Counter(map(script_of, self.captions))

    @cached_property
    def words(self) -> list[int]:
        """Words of each caption, ascending; what has no spaces counts by letters."""
        return sorted(map(_words, self.captions))

    @cached_property
    def faulty_captions(self) -> dict[str, int]:
        """What `prepare` would mend, and how often."""
        found: Counter[str] = Counter()
        for text in self.captions:
            found["empty"] += not normalised(text)
            found["not in one form (entities, white space, NFC)"] += text != normalised(text)
        return {name: count for name, count in found.items() if count}

    @cached_property
    def repeated_captions(self) -> list[tuple[str, int]]:
        """Captions of several pictures, the most frequent first."""
        counted = Counter(map(normalised, self.captions)).most_common(20)
        return [(text, count) for text, count in counted if count > 1 and text]

    def smaller_than(self, side: int) -> int:
        """Pictures whose shorter side is below a training side: they would be enlarged."""
        return sum(min(one.size) < side for one in self.sound)

    def to_json(self, side: int) -> dict[str, Any]:
        """The same in plain counts."""
        extra = sum(len(group) - 1 for group in self.duplicates)
        return {
            "pictures": len(self.looks),
            "captions": len(self.captions),
            "unreadable": len(self.unreadable),
            "unreadable_files": [one.name for one in self.unreadable[:1000]],
            "unused": len(self.unused),
            "unused_files": [name for name, _ in self.unused[:1000]],
            "without_caption": sum(not one.captions for one in self.sound),
            "smaller_than_size": self.smaller_than(side),
            "stored_bytes": sum(one.stored_bytes for one in self.looks),
            "formats": dict(Counter(one.kind for one in self.looks).most_common()),
            "median_size": list(median_size(self.sound)),
            "scripts": dict(self.scripts.most_common()),
            "median_words": quantile(self.words, 0.5),
            "longest_words": quantile(self.words, 1.0),
            "faulty_captions": self.faulty_captions,
            "duplicate_groups": len(self.duplicates) if self.hashed else None,
            "duplicates": extra if self.hashed else None,
        }


def examine(
    items: Iterable[Item], workers: int, on_progress: OnProgress, total: int | None = None
) -> Findings:
    """Read every picture of a source once.

    Args:
        items: see `Source.items`.
        workers: processes.
        on_progress: told how many are done, and of how many (as many, where nobody knows).
        total: how many there are.

    Raises:
        UsageError: there is not one.
    """
    looks: list[Look] = []
    with processes(workers) as each:
        for one in each(look, items):
            looks.append(one)
            on_progress(len(looks), max(total or 0, len(looks)))
    if not looks:
        raise UsageError("there are no pictures with captions to check")
    return Findings(tuple(looks), hashed=find_spec("imagehash") is not None)


def look(item: Item) -> Look:
    """Read one picture whole, as training does."""
    kind = Path(item.name).suffix.lower().lstrip(".") or "unknown"
    if item.fault:
        return Look(item.name, item.captions, item.fault, kind=kind)
    try:
        size = item.stored_bytes
        picture = read_image(item.picture)
    except (UsageError, OSError) as error:
        return Look(item.name, item.captions, _reason(error, item), kind=kind)
    try:
        seen = print_of(picture)
    except ModuleNotFoundError:
        seen = None
    shape = picture.height, picture.width
    return Look(item.name, item.captions, "", shape, size, kind, seen)


def _reason(error: Exception, item: Item) -> str:
    """What is wrong, without the file's name, which stands before it."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    _, colon, reason = str(error).partition(": ")
    return reason if colon else str(error)


def _words(text: str) -> int:
    spaced = text.split()
    return len(text) if len(spaced) == 1 and script_of(text) in ("Han", "Kana") else len(spaced)


def quantile(ascending: Sequence[int], share: float) -> int:
    """The value below which a share lies; 0 of nothing."""
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))] if ascending else 0


def median_size(looks: Sequence[Look]) -> tuple[int, int]:
    """(height, width): the median of each."""
    heights, widths = (sorted(one.size[axis] for one in looks) for axis in (0, 1))
    return quantile(heights, 0.5), quantile(widths, 0.5)
