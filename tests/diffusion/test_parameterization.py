"""What a network's output means: a perfect network gives back x0 and eps exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.diffusion.parameterization import Parameterization
from unclip.diffusion.schedule import Cosine, Edm, Schedule
from unclip.types import Level, Prediction

KIND = pytest.mark.parametrize("kind", ["eps", "x0", "v"])
DATA_STD = pytest.mark.parametrize("data_std", [1.0, 0.5])
SCHEDULE = pytest.mark.parametrize("schedule", [Cosine(), Edm()])


def noised(
    schedule: Schedule, data_std: float, batch: int = 6
) -> tuple[Tensor, Tensor, Tensor, Level]:
    """x0, eps and x_t (B, 3, 4, 4) at B different levels, and the levels."""
    torch.manual_seed(0)
    sigmas = torch.linspace(0.05, 20, batch)
    t = torch.linspace(50, 900, batch) if isinstance(schedule, Cosine) else 250 * sigmas.log()
    level = schedule.level(t)
    x0, eps = data_std * torch.randn(batch, 3, 4, 4), torch.randn(batch, 3, 4, 4)
    alpha, sigma = level.like(x0)
    return x0, eps, alpha * x0 + sigma * eps, level


@KIND
@DATA_STD
@SCHEDULE
def test_a_perfect_network_gives_back_data_and_noise(
    kind: Any, data_std: float, schedule: Schedule
) -> None:
    x0, eps, x, level = noised(schedule, data_std)
    p = Parameterization(kind=kind, data_std=data_std)
    target = p.target(x0, eps, level)
    prediction = p.denoiser(lambda x_in, t: target)(x, level)
    assert torch.allclose(prediction.x0, x0, atol=2e-4 * data_std)
    assert torch.allclose(prediction.eps, eps, atol=2e-4)
    assert prediction.variance is None
    error = p.error(prediction, x0, eps, level)
    assert error.shape == x0.shape
    assert float(error.max()) < 1e-6


@KIND
@DATA_STD
@SCHEDULE
def test_x0_and_eps_always_add_up_to_the_noisy_x(
    kind: Any, data_std: float, schedule: Schedule
) -> None:
    _, _, x, level = noised(schedule, data_std)
    output = torch.randn_like(x)
    p = Parameterization(kind=kind, data_std=data_std)
    prediction = p.denoiser(lambda *_: output)(x, level)
    alpha, sigma = level.like(x)
    assert torch.allclose(alpha * prediction.x0 + sigma * prediction.eps, x, atol=1e-4)


@DATA_STD
@SCHEDULE
def test_the_network_sees_unit_variance_and_the_timestep(
    data_std: float, schedule: Schedule
) -> None:
    torch.manual_seed(0)
    t = torch.tensor(300.0)
    level = schedule.level(t)
    x0, eps = data_std * torch.randn(40, 5000), torch.randn(40, 5000)
    seen: list[Tensor] = []

    def net(x_in: Tensor, t_in: Tensor) -> Tensor:
        seen.extend([x_in, t_in])
        return x_in

    Parameterization(data_std=data_std).denoiser(net)(level.alpha * x0 + level.sigma * eps, level)
    assert float(seen[0].std()) == pytest.approx(1, abs=0.01)
    assert seen[1].tolist() == [300.0] * 40


@DATA_STD
def test_v_on_the_edm_schedule_is_edms_preconditioning(data_std: float) -> None:
    """EDM, table 1: D = c_skip x + c_out F(c_in x), with F = -v."""
    _, _, x, level = noised(Edm(), data_std)
    sigma = level.sigma.view(-1, 1, 1, 1)
    output = torch.randn_like(x)
    total = sigma**2 + data_std**2
    c_skip, c_out = data_std**2 / total, sigma * data_std / total.sqrt()
    expected_in = x / total.sqrt()
    seen: list[Tensor] = []

    def net(x_in: Tensor, t: Tensor) -> Tensor:
        seen.append(x_in)
        return -output

    prediction = Parameterization(kind="v", data_std=data_std).denoiser(net)(x, level)
    assert torch.allclose(seen[0], expected_in, atol=1e-6)
    assert torch.allclose(prediction.x0, c_skip * x + c_out * output, rtol=1e-5, atol=1e-5)


def test_targets_on_a_cosine_schedule_are_the_usual_ones() -> None:
    x0, eps, _, level = noised(Cosine(), 1.0)
    alpha, sigma = level.like(x0)
    expected = {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0}
    for kind, target in expected.items():
        got = Parameterization(kind=kind).target(x0, eps, level)
        assert torch.allclose(got, target, atol=1e-5)


@DATA_STD
def test_min_snr_weights(data_std: float) -> None:
    """arXiv 2303.09556, section 3.4, for data of standard deviation 1: x0, eps, v."""
    level = Cosine().level(torch.tensor([10.0, 400.0, 990.0]))
    snr = (level.alpha / level.sigma) ** 2 * data_std**2
    least = snr.clamp(max=5.0)
    expected = {"x0": least, "eps": least / snr, "v": least / (snr + 1)}
    assert (snr > 5).tolist() == [True, False, False]
    for kind, weight in expected.items():
        got = Parameterization(kind=kind, data_std=data_std).snr_weight(level, 5.0)
        assert torch.allclose(got, weight, rtol=1e-5)


@KIND
def test_min_snr_weighs_the_same_error_of_x0_alike_for_every_output(kind: Any) -> None:
    x0, eps, _, level = noised(Cosine(), 1.0)
    alpha, sigma = level.like(x0)
    wrong = x0 + 0.1 * torch.randn_like(x0)
    guess = Prediction(wrong, eps - alpha / sigma * (wrong - x0))
    p = Parameterization(kind=kind)
    loss = p.snr_weight(level, 5.0) * p.error(guess, x0, eps, level).flatten(1).mean(1)
    snr = level.snr()
    expected = snr.clamp(max=5.0) * ((wrong - x0) ** 2).flatten(1).mean(1)
    assert torch.allclose(loss, expected, rtol=1e-3)


def test_a_learned_variance_is_split_off() -> None:
    _, _, x, level = noised(Cosine(), 1.0)
    output = torch.cat([torch.zeros_like(x), torch.full_like(x, 0.5)], dim=1)
    p = Parameterization(kind="eps", learned_variance=True)
    prediction = p.denoiser(lambda *_: output)(x, level)
    assert prediction.variance is not None
    assert prediction.variance.shape == prediction.x0.shape == x.shape
    assert torch.equal(prediction.variance, torch.full_like(x, 0.75))
    assert torch.equal(prediction.eps, torch.zeros_like(x))


def test_the_mathematics_is_float32_whatever_the_network_computes_in() -> None:
    x = torch.randn(2, 3)
    level = Level(torch.tensor(5.0), torch.tensor(0.8), torch.tensor(0.6))
    prediction = Parameterization().denoiser(lambda x_in, t: x_in.bfloat16())(x, level)
    assert prediction.x0.dtype == prediction.eps.dtype == torch.float32
