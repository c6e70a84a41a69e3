"""Schedules against the formulas of their papers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unclip.diffusion.schedule import Cosine, Edm, Linear, Schedule
from unclip.errors import UsageError
from unclip.rng import BatchRng

DISCRETE = pytest.mark.parametrize("schedule", [Cosine(), Linear(), Cosine(steps=50)])
ALL = pytest.mark.parametrize("schedule", [Cosine(), Linear(), Cosine(steps=50), Edm()])


def cosine_bar(u: float) -> float:
    """Improved DDPM, eq. 17, at u = t / T."""
    return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2


@pytest.mark.parametrize("steps", [50, 1000])
def test_cosine_alpha_bar_is_the_closed_form(steps: int) -> None:
    bar = Cosine(steps=steps).alpha_bar()
    expected = [cosine_bar((i + 1) / steps) / cosine_bar(0) for i in range(steps)]
    # the closed form ends at 0 where the last beta would be 1
    assert bar[:-1].tolist() == pytest.approx(expected[:-1], rel=1e-9)
    assert float(bar[-1]) == pytest.approx(expected[-2] * 0.001, rel=1e-9)


def test_cosine_betas_stop_at_0_999() -> None:
    betas = Cosine().betas()
    assert float(betas[-1]) == 0.999
    assert float(betas[:-1].max()) < 0.999
    assert (betas[1:] >= betas[:-1]).all()
    assert float(betas[0]) == pytest.approx(1 - cosine_bar(0.001) / cosine_bar(0), rel=1e-9)


def test_linear_betas() -> None:
    betas = Linear().betas()
    assert betas.shape == (1000,)
    assert float(betas[0]) == pytest.approx(1e-4)
    assert float(betas[-1]) == pytest.approx(0.02)
    assert (betas[1:] - betas[:-1]).tolist() == pytest.approx([(0.02 - 1e-4) / 999] * 999)
    assert float(Linear().alpha_bar()[499]) == pytest.approx(0.0786, abs=1e-4)


def test_any_number_of_linear_steps_ends_about_equally_noisy() -> None:
    ends = [float(Linear(steps=n).alpha_bar()[-1].log()) for n in (250, 1000, 4000)]
    assert ends == pytest.approx([ends[1]] * 3, rel=0.05)


@DISCRETE
def test_variance_is_preserved_and_noise_rises(schedule: Cosine | Linear) -> None:
    level = schedule.level(torch.arange(schedule.steps))
    assert torch.allclose(level.alpha**2 + level.sigma**2, torch.ones(()))
    assert (level.sigma[1:] > level.sigma[:-1]).all()
    bar = schedule.alpha_bar()
    assert torch.allclose(level.alpha.double() ** 2, bar, rtol=1e-6)
    assert torch.allclose(level.snr(), (bar / (1 - bar)).float(), rtol=1e-4)
    assert level.t.tolist() == list(range(schedule.steps))


@DISCRETE
@pytest.mark.parametrize("outside", [-1.0, "steps"])
def test_a_timestep_outside_is_an_error(schedule: Cosine, outside: float | str) -> None:
    t = torch.tensor([0.0, schedule.steps if outside == "steps" else float(outside)])
    with pytest.raises(UsageError, match=f"outside 0 to {schedule.steps - 1}"):
        schedule.level(t)


@ALL
@pytest.mark.parametrize("steps", [1, 2, 7, 50])
def test_a_grid_falls_from_noise_to_clean(schedule: Schedule, steps: int) -> None:
    levels = schedule.grid(steps)
    assert len(levels) == steps + 1
    sigmas = [float(level.sigma) for level in levels]
    assert sigmas == sorted(sigmas, reverse=True)
    assert len(set(sigmas)) == steps + 1
    assert (float(levels[-1].alpha), sigmas[-1]) == (1.0, 0.0)
    assert all(level.t.shape == level.alpha.shape == () for level in levels)


def test_a_discrete_grid_is_even_and_holds_both_ends() -> None:
    t = [float(level.t) for level in Cosine().grid(25)[:-1]]
    assert t == [round(999 * i / 24) for i in range(24, -1, -1)]
    assert [float(level.t) for level in Cosine(steps=8).grid(8)] == [7, 6, 5, 4, 3, 2, 1, 0, 0]


@pytest.mark.parametrize("steps", [0, -3])
@ALL
def test_a_grid_has_at_least_one_step(schedule: Schedule, steps: int) -> None:
    with pytest.raises(UsageError, match=f"steps must be at least 1, got {steps}"):
        schedule.grid(steps)


def test_a_discrete_grid_has_at_most_the_schedules_steps() -> None:
    with pytest.raises(UsageError, match="steps must be at most 50, the schedule's own, got 51"):
        Cosine(steps=50).grid(51)


def test_the_edm_grid_is_equation_5() -> None:
    edm = Edm(sigma_min=0.01, sigma_max=50.0, rho=5.0)
    a, b = 50 ** (1 / 5), 0.01 ** (1 / 5)
    expected = [(a + i / 9 * (b - a)) ** 5 for i in range(10)]
    levels = edm.grid(10)
    assert [float(level.sigma) for level in levels[:-1]] == pytest.approx(expected, rel=1e-5)
    assert all(float(level.alpha) == 1 for level in levels)


@given(sigma=st.floats(1e-3, 1e3))
def test_edm_sigma_and_t_go_both_ways(sigma: float) -> None:
    level = Edm().of_sigma(torch.tensor(sigma))
    assert float(level.t) == pytest.approx(1000 * math.log(sigma) / 4, rel=1e-4, abs=1e-3)
    assert float(Edm().level(level.t).sigma) == pytest.approx(sigma, rel=1e-4)


def test_training_levels_are_uniform_or_log_normal() -> None:
    t = Cosine(steps=4).sample(BatchRng(0, 4000)).t
    counts = torch.bincount(t.long(), minlength=4)
    assert counts.shape == (4,)
    assert (counts - 1000).abs().max() < 120
    logs = Edm(p_mean=-0.4, p_std=1.5).sample(BatchRng(0, 20_000)).sigma.log()
    assert float(logs.mean()) == pytest.approx(-0.4, abs=0.05)
    assert float(logs.std()) == pytest.approx(1.5, abs=0.05)


def test_before_is_one_timestep_less() -> None:
    schedule = Linear()
    level = schedule.before(schedule.level(torch.tensor([0.0, 1.0, 999.0])))
    expected = schedule.level(torch.tensor([0.0, 0.0, 998.0]))
    assert level.t.tolist() == [0, 0, 998]
    assert level.alpha.tolist() == [1.0, *expected.alpha[1:].tolist()]
    assert level.sigma.tolist() == [0.0, *expected.sigma[1:].tolist()]


def test_before_walks_down_the_edm_grid() -> None:
    edm, grid = Edm(), Edm().grid(1000)
    for index in (0, 400, 998):
        before = edm.before(grid[index])
        assert float(before.sigma) == pytest.approx(float(grid[index + 1].sigma), rel=1e-3)
    assert float(edm.before(grid[999]).sigma) == pytest.approx(edm.sigma_min)
