"""The limits that a model's own card states, for the report."""

from __future__ import annotations

import re
from pathlib import Path

from ..checkpoints.convert import read_card
from ..pages.report import Section

_LIMITS = re.compile(
    r"^\*\*(?:Limits|What it cannot do)\.?\*\*\s*(.*?)(?=^(?:\*\*|#)|\Z)", re.M | re.S
)
_BULLET = re.compile(r"^[-*] ", re.M)


def section(model: Path) -> Section | None:
    """The part of the card under a bold "Limits" (or "What it cannot do"), a list too; or None."""
    found = _LIMITS.search(read_card(model))
    if found is None:
        return None
    text = " ".join(_BULLET.sub("", found[1]).split())
    return Section("limits", "What its card says that it cannot do", text, ())
