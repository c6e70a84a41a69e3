"""Consistency distillation against the path of a Gaussian, whose end is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.diffusion.consistency import (
    consistency_target,
    paths_of,
    sample_segment,
    weighted_distance,
)
from unclip.diffusion.few_steps import ConsistencyObjective
from unclip.diffusion.samplers import ddim
from unclip.diffusion.schedule import Cosine
from unclip.errors import UsageError
from unclip.rng import BatchRng
from unclip.types import Denoiser, Level, Prediction

STD = 0.5  # of the data
SCHEDULE = Cosine()


def denoiser(x: Tensor, level: Level) -> Prediction:
    """The mean of x0 given x_t, for x0 of N(0, STD²)."""
    alpha, sigma = level.like(x)
    x0 = alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * x
    return Prediction(x0, (x - alpha * x0) / sigma.clamp(min=1e-6))


def end(x: Tensor, level: Level) -> Prediction:
    """Where the path through x_t ends: along it x_t keeps its place in its distribution."""
    alpha, sigma = level.like(x)
    return Prediction(STD * x / (alpha**2 * STD**2 + sigma**2).sqrt(), torch.zeros_like(x))


def part_end(parts: int) -> Denoiser:
    """x0 that leads to where the path through x_t ends its part."""
    stops = SCHEDULE.grid(parts, "trailing")[1:]

    def said(x: Tensor, level: Level) -> Prediction:
        alpha, sigma = level.like(x)
        x0 = torch.full_like(x, torch.nan)
        for stop in reversed(stops):
            to_alpha, to_sigma = stop.alpha, stop.sigma
            ended = (
                x * ((to_alpha**2 * STD**2 + to_sigma**2) / (alpha**2 * STD**2 + sigma**2)) ** 0.5
            )
            kept = to_sigma / sigma.clamp(min=1e-9)
            here = sigma > to_sigma
            x0 = torch.where(here, (ended - kept * x) / (to_alpha - kept * alpha), x0)
        return Prediction(x0, (x - alpha * x0) / sigma.clamp(min=1e-9))

    return said


@pytest.mark.parametrize("parts", [2, 4])
def test_a_path_of_parts_is_drawn_in_as_many_steps(parts: int) -> None:
    """Who knows the end of each part draws as the teacher does in all its steps."""
    x0 = STD * torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    knows, levels = part_end(parts), SCHEDULE.grid(parts, "trailing")
    noise = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    drawn = ddim(knows, noise, levels, BatchRng(0, 64), lambda *_: None, eta=0.0)
    first = levels[0]
    assert torch.allclose(drawn, end(noise, first).x0, atol=1e-4)
    errors = []
    for fine in (16, 64):
        config = ConsistencyObjective(levels=fine, parts=parts, strides=((0, 1),))
        part = sample_segment(x0, SCHEDULE, config, 0.0, BatchRng(0, 64))
        size = fine // parts
        stops = torch.stack([one.sigma for one in SCHEDULE.grid(fine, "trailing")[size::size]])
        assert set(part.stop.sigma.tolist()) == set(stops.tolist())
        assert bool((part.then.sigma >= part.stop.sigma).all())
        assert torch.equal(part.as_sampled, part.now.sigma == levels[-2].sigma)
        target = consistency_target(part, knows, denoiser)
        assert bool(target.isfinite().all())
        said = knows(part.x, part.now).x0
        errors.append(float(weighted_distance(said, target, part.now, config).mean()))
        paths = paths_of(denoiser, x0, SCHEDULE, config, 8, BatchRng("path", 64))
        far = [float(each.mean()) for each in paths.distances(knows, config)]
        assert max(far) < 0.5 / fine
    assert errors[1] < errors[0] / 3


def _errors(levels: int) -> tuple[float, float]:
    """Distance of the path's end, and of the denoiser, from what the student shall say."""
    config = ConsistencyObjective(levels=levels, strides=((0, 1),))
    x0 = STD * torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    part = sample_segment(x0, SCHEDULE, config, 0.0, BatchRng(0, 64))
    target = consistency_target(part, end, denoiser)
    said = end(part.x, part.now).x0, denoiser(part.x, part.now).x0
    known, mean = (float(weighted_distance(one, target, part.now, config).mean()) for one in said)
    return known, mean


def test_the_end_of_the_path_is_what_is_learnt() -> None:
    coarse, _ = _errors(8)
    fine, mean = _errors(64)
    assert fine < coarse / 8  # the error of a DDIM step falls with its square
    assert fine < mean / 100


def test_paths_from_noised_data_have_their_ends() -> None:
    """They are DDIM's own; who says the end is right at each point, and the denoiser is not."""
    config = ConsistencyObjective(levels=64)
    x0 = STD * torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    paths = paths_of(denoiser, x0, SCHEDULE, config, 4, BatchRng("path", 64))
    grid = SCHEDULE.grid(64, "trailing")
    assert torch.equal(paths.levels.sigma, torch.stack([grid[n].sigma for n in (0, 16, 32, 48)]))
    drawn = BatchRng("path", 64).randn(3, 8, 8)
    assert torch.allclose(paths.x[:, 0], grid[0].alpha * x0 + grid[0].sigma * drawn)
    for place in range(4):
        x, left = paths.x[:, place], grid[16 * place :]
        assert float(x.std()) == pytest.approx(
            float((left[0].alpha ** 2 * STD**2 + left[0].sigma ** 2).sqrt()), rel=0.02
        )
        ended = ddim(denoiser, x, left, BatchRng(0, 64), lambda *_: None, eta=0.0)
        assert torch.allclose(paths.end[:, place], ended, atol=1e-5)
    right, mean = (paths.distances(one, config) for one in (end, denoiser))
    for few, many in zip(right, mean, strict=True):
        assert float(few.mean()) < 5e-3  # DDIM's own error in 64 steps
        assert float(many.mean()) > 20 * float(few.mean())
    noisiest = (denoiser(paths.x[:, 0], grid[0]).x0 - paths.end[:, 0]).abs().flatten(1).mean(1)
    assert torch.allclose(mean[-1], noisiest, atol=0.03)  # of weight 1, but for the Huber width


