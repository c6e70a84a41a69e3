"""What a model's own card says against it, for the report."""

from __future__ import annotations

import re
from pathlib import Path

from ..checkpoints.convert import read_card
from .report import Section

_LEAD = re.compile(r"\*\*What it cannot do\.?\*\*\s*")


def section(model: Path) -> Section | None:
    """The paragraph of the card that begins with "What it cannot do", in bold; or None.

    Args:
        model: the model's folder.
    """
    for paragraph in read_card(model).split("\n\n"):
        said = _LEAD.match(paragraph.strip())
        if said:
            text = " ".join(paragraph.strip()[said.end() :].split())
            return Section("limits", "What its card says that it cannot do", text, ())
    return None
