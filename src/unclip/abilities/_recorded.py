"""What a record says of the request that made its picture."""

from __future__ import annotations

import re

from ..record import Record

DIGEST = re.compile(r"[0-9a-f]{12}")
"""Of a picture, as a record has it."""


def words_of(record: Record) -> dict[str, str]:
    """Field -> text, of what a picture was made of; the rest are digests of pictures."""
    every = record.inputs.items()
    texts = {name: text for name, text in every if isinstance(text, str)}
    return {name: text for name, text in texts.items() if not DIGEST.fullmatch(text)}
