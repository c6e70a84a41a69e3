"""Samplers and grids by the names of other programs."""

from __future__ import annotations

import pytest

from unclip.aliases import SAMPLERS, SPACINGS, resolved, sampler_of

A1111 = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "pndm": "PLMS",
    "unipc": "UniPC",
}
GRIDS = {
    "linspace": "Normal",
    "leading_after": "DDIM",
    "trailing": "SGM Uniform",
    "karras": "Karras",
    "logsnr": "Exponential",
}
"""What that program shows in its lists."""


@pytest.mark.parametrize("ours", SAMPLERS)
def test_names_that_are_written_are_read(ours: str) -> None:
    assert next(iter(SAMPLERS[ours]), None) == A1111.get(ours)
    assert sampler_of(A1111.get(ours, ours)) == ours


@pytest.mark.parametrize("ours", SPACINGS)
def test_grids_that_are_written_are_read(ours: str) -> None:
    assert next(iter(SPACINGS[ours]), None) == GRIDS.get(ours)
    assert resolved({"spacing": GRIDS.get(ours, ours)}) == {"spacing": ours}
