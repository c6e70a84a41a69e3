"""diffusers' schedulers: what they ask for is followed, refused by name, or named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from unclip.errors import CheckpointError
from unclip.families._schedulers import (
    FOLLOWED,
    NEUTRAL,
    sampler_notes,
    sampling_of,
    schedule_of,
    unfollowed,
)
from unclip.stages.stage import Sampling

DPM: dict[str, Any] = {  # DPMSolverMultistepScheduler() of diffusers 0.33.1, as it saves itself
    "_class_name": "DPMSolverMultistepScheduler",
    "_diffusers_version": "0.33.1",
    "algorithm_type": "dpmsolver++",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "dynamic_thresholding_ratio": 0.995,
    "euler_at_final": False,
    "final_sigmas_type": "zero",
    "flow_shift": 1.0,
    "lambda_min_clipped": float("-inf"),
    "lower_order_final": True,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "rescale_betas_zero_snr": False,
    "sample_max_value": 1.0,
    "solver_order": 2,
    "solver_type": "midpoint",
    "steps_offset": 0,
    "thresholding": False,
    "timestep_spacing": "linspace",
    "trained_betas": None,
    "use_beta_sigmas": False,
    "use_exponential_sigmas": False,
    "use_flow_sigmas": False,
    "use_karras_sigmas": False,
    "use_lu_lambdas": False,
    "variance_type": None,
}
UNIPC = {**DPM, "_class_name": "UniPCMultistepScheduler", "solver_type": "bh2"}
UNIPC |= {"disable_corrector": [], "predict_x0": True, "solver_p": None}
EULER: dict[str, Any] = {
    key: DPM[key] for key in DPM if key in FOLLOWED or key.startswith(("_", "use_"))
}
EULER |= {"_class_name": "EulerDiscreteScheduler", "interpolation_type": "linear"}
EULER |= {"sigma_max": None, "sigma_min": None, "timestep_type": "discrete"}


def write(folder: Path, values: dict[str, Any]) -> Path:
    (folder / "scheduler_config.json").write_text(json.dumps(values))
    return folder


PNDM: dict[str, Any] = {  # as Stable Diffusion v1 has it
    "_class_name": "PNDMScheduler",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}


@pytest.mark.parametrize("values", [DPM, UNIPC, EULER, PNDM])
def test_plain_settings_need_no_word(values: dict[str, Any], tmp_path: Path) -> None:
    assert sampler_notes(write(tmp_path, values)) == ()


@pytest.mark.parametrize(
    ("changes", "sampler", "spacing"),
    [
        ({}, "dpmpp_2m", "uniform"),
        ({"algorithm_type": "sde-dpmsolver++"}, "dpmpp_2m_sde", "uniform"),
        ({"use_karras_sigmas": True}, "dpmpp_2m", "karras"),
        ({"use_exponential_sigmas": True}, "dpmpp_2m", "logsnr"),
        ({"timestep_spacing": "leading", "steps_offset": 1}, "dpmpp_2m", "leading_after"),
    ],
)
def test_what_is_followed(
    changes: dict[str, Any], sampler: str, spacing: str, tmp_path: Path
) -> None:
    folder = write(tmp_path, {**DPM, **changes})
    sampling = sampling_of(folder, Sampling())
    assert (sampling.sampler, sampling.spacing) == (sampler, spacing)
    assert sampler_notes(folder) == ()


def test_pndm_is_followed_and_another_warm_up_is_named(tmp_path: Path) -> None:
    sampling = sampling_of(write(tmp_path, PNDM), Sampling())
    assert (sampling.sampler, sampling.spacing) == ("pndm", "leading_after")
    runge = {key: value for key, value in PNDM.items() if key != "skip_prk_steps"}
    for values in (runge, {**runge, "skip_prk_steps": False}):
        (note,) = sampler_notes(write(tmp_path, values))
        assert note == f"{tmp_path.name}: skip_prk_steps is False, which is not followed"


def test_fresh_noise_comes_with_its_sampler(tmp_path: Path) -> None:
    sde = {**DPM, "algorithm_type": "sde-dpmsolver++"}
    assert sampling_of(write(tmp_path, sde), Sampling(eta=0.0)).eta is None


def test_exponential_sigmas_are_the_peers(tmp_path: Path) -> None:
    """diffusers' formula: even in ln(sigma), sigma² = (1 − ᾱ)/ᾱ."""
    folder = write(tmp_path, {**DPM, "use_exponential_sigmas": True})
    schedule = schedule_of(folder)
    levels = schedule.grid(7, sampling_of(folder, Sampling()).spacing)[:-1]
    ours = torch.stack([level.sigma / level.alpha for level in levels]).double()
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    bar = torch.cumprod(1 - betas, 0)
    sigmas = ((1 - bar) / bar) ** 0.5
    theirs = torch.linspace(float(sigmas[-1].log()), float(sigmas[0].log()), 7).double().exp()
    assert torch.allclose(ours, theirs, rtol=1e-4)