def test_there_are_no_more_points_than_levels() -> None:
    paths = paths_of(
        denoiser, torch.zeros(2, 1), SCHEDULE, ConsistencyObjective(levels=3), 8, BatchRng(0, 2)
    )
    assert paths.x.shape == paths.end.shape == (2, 3, 1) and len(paths.levels.sigma) == 3


@pytest.mark.parametrize(("progress", "span"), [(0.0, 4), (0.3, 4), (0.34, 2), (0.7, 1), (1.0, 1)])
def test_steps_become_shorter(progress: float, span: int) -> None:
    config = ConsistencyObjective()
    x0 = torch.zeros(2048, 1)
    part = sample_segment(x0, SCHEDULE, config, progress, BatchRng(0, 2048))
    path = torch.stack([level.sigma for level in SCHEDULE.grid(config.levels, "trailing")])
    start, stop = ((one.sigma[:, None] - path).abs().argmin(1) for one in (part.now, part.then))
    assert torch.equal(stop, (start + span).clamp(max=config.levels))
    assert float((start == 0).float().mean()) == pytest.approx(0.4 + 0.6 / 32, abs=0.05)
    assert set(start.tolist()) == set(range(config.levels))


def test_the_student_goes_on_from_its_own_pictures() -> None:
    """A perfect student draws the data; what it noises again is distributed as noised data are."""
    config = ConsistencyObjective(own_share=0.5, own_level=0.25, noise_share=0.5)
    x0 = torch.full((4096, 1), 50.0)  # far from what the student draws
    part = sample_segment(x0, SCHEDULE, config, 1.0, BatchRng(0, 4096), end)
    level = SCHEDULE.grid(config.levels, "trailing")[8]
    own = (part.now.sigma == level.sigma) & (part.x[:, 0].abs() < 10)
    assert float(own.float().mean()) == pytest.approx(0.5, abs=0.03)
    noisy = part.now.sigma == SCHEDULE.grid(config.levels, "trailing")[0].sigma
    assert torch.equal(part.as_sampled, own | noisy)
    std = float((level.alpha**2 * STD**2 + level.sigma**2).sqrt())
    assert float(part.x[own].std()) == pytest.approx(std, rel=0.05)
    assert float(part.x[own].mean()) == pytest.approx(0, abs=0.05)
    none = sample_segment(x0, SCHEDULE, config, 1.0, BatchRng(0, 4096))
    assert torch.equal(
        none.as_sampled, none.now.sigma == SCHEDULE.grid(config.levels, "trailing")[0].sigma
    )


def test_at_the_clean_level_the_teacher_is_right() -> None:
    config = ConsistencyObjective(levels=2, noise_share=0.0, strides=((0, 2),))
    part = sample_segment(torch.randn(8, 4), SCHEDULE, config, 0.0, BatchRng(0, 8))
    assert bool((part.then.sigma == 0).all())
    wrong = Prediction(torch.full((8, 4), torch.nan), torch.zeros(8, 4))
    assert torch.equal(
        consistency_target(part, lambda x, level: wrong, denoiser), denoiser(part.x, part.now).x0
    )


def test_the_loss_is_of_the_error_and_the_level() -> None:
    config = ConsistencyObjective(huber=0.03, v_gamma=5.0)
    each = SCHEDULE.grid(4)[:3]
    now = Level(*(torch.stack([getattr(one, n) for one in each]) for n in ("t", "alpha", "sigma")))
    said = torch.tensor([[0.04], [0.04], [0.0]])
    expected = (0.04**2 + 0.03**2) ** 0.5 - 0.03
    weight = (1 + (now.alpha / now.sigma) ** 2).clamp(max=5)
    loss = weighted_distance(said, torch.zeros(3, 1), now, config)
    assert torch.allclose(loss, weight * torch.tensor([expected, expected, 0.0]))


def test_what_does_not_count_has_no_part_in_the_distance() -> None:
    """Of four places one is wrong by far: alone it is the whole loss, left out it is none."""
    config, grid = ConsistencyObjective(huber=0.03), SCHEDULE.grid(4)
    now = Level(*(getattr(grid[0], name)[None] for name in ("t", "alpha", "sigma")))
    said, end = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    said[..., 0, 1] = 1.0
    alone = torch.zeros(1, 1, 2, 2)
    alone[..., 0, 1] = 1.0
    whole = (1 + 0.03**2) ** 0.5 - 0.03
    for counts, expected in ((None, whole / 4), (alone, whole), (1 - alone, 0.0)):
        loss = weighted_distance(said, end, now, config, counts)
        assert float(loss) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("strides", [(), ((0.1, 2),), ((0.0, 2), (0.5, 1), (0.2, 1))])
def test_strides_begin_at_the_start_and_go_on(strides: object) -> None:
    with pytest.raises(UsageError, match="the shares must rise from 0"):
        ConsistencyObjective.parse({"strides": strides})


def test_an_objective_is_named_or_described(make_stage: Callable[..., Any]) -> None:
    def objective(value: object) -> str:
        plain = {"guidance_scale": 1.0}
        return str(make_stage("decoder", objective=value, sampling=plain).config.objective.kind)

    assert objective("adversarial") == "adversarial"
    assert objective({"kind": "consistency", "levels": 8}) == "consistency"
    assert objective({"v_gamma": 5.0}) == "diffusion"
    with pytest.raises(UsageError, match="objective"):
        objective("gan")
