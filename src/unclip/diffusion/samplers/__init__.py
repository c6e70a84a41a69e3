"""Samplers: pure functions (denoise, x, levels, rng, on_step, eta) -> x.

Every formula is written for x_t = alpha·x0 + sigma·eps with any alpha and sigma, so the same
function works with variance-preserving and EDM schedules. `eta` has the same meaning in all: the
strength of the noise of the reverse SDE: 0 ODE, 1 SDE (tau in SA-Solver, arXiv 2309.05019).

`SAMPLERS` holds every function that `@sampler` registers in one of the modules imported here.
"""

from .about import ABOUT
from .ancestral import analytic_dpm, ddim, ddpm, posterior
from .base import SAMPLERS, OnX0, Sampler, sampler
from .linear_multistep import pndm
from .multistep import dpmpp_2m, dpmpp_2m_sde, unipc
from .repaint import repaint
from .single import euler, euler_ancestral, heun

__all__ = [
    "ABOUT",
    "SAMPLERS",
    "OnX0",
    "Sampler",
    "analytic_dpm",
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "euler",
    "euler_ancestral",
    "heun",
    "pndm",
    "posterior",
    "repaint",
    "sampler",
    "unipc",
]
