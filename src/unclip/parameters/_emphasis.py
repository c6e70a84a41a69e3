"""Emphasis in prompts of other programs, as this package writes it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ..weighting import NUMBER, weighted

_TOKEN = re.compile(rf"(\\[()]|:\s*{NUMBER}\s*\)|[()\[\]{{}}])")


def translated(prompt: str, brackets: Mapping[str, float]) -> str:
    """The prompt that means here what it meant there, as `pieces`."""
    return weighted(pieces(prompt, brackets))


def pieces(prompt: str, brackets: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    r"""Letters with their weights.

    Args:
        prompt: as written there.
        brackets: what each pair multiplies by, such as `{"{}": 1.05}`. Round ones may hold the
            weight itself, `(word:1.3)`, whatever is around them, and are letters after a `\`.
    """
    tokens = [token for token in _TOKEN.split(prompt) if token]
    opening = {pair[0]: pair for pair in brackets}
    waiting: list[int] = []
    pairs: dict[int, int] = {}
    for at, token in enumerate(tokens):
        if token in opening:
            waiting.append(at)
        elif waiting and token[0] != "\\" and opening[tokens[waiting[-1]]][1] == token[-1]:
            pairs[waiting.pop()] = at
    return _pieces(tokens, pairs, {one: brackets[pair] for one, pair in opening.items()})


def _pieces(
    tokens: list[str], pairs: Mapping[int, int], factors: Mapping[str, float]
) -> Iterator[tuple[str, float]]:
    """Letters with their weights. `pairs` are the places of brackets and of their counterparts."""
    weights, ends = [1.0], set(pairs.values())
    for at, token in enumerate(tokens):
        if at in pairs:
            number = tokens[pairs[at]][1:-1]
            weights.append(float(number) if number else weights[-1] * factors[token])
        elif at in ends:
            weights.pop()
        else:
            escaped = token in (r"\(", r"\)") and "(" in factors
            yield token[1:] if escaped else token, weights[-1]
