"""Ask the model's CLIP which description fits a picture best.

\b
Examples:
  unclip probe fox.png "a fox" "a car" "a house"
  unclip probe fox.png "a red fox" "a blue fox" --json
"""
# Without `from __future__ import annotations`: see `_options`.

import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import typer

from ..errors import UsageError
from ._ability import AbilityOptions, ability_command
from ._terminal import say

BAR = 40
"""Columns of a bar of 100 %."""

Json = Annotated[bool, typer.Option("--json", help="Label to share, as JSON.")]


@dataclass(frozen=True, kw_only=True)
class Probe(AbilityOptions):
    """Says what a picture is taken for."""

    extra: ClassVar[list[Any]] = [("as_json", Json, False)]

    def run(self) -> None:
        """A line a label, the best first."""
        request = self.request()
        labels = request.labels
        if len(set(labels)) < len(labels):
            raise UsageError("two labels are the same: all must be different")
        request.check_pictures()
        shares = self.ability(self.load(), request)
        ranked = sorted(zip(labels, shares, strict=True), key=lambda pair: -pair[1])
        if self.as_json:  # type: ignore[attr-defined]
            say(json.dumps(dict(ranked), ensure_ascii=False))
            return
        width = max(len(label) for label in labels)
        for label, share in ranked:
            say(f"{label:<{width}}  {share:6.1%}  {'█' * round(share * BAR)}".rstrip())


register = ability_command(__name__, "probe", Probe)
