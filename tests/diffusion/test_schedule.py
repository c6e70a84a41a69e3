"""Schedules against the formulas of their papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unclip.diffusion.schedule import (
    Cosine,
    Edm,
    Linear,
    ScaledLinear,
    Schedule,
    _alpha_bar,
)
from unclip.diffusion.spacing import SPACINGS
from unclip.errors import UsageError
from unclip.rng import BatchRng
from unclip.types import Level

EVERY = [Cosine(), Linear(), ScaledLinear(), Cosine(steps=50)]
DISCRETE = pytest.mark.parametrize("schedule", EVERY)
SPACING = pytest.mark.parametrize("spacing", SPACINGS)
ALL = pytest.mark.parametrize("schedule", [*EVERY, Edm()])


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


@DISCRETE
def test_fractions_of_a_timestep_are_even_in_the_log_snr(schedule: Cosine | Linear) -> None:
    last = schedule.steps - 1
    for t in (0.25, 20.5, last - 0.5):
        left, level, right = (schedule.level(torch.tensor(u)) for u in (t // 1, t, t // 1 + 1))
        a, b = float(left.snr().log()), float(right.snr().log())
        assert float(level.snr().log()) == pytest.approx(a + t % 1 * (b - a), rel=1e-4, abs=1e-4)
        assert float(level.alpha**2 + level.sigma**2) == pytest.approx(1)
        assert float(level.t) == t


@DISCRETE
def test_whole_timesteps_are_read_from_the_table(schedule: Cosine | Linear) -> None:
    t, bar = torch.arange(schedule.steps), torch.cumprod(1 - schedule.betas(), dim=0)
    level = schedule.level(t)
    assert torch.equal(level.alpha, bar.sqrt().float())
    assert torch.equal(level.sigma, (1 - bar).sqrt().float())
    assert torch.equal(schedule.level(t.float()).alpha, level.alpha)


def test_alpha_bar_is_computed_once_and_fit_for_training() -> None:
    _alpha_bar.cache_clear()
    with torch.inference_mode(), torch.device("meta"):
        first = Cosine(steps=33).alpha_bar()
    assert first.device.type == "cpu"
    assert not first.is_inference()
    assert Cosine(steps=33).alpha_bar() is first
    assert not torch.equal(Linear(steps=33).alpha_bar(), first)
    assert len(Cosine(steps=34).alpha_bar()) == 34


def noise_ratios(levels: list[Level]) -> list[float]:
    return [float(level.sigma / level.alpha) for level in levels]


@ALL
@SPACING
@pytest.mark.parametrize("steps", [1, 2, 7, 27])
def test_a_grid_falls_from_noise_to_clean(schedule: Schedule, spacing: str, steps: int) -> None:
    levels = schedule.grid(steps, spacing)
    assert len(levels) == steps + 1
    ratios = noise_ratios(levels)
    assert ratios == sorted(ratios, reverse=True)
    assert len(set(ratios)) == steps + 1
    assert (float(levels[-1].alpha), float(levels[-1].sigma)) == (1.0, 0.0)
    assert all(level.t.shape == level.alpha.shape == () for level in levels)
    fields = [value for level in levels for value in (level.t, level.alpha, level.sigma)]
    assert all(value.dtype == torch.float32 and value.isfinite() for value in fields)
    for level in levels[:-1]:
        again = schedule.level(level.t)
        assert float(again.sigma / again.alpha) == pytest.approx(
            float(level.sigma / level.alpha), rel=1e-3
        )


@ALL
@SPACING
def test_a_grid_holds_the_noisy_end_and_the_clear_end_but_for_its_name(
    schedule: Schedule, spacing: str
) -> None:
    ends = noise_ratios(schedule.grid(2))
    ratios = noise_ratios(schedule.grid(20, spacing))
    if spacing in ("leading", "leading_after", "fast27"):
        assert ratios[0] < (1 if spacing == "fast27" else 0.9) * ends[0]
    else:
        assert ratios[0] == pytest.approx(ends[0], rel=1e-4)
    if spacing == "leading_after":
        assert ratios[-2] > ends[1]
    elif spacing == "trailing":
        assert ratios[-2] > 1.1 * ends[1]
    else:
        assert ratios[-2] == pytest.approx(ends[1], rel=1e-4)


@SPACING
def test_a_grid_of_every_step_is_the_schedule(spacing: str) -> None:
    """Where a spacing speaks of timesteps, all of them are all of them."""
    if spacing == "fast27":
        with pytest.raises(UsageError, match=r"^spacing fast27 has at most 21 steps, got 40$"):
            Linear(steps=40).grid(40, spacing)
        return
    t = [float(level.t) for level in Linear(steps=40).grid(40, spacing)[:-1]]
    if spacing in ("uniform", "leading", "leading_after", "trailing"):
        assert t == list(range(39, -1, -1))
    else:
        assert (t[0], t[-1]) == pytest.approx((39, 0), abs=1e-6)


@ALL
@pytest.mark.parametrize(
    ("spacing", "scale"),
    [("karras", lambda s: s ** (1 / 7)), ("logsnr", torch.log)],
)
def test_some_grids_are_even_in_the_noise(
    schedule: Schedule, spacing: str, scale: Callable[[Tensor], Tensor]
) -> None:
    ratios = torch.tensor(noise_ratios(schedule.grid(24, spacing)[:-1]), dtype=torch.float64)
    steps = scale(ratios).diff()
    assert steps.tolist() == pytest.approx([float(steps.mean())] * 23, rel=0.01)


def test_the_default_is_karlos_rule() -> None:
    """diffusers' UnCLIPScheduler, as numpy writes it; ADM rounds only exact halves otherwise."""
    for steps in range(2, 1001):
        karlo = (np.arange(steps) * (999 / (steps - 1))).round()[::-1]
        assert SPACINGS["uniform"](Cosine(), steps).t.tolist() == karlo.tolist()
    for steps in (10, 25, 50, 64, 100, 250):
        exact = [round(Fraction(999 * i, steps - 1)) for i in range(steps)]
        assert [float(level.t) for level in Cosine().grid(steps)[-2::-1]] == exact


