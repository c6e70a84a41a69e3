"""Names of samplers: other programs' and those of this package."""

from __future__ import annotations

import re

A1111 = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "heun": "Heun",
    "unipc": "UniPC",
}
"""Samplers of this package, and what Stable Diffusion web UI calls them."""

_OTHERS = {"eulerancestral": "euler_ancestral"}
_USUAL = ("", "automatic", "normal", "simple", "uniform", "native")


def sampler_of(name: str, spacing: str = "") -> tuple[str, str | None, str]:
    """The sampler that another program calls so.

    Returns:
        Its name here, or empty if there is none; that of the spacing, None for the model's own;
        and what of the spacing is not known, or empty.
    """
    plain = _plain(name)
    karras = plain.endswith("karras") or _plain(spacing) == "karras"
    known = {_plain(theirs): ours for ours, theirs in A1111.items()} | _OTHERS
    found = known.get(plain.removesuffix("karras"), "")
    if karras:
        return found, "karras", ""
    return found, None, "" if _plain(spacing) in _USUAL else spacing


def _plain(name: str) -> str:
    """'DPM++ 2M Karras' -> 'dpmpp2mkarras'."""
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "p"))
