"""Samplers by the names of other programs."""

from __future__ import annotations

import pytest

from unclip.parameters.names import A1111, sampler_of


@pytest.mark.parametrize(
    ("name", "spacing", "found"),
    [
        ("Euler a", "", ("euler_ancestral", None, "")),
        ("euler_ancestral", "normal", ("euler_ancestral", None, "")),
        ("euler_ancestral", "karras", ("euler_ancestral", "karras", "")),
        ("DPM++ 2M Karras", "", ("dpmpp_2m", "karras", "")),
        ("DPM++ 2M", "Karras", ("dpmpp_2m", "karras", "")),
        ("DPM++ 2M SDE", "Exponential", ("dpmpp_2m_sde", None, "Exponential")),
        ("dpmpp_2m_sde", "simple", ("dpmpp_2m_sde", None, "")),
        ("uni_pc", "", ("unipc", None, "")),
        ("DPM adaptive", "Automatic", ("", None, "")),
        ("", "", ("", None, "")),
    ],
)
def test_a_sampler_by_its_name(name: str, spacing: str, found: tuple[str, str | None, str]) -> None:
    assert sampler_of(name, spacing) == found


@pytest.mark.parametrize("ours", A1111)
def test_names_that_are_written_are_read(ours: str) -> None:
    assert sampler_of(A1111[ours])[0] == ours
