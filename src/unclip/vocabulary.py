"""The words of a model's training captions, and the unknown words of a prompt."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property, lru_cache

RARE = 5
"""Least captions with a word in a large data set; rarer ones are taken for misspellings."""

MOST = 50_000
"""Largest vocabulary; the most frequent words are kept."""

OFFERED = 0.66
"""Least similarity (difflib's ratio) of a suggested word."""

_UNSPACED = (  # scripts without spaces between words
    ("\u0e00", "\u0eff"), ("\u1000", "\u109f"), ("\u1780", "\u17ff"), ("\u3040", "\u30ff"),
    ("\u3400", "\u4dbf"), ("\u4e00", "\u9fff"), ("\uf900", "\ufaff"), ("\U00020000", "\U0003ffff"),
)  # fmt: skip


class Vocabulary:
    """Words of captions and the number of captions with each, most frequent first.

    Words are normalised as for tokenizers: NFKC, lower case, no punctuation. In scripts without
    spaces (Chinese, Japanese, Thai) a text is split into known words so that as few characters as
    possible remain. The empty vocabulary is for models that list no words: to it no word is
    unknown.
    """

    def __init__(self, counts: Mapping[str, int] | None = None) -> None:
        self.counts = dict(counts or {})

    @classmethod
    def of(cls, captions: Iterable[str], terms: Iterable[str] = ()) -> Vocabulary:
        """The words of captions; with thousands of captions, without rare words.

        Args:
            captions: each counts once for each of its words.
            terms: words of a script without spaces; other characters count as words.
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
        """The unknown words of a text, in order, each once; none if the vocabulary is empty."""
        if not self.counts:
            return []
        pieces = (piece for run in _runs(text) for piece in self._cut(run))
        return list(dict.fromkeys(word for word, known in pieces if not known))

    def nearest(self, words: Iterable[str]) -> list[str]:
        """The most similar known word for each word, if there is one; each once."""
        return list(dict.fromkeys(near for word in words if (near := _nearest(word, self._words))))

    def complaint(self, text: str, model: str = "MODEL", shown: int = 8) -> str:
        """One line with the unknown words of a text and the nearest known ones; or "".

        Args:
            model: its name, as typed on the command line.
            shown: most words to name.
        """
        words = self.unknown(text)
        if not words:
            return ""
        near = self.nearest(words[:shown])
        rest = f" and {len(words) - shown} more" if len(words) > shown else ""
        known = f"nearest known: {_quoted(near)}; " if near else ""
        where = f"`unclip models inspect {model or 'MODEL'}` lists its words"
        return f"the model does not know {_quoted(words[:shown])}{rest}; {known}{where}"

    def _split(self, text: str) -> Iterator[str]:
        """All words of a text; without spaces, known words and single characters."""
        for run in _runs(text):
            for word, known in self._cut(run):
                yield from (word,) if known else _units(word)

    def _cut(self, run: str) -> list[tuple[str, bool]]:
        """Split a run of letters into words, and tell which are known."""
        if not any(map(_unspaced, run)):
            return [(run, self._knows(run))]
        units = _units(run)
        # (unknown characters, words) of the best split of units[:end], and its last word
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
        """The words, and the parts of hyphenated ones: 't shirt' equals 't-shirt'."""
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
    """Cached: a prompt is read for every batch, and searching 50,000 words is slow."""
    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=OFFERED)), None)


def _ranked(counts: Counter[str]) -> list[tuple[str, int]]:
    """Most frequent first, then alphabetical."""
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def _joined(units: list[str], last: list[tuple[int, bool]]) -> list[tuple[str, bool]]:
    """The words of the best split; adjacent unknown characters form one word."""
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
    """Runs of letters, digits, hyphens and apostrophes."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("’", "'").replace("\ufe0f", "")
    for run in "".join(map(_letter, folded)).split():
        if stripped := run.strip("-'"):
            yield stripped


def _letter(char: str) -> str:
    """A letter; a symbol such as an emoji, in spaces; a space for punctuation."""
    kind = unicodedata.category(char)
    if kind == "So":
        return f" {char} "
    return char if kind[0] in "LMN" or char in "-'" else " "


def _units(run: str) -> list[str]:
    """Single characters of scripts without spaces, and runs of others: T恤 is T and 恤."""
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
