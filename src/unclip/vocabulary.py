"""The words that a model has met in its captions, and those of a prompt that it has not."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache

RARE = 5
"""A word of a large data set counts where so many captions have it: fewer are misspellings."""

MOST = 50_000
"""How many words a vocabulary keeps, the most frequent ones."""

OFFERED = 0.66
"""How alike a known word must be spelt to be offered (difflib's ratio)."""

_UNSPACED = (  # scripts that put no space between words
    ("\u0e00", "\u0eff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff"), ("\u3040", "\u30ff"),
    ("\u3400", "\u4dbf"), ("\u4e00", "\u9fff"), ("\uf900", "\ufaff"), ("\U00020000", "\U0003ffff"),
)  # fmt: skip


class Vocabulary:
    """Words of captions, the most frequent first, with how many captions have each.

    Words are compared as tokenizers read them: NFKC, lower case, punctuation left out. Where a
    script puts no spaces (Chinese, Japanese, Thai) a text is cut into known words, so that the
    fewest of its letters are left over. An empty vocabulary is that of a model that lists none:
    it knows no word as unknown.
    """

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self.counts = dict(counts or {})

    @classmethod
    def of(cls, captions: Iterable[str], terms: Iterable[str] = ()) -> Vocabulary:
        """The words of captions, without the rare ones where there are thousands of captions.

        Args:
            captions: each counts once for every word in it.
            terms: words of a script without spaces; its other letters are words of their own.
        """
        found = cls({word: 1 for term in terms for word in _runs(term)})
        counts: Counter[str] = Counter()
        total = 0
        for caption in captions:
            counts.update(set(found._split(caption)))
            total += 1
        least = min(RARE, 1 + total // 1000)
        return cls({word: n for word, n in _ranked(counts)[:MOST] if n >= least})

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __or__(self, other: Vocabulary) -> Vocabulary:
        """The words of both, counted together."""
        return Vocabulary(dict(_ranked(Counter(self.counts) + Counter(other.counts))))

    def unknown(self, text: str) -> list[str]:
        """The words of a text that are not known, in order, each once; none where it is empty."""
        if not self.counts:
            return []
        pieces = (piece for run in _runs(text) for piece in self._cut(run))
        return list(dict.fromkeys(word for word, known in pieces if not known))

    def nearest(self, words: Iterable[str]) -> list[str]:
        """For each word the known one that is spelt most like it, where one is; each once."""
        return list(dict.fromkeys(near for word in words if (near := _nearest(word, self._words))))

    def complaint(self, text: str, model: str = "MODEL", shown: int = 8) -> str:
        """One line that names the unknown words of a text and the nearest known; or nothing.

        Args:
            model: its name, as a person would type it.
            shown: how many words are named at most.
        """
        words = self.unknown(text)
        if not words:
            return ""
        near = self.nearest(words[:shown])
        rest = f" and {len(words) - shown} more" if len(words) > shown else ""
        known = f"nearest it knows: {_quoted(near)}; " if near else ""
        where = f"`unclip models inspect {model or 'MODEL'}` lists them"
        return f"the model does not know {_quoted(words[:shown])}{rest}; {known}{where}"

    def _split(self, text: str) -> Iterator[str]:
        """All words of a text; where there are no spaces, known ones and single letters."""
        for run in _runs(text):
            for word, known in self._cut(run):
                yield from (word,) if known else _units(word)

    def _cut(self, run: str) -> list[tuple[str, bool]]:
        """A run of letters as words, and whether each is known."""
        if not any(map(_unspaced, run)):
            return [(run, self._knows(run))]
        units = _units(run)
        # (letters left over, words) of the best way to cut units[:end], and that way's last word
        best: list[tuple[int, int]] = [(0, 0)]
        last: list[tuple[int, bool]] = [(0, True)]
        for end in range(1, len(units) + 1):
            options = [(best[end - 1][0] + 1, best[end - 1][1] + 1, end - 1, False)]
            options += [
                (best[start][0], best[start][1] + 1, start, True)
                for start in range(max(0, end - self._longest), end)
                if self._knows("".join(units[start:end]))
            ]
            left, words, start, known = min(options)
            best.append((left, words))
            last.append((start, known))
        return _joined(units, last)

    def _knows(self, word: str) -> bool:
        if word in self._spelt:
            return True
        parts = [part for part in re.split("[-']", word) if part]
        return len(parts) > 1 and all(part in self._spelt for part in parts)

    @cached_property
    def _spelt(self) -> frozenset[str]:
        """The words, and the parts of those with a hyphen: 't shirt' is as good as 't-shirt'."""
        parts = {p for word in self.counts if "-" in word for p in word.split("-") if p}
        return frozenset(self.counts) | parts

    @cached_property
    def _words(self) -> tuple[str, ...]:
        return tuple(self.counts)

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.counts), default=1)


@lru_cache(maxsize=1024)
def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    """Remembered: a prompt is read again for every batch, and 50,000 words take long."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=OFFERED)), None)


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """The most frequent first; of equal ones in the order of the alphabet."""
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def _joined(units: list[str], last: list[tuple[int, bool]]) -> list[tuple[str, bool]]:
    """The words of the best way to cut, from the front; neighbours left over are one word."""
    words: list[tuple[str, bool]] = []
    end = len(units)
    while end:
        start, known = last[end]
        word = "".join(units[start:end])
        if words and not known and not words[-1][1]:
            words[-1] = (word + words[-1][0], False)
        else:
            words.append((word, known))
        end = start
    return words[::-1]


def _runs(text: str) -> Iterator[str]:
    """What stands between spaces and punctuation: letters, digits, hyphens and apostrophes."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("’", "'").replace("\ufe0f", "")
    for run in "".join(map(_letter, folded)).split():
        if stripped := run.strip("-'"):
            yield stripped


def _letter(char: str) -> str:
    """The letter itself; a picture such as an emoji by itself; a space for punctuation."""
    kind = unicodedata.category(char)
    if kind == "So":
        return f" {char} "
    return char if kind[0] in "LMN" or char in "-'" else " "


def _units(run: str) -> list[str]:
    """Single letters of scripts without spaces, and whole runs of others: T恤 is T and 恤."""
    units: list[str] = []
    for char in run:
        if units and not _unspaced(char) and not _unspaced(units[-1][-1]):
            units[-1] += char
        else:
            units.append(char)
    return units


def _unspaced(char: str) -> bool:
    return any(low <= char <= high for low, high in _UNSPACED)


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)