def test_the_last_step_may_end_at_the_first_timestep(tmp_path: Path) -> None:
    """`final_sigmas_type`: sigma_min is that of timestep 0, where the peer leaves the picture."""
    ends = {}
    for kind in ("zero", "sigma_min"):
        values = {**DPM, "final_sigmas_type": kind, "timestep_spacing": "trailing"}
        ends[kind] = schedule_of(write(tmp_path, values)).grid(5, "trailing")[-1]
    assert float(ends["zero"].sigma) == 0
    assert float(ends["sigma_min"].sigma) == pytest.approx(0.00085**0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"use_beta_sigmas": True}, "use_beta_sigmas is True"),
        ({"use_lu_lambdas": True}, "use_lu_lambdas is True"),
        ({"algorithm_type": "dpmsolver"}, "algorithm_type is 'dpmsolver'"),
        ({"solver_order": 3}, "solver_order is 3"),
        ({"solver_type": "heun"}, "solver_type is 'heun'"),
        ({"lambda_min_clipped": -5.1}, "lambda_min_clipped is -5.1"),
        ({"shift_terminal": 0.02}, "shift_terminal is 0.02"),
        ({"a_setting_of_next_year": None}, "a_setting_of_next_year is None"),
    ],
)
def test_what_is_not_followed_is_named(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    (note,) = sampler_notes(write(tmp_path, {**DPM, **changes}))
    assert note == f"{tmp_path.name}: {words}, which is not followed"


@pytest.mark.parametrize(
    "changes",
    [{"use_flow_sigmas": True}, {"rescale_betas_zero_snr": True}, {"final_sigmas_type": "half"}],
)
def test_what_would_be_another_process_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    (name,) = changes
    with pytest.raises(CheckpointError, match=rf"scheduler_config\.json: {name} is"):
        schedule_of(write(tmp_path, {**DPM, **changes}))


def test_a_method_that_is_replaced_takes_its_settings_with_it(tmp_path: Path) -> None:
    """But for those that nobody knows."""
    other = {**DPM, "_class_name": "DEISMultistepScheduler", "solver_order": 3, "news": 1}
    method, news = sampler_notes(write(tmp_path, other))
    assert method.startswith("published with DEISMultistepScheduler; drawn with DDIM here")
    assert news == f"{tmp_path.name}: news is 1, which is not followed"


def test_a_setting_is_either_followed_or_neutral() -> None:
    assert not FOLLOWED & set(NEUTRAL)


def test_priors_and_upsamplers_are_held_to_it_too(tmp_path: Path) -> None:
    values = {"_class_name": "UnCLIPScheduler", "variance_type": "fixed_small_log"}
    values |= {"clip_sample": True, "prediction_type": "sample", "thinning": 2}  # type: ignore[dict-item]
    assert list(unfollowed(write(tmp_path, values))) == [
        f"{tmp_path.name}: thinning is 2, which is not followed"
    ]
