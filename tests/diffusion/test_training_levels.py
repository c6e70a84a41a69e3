"""Levels and weights of EDM and of flow matching, on a schedule that is neither's."""

from __future__ import annotations

import math

import pytest
import torch

from unclip.diffusion.objective import DiffusionObjective
from unclip.diffusion.parameterization import Parameterization
from unclip.diffusion.schedule import Cosine
from unclip.diffusion.training_levels import FlowTraining
from unclip.errors import UsageError
from unclip.rng import BatchRng
from unclip.types import Level

COSINE = Cosine()


def test_flow_levels_are_logit_normal() -> None:
    objective = DiffusionObjective.parse({"flow": {"mean": -0.5, "std": 0.6}})
    level = objective.level(COSINE, BatchRng(0, 20_000))
    share = level.alpha / (level.alpha + level.sigma)
    logit = share.logit()
    assert float(logit.mean()) == pytest.approx(-0.5, abs=4 * 0.6 / math.sqrt(20_000))
    assert float(logit.std()) == pytest.approx(0.6, rel=0.03)
    below = float((logit < -0.5 + 0.6).float().mean())
    assert below == pytest.approx(0.8413, abs=0.01)  # of a normal variable, within one deviation


@pytest.mark.parametrize("kind", ["x0", "eps", "v"])
def test_the_weighted_error_is_that_of_the_velocity(kind: str) -> None:
    """x_s = s·x0 + (1 - s)·eps moves with x0 - eps; the network saw it brought to unit variance."""
    torch.manual_seed(0)
    parameterization = Parameterization.parse({"kind": kind})
    s = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    level = COSINE.at_log_snr(2 * s.logit())
    x0, eps, output = torch.randn(3, 3, 7, dtype=torch.float64).unbind(1)
    alpha, sigma = level.like(x0)
    x = alpha * x0 + sigma * eps
    said = parameterization.denoiser(lambda x, t: output)(x, level)
    error = parameterization.error(said, x0, eps, level).mean(1)
    ours = error * parameterization.x0_weight(level, FlowTraining().weight)
    x_s = s[:, None] * x0 + (1 - s[:, None]) * eps
    noise = (x_s - s[:, None] * said.x0) / (1 - s[:, None])  # of a picture that is `said`
    theirs = ((said.x0 - noise) - (x0 - eps)).pow(2).mean(1)
    assert torch.allclose(ours.double(), theirs.double(), rtol=1e-3)


def test_a_clean_picture_counts_no_more_than_the_floor_lets_it() -> None:
    level = Level(torch.tensor(0.0), torch.tensor(0.999), torch.tensor(0.001))
    assert float(FlowTraining(floor=0.05).weight(level.snr())) == pytest.approx(400)


@pytest.mark.parametrize("other", ["edm", "v_gamma", "min_snr_gamma"])
def test_one_weighting_at_a_time(other: str) -> None:
    with pytest.raises(UsageError, match="weights of its own: leave out"):
        DiffusionObjective.parse({"flow": {}, other: {} if other == "edm" else 5.0})
