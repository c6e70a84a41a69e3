"""`unclip probe`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from ..errors import UsageError
from ._chosen import BUNDLED, Chosen, choosing
from ._options import Picture
from ._terminal import say

BAR = 40
"""Columns of a bar of 100 %."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(choosing(probe, "no_limit"))


def probe(
    image: Picture,
    labels: Annotated[
        list[str], typer.Argument(metavar="LABEL...", help="At least two descriptions.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Label to share, as JSON.")] = False,
    chosen: Chosen = BUNDLED,
) -> None:
    """Ask the model's CLIP which description fits a picture best.

    \b
    Examples:
      unclip probe fox.png "a fox" "a car" "a house"
      unclip probe fox.png "a red fox" "a blue fox" --json
    """
    from ..request import check_prompt
    from ._draw import picture

    for label in labels:
        check_prompt(label, "label")
    if len(set(labels)) < max(2, len(labels)):
        raise UsageError("give at least two labels to choose from, all different")
    source = picture(image)
    shares = chosen.load().probe(source, labels)
    ranked = sorted(zip(labels, shares, strict=True), key=lambda pair: -pair[1])
    if as_json:
        say(json.dumps(dict(ranked), ensure_ascii=False))
        return
    width = max(len(label) for label in labels)
    for label, share in ranked:
        say(f"{label:<{width}}  {share:6.1%}  {'█' * round(share * BAR)}".rstrip())
