"""Samplers by the names of other programs."""

from __future__ import annotations

import pytest

from unclip.aliases import sampler_of
from unclip.parameters.names import A1111


@pytest.mark.parametrize("ours", A1111)
def test_names_that_are_written_are_read(ours: str) -> None:
    assert sampler_of(A1111[ours]) == ours
