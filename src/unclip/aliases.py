"""Names that other tools have for samplers and for grids of noise levels.

`dpm++ 2m karras` is a sampler and a grid in one. Case, spaces, `+`, `-` and `_` do not matter.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

SAMPLERS: Mapping[str, tuple[str, ...]] = {
    "ddpm": ("DDPM", "DDPMScheduler", "UnCLIPScheduler"),
    "ddim": ("DDIM", "DDIMScheduler"),
    "analytic_dpm": (),
    "dpmpp_2m": ("DPM++ 2M", "DPMSolverMultistepScheduler"),
    "dpmpp_2m_sde": ("DPM++ 2M SDE", "dpmpp_2m_sde_gpu"),
    "unipc": ("UniPC", "uni_pc_bh2", "UniPCMultistepScheduler"),
    "euler": ("Euler", "EulerDiscreteScheduler"),
    "euler_ancestral": ("Euler a", "EulerAncestralDiscreteScheduler"),
    "heun": ("Heun", "HeunDiscreteScheduler"),
    "pndm": ("PLMS", "PNDMScheduler"),
}
"""Sampler -> its other names. The first is what A1111 shows, where it has such a sampler."""

SPACINGS: Mapping[str, tuple[str, ...]] = {
    "linspace": ("Normal",),
    "uniform": (),
    "leading": (),
    "leading_after": ("DDIM", "ddim_uniform"),
    "trailing": ("SGM Uniform", "simple"),
    "karras": ("Karras",),
    "logsnr": ("Exponential",),
    "fast27": (),
}
"""Grid of levels -> its other names. The first is what A1111 shows, where it has such a grid."""

AUTOMATIC = "automatic"
"""What other tools call the grid that is a model's own."""

OTHERS: Mapping[str, tuple[str, ...]] = {
    "pndm": ("LMS", "LMSDiscreteScheduler", "ipndm", "ipndm_v"),
    "heun": ("DPM2", "dpm_2", "KDPM2DiscreteScheduler", "heunpp2", "Restart"),
    "euler_ancestral": (
        *("DPM2 a", "dpm_2_ancestral", "KDPM2AncestralDiscreteScheduler"),
        *("DPM++ 2S a", "dpmpp_2s_ancestral"),
    ),
    "dpmpp_2m_sde": (
        *("DPM++ SDE", "dpmpp_sde_gpu", "DPMSolverSDEScheduler", "DPM++ 2M SDE Heun"),
        *("DPM++ 3M SDE", "dpmpp_3m_sde_gpu", "CosineDPMSolverMultistepScheduler"),
        "SASolverScheduler",
    ),
    "dpmpp_2m": (
        *("DPM fast", "DPM adaptive", "DEIS", "DEISMultistepScheduler", "res_multistep"),
        "DPMSolverSinglestepScheduler",
    ),
}
"""Sampler -> samplers of other tools that are not here, and that it is the nearest to."""


def sampler_of(name: str) -> str | None:
    """The sampler of this name, which is any of its names; None where there is none."""
    return _SAMPLERS.get(_plain(name))


def resolved(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings of the sampling with this package's own names of a sampler and its grid.

    A sampler's name may choose the grid too; a `spacing` that is set beside it wins. Names that are
    not known here stay.

    Args:
        settings: by name.
        prefix: what the names of the stage's settings begin with.
    """
    result, sampler, spacing = dict(settings), f"{prefix}sampler", f"{prefix}spacing"
    asked, grid = result.get(sampler), result.get(spacing)
    if isinstance(grid, str):
        result[spacing] = grid = _SPACINGS.get(_plain(grid), grid)
        if _plain(grid) == AUTOMATIC:  # the stage's own
            del result[spacing]
    if isinstance(asked, str):
        name, chosen = _split(asked)
        if name in _SAMPLERS:
            result[sampler] = _SAMPLERS[name]
            if chosen and grid is None:
                result[spacing] = chosen
    return result


def resolved_flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """As `resolved`, of every stage: `sampler`, `prior_sampler`, `upsampler_spacing`, ..."""
    result = dict(settings)
    for key in settings:
        for ending in ("sampler", "spacing"):
            if key == ending or key.endswith(f"_{ending}"):
                result = resolved(result, key.removesuffix(ending))
    return result


def nearest_sampler(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)`, or what is nearest in kind; empty if nothing is.

    Args:
        name: one that is not known.
        known: this package's own names.
    """
    method, grid = _split(name)
    if method in _OTHERS:
        return f" (the nearest here is '{' '.join(filter(None, (_OTHERS[method], grid)))}')"
    shown = {_plain(one): one for names in SAMPLERS.values() for one in names}
    shown |= {_plain(one): one for one in known}
    shown |= {
        f"{one}{grid}": f"{own} {grid}" for one, own in _SAMPLERS.items() for grid in _SPACINGS
    }
    close = difflib.get_close_matches(_plain(name), shown, n=1, cutoff=0.6)
    return f" (did you mean '{shown[close[0]]}'?)" if close else ""


def _plain(name: str) -> str:
    """'DPM++ 2M' and 'dpmpp_2m' alike."""
    return re.sub(r"(?<=dpm)pp", "", re.sub(r"[\s+_-]", "", name.casefold()))


def _by_name(table: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {_plain(name): own for own, names in table.items() for name in (own, *names)}


_SAMPLERS, _SPACINGS = _by_name(SAMPLERS), _by_name(SPACINGS)
_OTHERS = {name: own for name, own in _by_name(OTHERS).items() if name not in _SAMPLERS}


def _split(name: str) -> tuple[str, str]:
    """A sampler's plain name, and the grid that its last words name, if they name one."""
    plain = _plain(name)
    if plain in _SAMPLERS:
        return plain, ""
    for grid, own in _SPACINGS.items():
        method = plain.removesuffix(grid)
        if method != plain and (method in _SAMPLERS or method in _OTHERS):
            return method, own
    return plain, ""
