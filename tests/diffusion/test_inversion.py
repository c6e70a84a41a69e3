"""Inversion: DDIM up and down again is where it began, and a fixed point that is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unclip.diffusion.inversion import fixed_point, implicit, noisy
from unclip.diffusion.samplers import ddim
from unclip.diffusion.schedule import Cosine, Linear
from unclip.rng import Rng
from unclip.types import Denoiser, Level, Prediction

DATA = torch.tensor([[-1.0, 0.2], [-0.4, 0.5], [0.0, 0.0], [0.9, -0.7], [1.6, 1.1]]).double()


@pytest.fixture
def two(mixture: Any) -> Any:
    return mixture(((-0.8, 0.3), (0.9, -0.4)), (0.4, 0.6), 0.3)


def there_and_back(denoise: Denoiser, schedule: Any, steps: int, rounds: int) -> float:
    """By how much a round trip misses."""
    levels, rng = schedule.grid(steps), Rng(range(len(DATA)))
    up = ddim(implicit(denoise, levels[::-1], rounds), DATA, levels[::-1], rng)
    return float((ddim(denoise, up, levels, rng) - DATA).abs().max())


@pytest.mark.parametrize("schedule", [Cosine(), Linear()], ids=["cosine", "linear"])
def test_up_and_down_again_is_where_it_began(schedule: Any, two: Any) -> None:
    errors = [there_and_back(two.denoise, schedule, 20, rounds) for rounds in (1, 2, 3, 5)]
    assert errors[-1] < 1e-4
    assert errors[0] > 0.01
    assert errors[-1] < errors[1] / 10 < errors[0]


@given(st.integers(1, 60), st.floats(0, 1))
def test_levels_are_left_out_up_to_a_share_of_noise(steps: int, least: float) -> None:
    """Of a variance-preserving schedule sigma is that share; one step always stays."""
    levels = Cosine().grid(steps)[::-1]
    kept = noisy(levels, least)
    assert kept == levels[len(levels) - len(kept) :] and len(kept) >= 2
    dropped = [float(one.sigma) for one in levels[: len(levels) - len(kept)]]
    assert all(sigma < least for sigma in dropped)
    assert float(kept[0].sigma) >= least - 1e-6 or len(kept) == 2


def test_plain_inversion_needs_many_more_steps(two: Any) -> None:
    best = there_and_back(two.denoise, Cosine(), 20, 5)
    assert there_and_back(two.denoise, Cosine(), 100, 1) > 10 * best


def test_the_network_is_asked_so_often_and_never_about_clean_data(two: Any) -> None:
    asked: list[float] = []

    def spy(x: Tensor, level: Level) -> Prediction:
        asked.append(float(level.sigma))
        result: Prediction = two.denoise(x, level)
        return result

    levels = Cosine().grid(6)[::-1]
    ddim(implicit(spy, levels, 4), DATA, levels, Rng(range(5)))
    assert asked == [float(level.sigma) for level in levels[1:] for _ in range(4)]
    assert min(asked) > 0


def test_one_round_is_plain_inversion(two: Any) -> None:
    """eps at the level of arrival, of the x that was there."""
    now, then = Cosine().grid(8)[::-1][3:5]
    said = implicit(two.denoise, [now, then], 1)(DATA, now)
    assert torch.equal(said.eps, two.denoise(DATA, then).eps)
    assert torch.allclose(now.alpha * said.x0 + now.sigma * said.eps, DATA)


def linear(seed: int, dim: int, reach: float) -> tuple[Tensor, Tensor]:
    """(3, dim, dim) maps of spectral norm `reach`, and (3, dim) shifts."""
    rng = Rng([f"{seed}/{i}" for i in range(3)])
    maps = rng.randn(dim, dim).double()
    maps = reach * maps / torch.linalg.matrix_norm(maps, 2)[:, None, None]
    return maps, rng.randn(dim).double()


@given(seed=st.integers(0, 10**6), dim=st.integers(1, 4), reach=st.floats(0.05, 0.6))
def test_a_linear_contraction_is_solved_in_as_many_rounds_as_it_has_dimensions(
    seed: int, dim: int, reach: float
) -> None:
    """Up to the regularisation that keeps rounding from deciding: a thousandth of the way."""
    maps, shift = linear(seed, dim, reach)
    solution = torch.linalg.solve(torch.eye(dim).double() - maps, shift)

    def fn(x: Tensor) -> Tensor:
        return (maps @ x[..., None])[..., 0] + shift

    start = torch.zeros(3, dim).double()
    missed = (fixed_point(fn, start, dim + 2) - solution).norm(dim=1)
    plain = start
    for _ in range(dim + 2):
        plain = fn(plain)
    assert (missed <= 0.03 * solution.norm(dim=1) + 1e-9).all()
    if dim == 1:
        assert (missed <= (plain - solution).norm(dim=1) + 1e-9).all()


def test_a_scalar_contraction_is_all_but_exact_where_plain_iteration_crawls() -> None:
    found = fixed_point(lambda x: 0.95 * x + 1, torch.zeros(1, 1).double(), 5)
    plain = 20 * (1 - 0.95**5)
    assert float(found) == pytest.approx(20, rel=1e-5)
    assert abs(plain - 20) > 10


def test_no_round_is_the_start_and_one_is_the_map() -> None:
    start = torch.randn(2, 3, 4)
    assert torch.equal(fixed_point(torch.cos, start, 0), start)
    assert torch.equal(fixed_point(torch.cos, start, 1), torch.cos(start))
    found = fixed_point(torch.cos, torch.zeros(2, 3, 4).double(), 12)
    assert found.shape == (2, 3, 4)
    assert torch.allclose(found, torch.tensor(0.7390851332).double(), atol=1e-6)


def test_each_sample_is_solved_by_itself() -> None:
    maps, shift = linear(0, 5, 0.9)

    def solve(of: slice, scale: float = 1.0) -> Tensor:
        factor = torch.tensor([[1.0], [scale], [1.0]]).double()[of]
        return fixed_point(
            lambda x: (maps[of] @ x[..., None])[..., 0] + factor * shift[of],
            torch.zeros_like(shift[of]),
            4,
        )

    together, other = solve(slice(0, 3)), solve(slice(0, 3), 1000.0)
    for index in range(3):
        alone = solve(slice(index, index + 1))
        assert torch.allclose(alone[0], together[index], atol=1e-9)
    assert torch.allclose(together[[0, 2]], other[[0, 2]], atol=1e-9)


def test_a_solution_is_not_left_again() -> None:
    """Where residuals vanish the least squares have nothing to stand on."""
    found = fixed_point(lambda x: 0 * x + 2, torch.full((1, 3), 2.0), 6)
    assert torch.equal(found, torch.full((1, 3), 2.0))
    assert math.isfinite(float(fixed_point(lambda x: x, torch.ones(1, 1), 6)))
