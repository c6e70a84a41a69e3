"""Samplers: pure functions (denoise, x, levels, rng, on_step, eta) -> x.

Every formula is written for x_t = alpha·x0 + sigma·eps with any alpha and sigma, so the same
function serves variance-preserving and EDM schedules. `eta` means the same in all of them: how
strong the noise of the reverse SDE is, 0 the ODE, 1 the SDE (tau in SA-Solver, arXiv 2309.05019).

`SAMPLERS` holds every function that `@sampler` registers in one of the modules imported here.
"""

from .ancestral import analytic_dpm, ddim, ddpm, posterior
from .base import SAMPLERS, OnX0, Sampler, find, sampler
from .multistep import dpmpp_2m, dpmpp_2m_sde, unipc
from .repaint import repaint
from .single import euler, heun

__all__ = [
    "SAMPLERS",
    "OnX0",
    "Sampler",
    "analytic_dpm",
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "euler",
    "find",
    "heun",
    "posterior",
    "repaint",
    "sampler",
    "unipc",
]
