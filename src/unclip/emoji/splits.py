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
from itertools import combinations

Thing = tuple[str, str | None]  # a noun and the colour it is shown in, if that is known


@dataclass(frozen=True)
class Splits:
    """The combinations that are held out."""

    pairs: frozenset[frozenset[str]]
    colours: frozenset[tuple[str, str]]
    counts: frozenset[tuple[str, int]]

    def held_out(self, things: Iterable[Thing]) -> set[str]:
        """Which kinds of held-out combinations a scene of these things shows, by field."""
        things = list(things)
        counted = Counter(noun for noun, _ in things)
        found = {
            "pairs": any(frozenset(pair) in self.pairs for pair in combinations(counted, 2)),
            "colours": any(thing in self.colours for thing in things),
            "counts": any(pair in self.counts for pair in counted.items()),
        }
        return {kind for kind, shown in found.items() if shown}

    def holds_out(self, things: Iterable[Thing]) -> bool:
        """Whether a scene of these things shows any held-out combination."""
        return bool(self.held_out(things))

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