@pytest.mark.parametrize("steps", [1, 2, 5, 16, 30, 64, 999, 1000])
def test_leading_and_trailing_are_those_of_the_paper(steps: int) -> None:
    """arXiv 2305.08891, table 2, as numpy writes it."""
    leading = (np.arange(steps) * (1000 // steps))[::-1]
    trailing = np.round(np.arange(1000, 0, -1000 / steps)) - 1
    assert [float(level.t) for level in Cosine().grid(steps, "leading")[:-1]] == leading.tolist()
    assert [float(level.t) for level in Linear().grid(steps, "trailing")[:-1]] == trailing.tolist()


@pytest.mark.parametrize("steps", [1, 3, 20, 50, 500])
def test_leading_after_is_one_timestep_later(steps: int) -> None:
    expected = (np.arange(steps) * (1000 // steps) + 1)[::-1]
    grid = ScaledLinear().grid(steps, "leading_after")
    assert [float(level.t) for level in grid[:-1]] == expected.tolist()


def test_fast27_is_that_of_glide() -> None:
    """10, 10, 3, 2 and 2 of five times 200 timesteps, the noisiest of them two lower."""
    t = [int(level.t) for level in Linear().grid(27, "fast27")[-2::-1]]
    sections = [np.linspace(200 * i, 200 * i + 199, n) for i, n in enumerate((10, 10, 3, 2, 2))]
    expected = [round(one) for section in sections for one in section.tolist()]
    assert t == [*expected[:-1], 997]
    assert t[:3] == [0, 22, 44] and t[-7:] == [400, 500, 599, 600, 799, 800, 997]


@pytest.mark.parametrize("steps", [1, 2, 5, 13, 54, 200, 540])
def test_fast27_divides_other_numbers_in_proportion(steps: int) -> None:
    t = [float(level.t) for level in Linear().grid(steps, "fast27")[:-1]]
    assert len(set(t)) == steps and t[0] == 997
    shares = [sum(200 * i <= one < 200 * (i + 1) for one in t) for i in range(5)]
    if steps % 27 == 0:
        assert shares == [steps // 27 * one for one in (10, 10, 3, 2, 2)]
    with pytest.raises(UsageError, match=r"^spacing fast27 has at most 540 steps, got 543$"):
        Linear().grid(543, "fast27")


def test_linspace_lies_between_timesteps() -> None:
    """numpy's, as k-diffusion and diffusers' Euler have it."""
    for steps in (2, 6, 20, 28):
        t = [float(level.t) for level in ScaledLinear().grid(steps, "linspace")[:-1]]
        assert t == pytest.approx(np.linspace(999, 0, steps).tolist(), rel=1e-5)


def test_scaled_linear_betas_are_even_in_their_root() -> None:
    roots = ScaledLinear().betas().sqrt()
    assert float(roots[0] ** 2) == pytest.approx(0.00085)
    assert float(roots[-1] ** 2) == pytest.approx(0.012)
    assert (roots[1:] - roots[:-1]).tolist() == pytest.approx(
        [(0.012**0.5 - 0.00085**0.5) / 999] * 999
    )
    # Stable Diffusion's published noisiest level still shows a trace of the picture
    assert float(ScaledLinear().alpha_bar()[-1]) == pytest.approx(0.00466, abs=1e-5)


def test_a_grid_may_end_at_the_first_timestep() -> None:
    clean, first = ScaledLinear(), ScaledLinear(last="first")
    for spacing in ("leading_after", "trailing"):
        a, b = clean.grid(20, spacing), first.grid(20, spacing)
        assert a[:-1] == b[:-1]
        assert float(a[-1].sigma) == 0
        assert float(b[-1].t) == 0
        assert float(b[-1].sigma) == pytest.approx(0.00085**0.5)
    for spacing in ("uniform", "leading", "karras"):  # which have been there
        assert float(first.grid(20, spacing)[-1].sigma) == 0


def test_leading_and_trailing_leave_out_an_end_of_the_edm_grid() -> None:
    edm, root = Edm(), torch.tensor(noise_ratios(Edm().grid(1001)[:-1])) ** (1 / 7)
    for spacing, gap in (("leading", slice(0, 1)), ("trailing", slice(-1, None))):
        found = torch.tensor(noise_ratios(edm.grid(7, spacing)[:-1])) ** (1 / 7)
        even = torch.linspace(float(root[0]), float(root[-1]), 8)
        kept = [value for i, value in enumerate(even.tolist()) if i not in range(8)[gap]]
        assert found.tolist() == pytest.approx(kept, abs=0.002)


def test_an_unknown_spacing_names_the_nearest() -> None:
    assert SPACINGS["karras"].__name__ == "karras"
    with pytest.raises(UsageError, match=r"unknown spacing 'karas' \(did you mean 'karras'\?\)"):
        Cosine().grid(5, "karas")


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


@pytest.mark.parametrize("noisy", [0.5, 1.0, 2.0])
def test_training_can_draw_more_noisy_levels(noisy: float) -> None:
    """The share of timesteps up to a part p of all is p ** noisy; every one is the schedule's."""
    schedule = Cosine(steps=50, noisy=noisy)
    drawn = schedule.sample(BatchRng(0, 20_000))
    for part in (0.2, 0.5, 0.8):
        share = float((drawn.t < part * 50).float().mean())
        assert abs(share - part**noisy) < 0.015
    again = schedule.level(drawn.t)
    assert torch.equal(drawn.alpha, again.alpha) and torch.equal(drawn.sigma, again.sigma)


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
