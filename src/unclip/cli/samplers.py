"""`unclip samplers`."""
# Without `from __future__ import annotations`: see `_options`.

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from ._options import Command
from ._result import report
from ._terminal import say

WIDTH = 80

INTRO = (
    "Samplers, for --sampler NAME. The order is that of convergence without noise; calls are "
    "network evaluations a step. What is not deterministic adds fresh noise in each step: "
    "--set eta=0 leaves it out.",
    "Grids of noise levels, for --set spacing=NAME, or after a sampler's name, as in "
    "--sampler 'dpm++ 2m karras'.",
    "Case, spaces, +, - and _ in names do not matter. docs/samplers.md compares them.",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("samplers", cls=Command)(Samplers)


@dataclass(frozen=True)
class Samplers:
    """List samplers and grids of noise levels, with other names.

    \b
    Examples:
      unclip samplers
      unclip samplers --json
    """

    def run(self) -> None:
        """Two tables."""
        samplers, grids = known_samplers(), known_grids()
        report(samplers=samplers, grids=grids)
        first, second, last = (textwrap.fill(text, WIDTH) for text in INTRO)
        yes = {True: "yes", False: "no"}
        rows = [
            (name, one["order"], one["calls"], yes[one["deterministic"]], ", ".join(one["names"]))
            for name, one in samplers.items()
        ]
        say(f"{first}\n")
        for line in table(("sampler", "order", "calls", "deterministic", "also called"), rows):
            say(line)
        say(f"\n{second}\n")
        lines = [(name, ", ".join(one["names"]), one["what"]) for name, one in grids.items()]
        for line in table(("grid", "also called", "noise levels"), lines):
            say(line)
        say(f"\n{last}")


def known_samplers() -> dict[str, dict[str, Any]]:
    """Every sampler: its order, network calls a step, whether it draws no noise, other names."""
    from ..aliases import SAMPLERS
    from ..diffusion import samplers

    return {
        name: {
            "order": samplers.ABOUT[name].order,
            "calls": samplers.ABOUT[name].calls,
            "deterministic": samplers.ABOUT[name].eta == 0,
            "names": list(SAMPLERS.get(name, ())),
        }
        for name in samplers.SAMPLERS
    }


def known_grids() -> dict[str, dict[str, Any]]:
    """Every grid: what it is, and its other names."""
    from ..aliases import SPACINGS as NAMES
    from ..diffusion.spacing import SPACINGS

    return {
        name: {"what": _first(grid.__doc__ or ""), "names": list(NAMES.get(name, ()))}
        for name, grid in SPACINGS.items()
    }


def _first(text: str) -> str:
    """The first sentence, without what it cites."""
    sentence = re.split(r"\.(?:\s+(?=[A-Z])|\s*$)", " ".join(text.split()))[0]
    return re.sub(r" \([^()]*\)$|: .*", "", sentence)


def table(head: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> Iterator[str]:
    """Columns as wide as they need; the last is folded to the rest of the line."""
    every = [head, *(tuple(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*every, strict=True)][:-1]
    left = WIDTH - sum(widths) - 2 * len(widths)
    for row in every:
        cells = zip(row, widths, strict=False)
        start = "  ".join(f"{one:>{n}}" if one.isdigit() else f"{one:<{n}}" for one, n in cells)
        for line in textwrap.wrap(row[-1], left, break_on_hyphens=False) or [""]:
            yield f"{start}  {line}".rstrip()
            start = " " * len(start)
