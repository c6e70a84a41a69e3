"""diffusers' schedulers: the noise schedule, the sampler and the steps that a folder asks for.

No adapter by itself. What a scheduler_config.json says is followed, refused by name, or named in
the plan's notes as not followed: nothing is passed over in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from ..aliases import sampler_of
from ..checkpoints.settings import need
from ..diffusion.schedule import Cosine, Linear, ScaledLinear
from ..stages.sampling import Sampling
from ._diffusers import settings

S = TypeVar("S", bound=Sampling)
SCHEDULER = "scheduler_config.json"
SDE = ("sde-dpmsolver++", "sde-dpmsolver")
"""`algorithm_type` of DPM-Solver with fresh noise."""

VARIANCES = ("fixed_small", "fixed_small_log", "learned_range")
"""Of an ancestral sampler: the posterior's, however it is written, or what is learnt of it."""

FRACTIONS = (
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
)
"""Schedulers whose steps from end to end lie between whole timesteps."""

LINSPACED = (*FRACTIONS, "DPMSolverMultistepScheduler", "UniPCMultistepScheduler")
"""Schedulers that space their steps from end to end unless told otherwise."""

FOLLOWED = frozenset(
    {
        *("num_train_timesteps", "beta_schedule", "beta_start", "beta_end", "trained_betas"),
        *("rescale_betas_zero_snr", "set_alpha_to_one", "final_sigmas_type", "prediction_type"),
        *("variance_type", "timestep_spacing", "steps_offset", "clip_sample", "clip_sample_range"),
        *("thresholding", "dynamic_thresholding_ratio", "sample_max_value", "use_karras_sigmas"),
        *("use_exponential_sigmas", "use_flow_sigmas"),
    }
)
"""Settings that are followed, or refused where they ask for what is not known here."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "algorithm_type": ("dpmsolver++", "sde-dpmsolver++"),
    "disable_corrector": ([],),
    "euler_at_final": (True, False),  # the step to the clean level is Euler's in any case
    "flow_shift": (1, None),
    "interpolation_type": ("linear",),
    "lambda_min_clipped": (float("-inf"), "-inf", "-Infinity", None),
    "lower_order_final": (True, False),
    "predict_x0": (True,),
    "rho": (7,),
    "sigma_max": (None,),
    "sigma_min": (None,),
    "skip_prk_steps": (True,),
    "solver_order": (2,),
    "solver_p": (None,),
    "solver_type": ("midpoint", "bh2"),
    "time_shift_type": ("exponential", None),
    "timestep_type": ("discrete",),
    "use_beta_sigmas": (False, None),
    "use_dynamic_shifting": (False, None),
    "use_lu_lambdas": (False, None),
}
"""Settings of single methods -> values that change nothing of what is drawn here."""


def schedule_of(folder: Path) -> Cosine | Linear | ScaledLinear:
    """The noise schedule of any of diffusers' schedulers. Raises CheckpointError."""
    values, file = settings(folder, SCHEDULER), folder / SCHEDULER
    need(
        values,
        file,
        trained_betas=None,
        rescale_betas_zero_snr=False,
        use_flow_sigmas=(False, None),
        beta_schedule=("linear", "scaled_linear", "squaredcos_cap_v2"),
        final_sigmas_type=("zero", "sigma_min", None),
    )
    kind, steps = values.get("beta_schedule", "linear"), values.get("num_train_timesteps", 1000)
    last: Literal["clean", "first"] = "first" if _ends_at_first(values) else "clean"
    if kind == "squaredcos_cap_v2":
        return Cosine(steps=steps, last=last)
    start, end = values.get("beta_start", 1e-4), values.get("beta_end", 0.02)
    if kind == "scaled_linear":
        return ScaledLinear(steps=steps, last=last, beta_start=start, beta_end=end)
    scale = steps / 1000  # ours are those of 1000 steps, however many there are
    return Linear(steps=steps, last=last, beta_start=start * scale, beta_end=end * scale)


def _ends_at_first(values: Mapping[str, Any]) -> bool:
    """Whether the last step goes to timestep 0, not to the clean level."""
    if _class(values) in ("DDIMScheduler", "PNDMScheduler"):
        return not values.get("set_alpha_to_one", True)
    return values.get("final_sigmas_type") == "sigma_min"


def sampling_of(folder: Path, defaults: S) -> S:
    """The defaults with what a scheduler says of its method, its steps and clipping.

    Raises:
        CheckpointError: it does something that is not known here.
    """
    values, file = settings(folder, SCHEDULER), folder / SCHEDULER
    sampler = _sampler(values)
    if sampler == "ddpm":
        need(values, file, variance_type=VARIANCES)
    changes: dict[str, Any] = {"sampler": sampler, "spacing": _spacing(values, file)}
    if values.get("thresholding", False):
        need(values, file, dynamic_thresholding_ratio=0.995)
        ceiling = values.get("sample_max_value", 1.0)
        changes |= {"threshold": "dynamic"} if ceiling is None else {"ceiling": ceiling}
    elif values.get("clip_sample", _class(values) in ("DDIMScheduler", "DDPMScheduler")):
        changes |= {"threshold": "clamp", "limit": values.get("clip_sample_range", 1.0)}
    return defaults.merge(changes)


def _sampler(values: Mapping[str, Any]) -> str:
    sampler = sampler_of(_class(values)) or "ddim"
    is_sde = sampler == "dpmpp_2m" and values.get("algorithm_type") in SDE
    return "dpmpp_2m_sde" if is_sde else sampler


def _spacing(values: Mapping[str, Any], file: Path) -> str:
    """Ours for `timestep_spacing`, `steps_offset` and the sigmas that take their place."""
    if values.get("use_karras_sigmas", False):
        return "karras"
    if values.get("use_exponential_sigmas", False):
        return "logsnr"  # even in ln(sigma/alpha): the same
    usual = "linspace" if _class(values) in LINSPACED else "leading"
    need(values, file, timestep_spacing=("leading", "trailing", "linspace"), steps_offset=(0, 1))
    spacing = str(values.get("timestep_spacing", usual))
    if spacing == "leading" and values.get("steps_offset", 0):
        return "leading_after"
    if spacing == "linspace" and _class(values) not in FRACTIONS:
        return "uniform"
    return spacing


def sampler_notes(folder: Path) -> tuple[str, ...]:
    """What to say where the published sampler is another than the one used here."""
    name = _class(settings(folder, SCHEDULER))
    other = f"published with {name}; drawn with DDIM here, or what you choose"
    return (*(() if sampler_of(name) else (other,)), *unfollowed(folder))


def unfollowed(*folders: Path) -> Iterator[str]:
    """The settings of schedulers that have no effect here, one line each."""
    for folder in folders:
        values = settings(folder, SCHEDULER)
        if _class(values) == "PNDMScheduler":
            values = {"skip_prk_steps": False, **values}
        own = sampler_of(_class(values))  # of a method that is replaced, its settings are too
        for key, value in sorted(values.items()):
            if key.startswith("_") or key in FOLLOWED:
                continue
            if key not in NEUTRAL or (own and value not in NEUTRAL[key]):
                yield f"{folder.name}: {key} is {value!r}, which is not followed"


def _class(values: Mapping[str, Any]) -> str:
    return str(values.get("_class_name", "")).removeprefix("Flax")
