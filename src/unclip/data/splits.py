"""What training never sees, so that a measure of new combinations is honest.

`splits.json` was drawn once and is never drawn again: pairs of objects that share no training
scene, objects that are never shown in a colour, objects that are never counted to a number.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

Thing = tuple[str, str | None]  # a noun and the colour it is shown in, if that is known


@dataclass(frozen=True)
class Splits:
    """The combinations that are held out."""

    pairs: frozenset[frozenset[str]]
    colours: frozenset[tuple[str, str]]
    counts: frozenset[tuple[str, int]]

    def holds_out(self, things: Iterable[Thing]) -> bool:
        """Whether a scene of these things shows any held-out combination."""
        things = list(things)
        if any(thing in self.colours for thing in things):
            return True
        counted = Counter(noun for noun, _ in things)
        if any((noun, count) in self.counts for noun, count in counted.items()):
            return True
        nouns = list(counted)
        return any(
            frozenset((a, b)) in self.pairs
            for number, a in enumerate(nouns)
            for b in nouns[number + 1 :]
        )

    def known(self, nouns: Collection[str]) -> Splits:
        """The part of the splits that a vocabulary can show."""
        return Splits(
            frozenset(pair for pair in self.pairs if all(noun in nouns for noun in pair)),
            frozenset(thing for thing in self.colours if thing[0] in nouns),
            frozenset(count for count in self.counts if count[0] in nouns),
        )


@cache
def splits() -> Splits:
    """The splits that this package was released with."""
    text = resources.files(__package__).joinpath("splits.json").read_text(encoding="utf-8")
    table = json.loads(text)
    return Splits(
        frozenset(frozenset(pair) for pair in table["pairs"]),
        frozenset((noun, colour) for noun, colour in table["colours"]),
        frozenset((noun, count) for noun, count in table["counts"]),
    )
