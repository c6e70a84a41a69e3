"""What examples of commands draw with."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def model(tiny_model: Path) -> str:
    """See `tiny_model`."""
    return str(tiny_model)
