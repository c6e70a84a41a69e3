"""The prior: two draws re-ranked, guidance in one forward, text dropped in training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.rng import BatchRng, Rng
from unclip.types import Cond

SEEDS = [3, 4, 5]


@pytest.fixture
def cond(make_cond: Callable[..., Cond]) -> Cond:
    return make_cond(3).replace(image=None)


def batches(stage: Any) -> list[int]:
    """Sizes of the batches that the network will see, as they come."""
    sizes: list[int] = []
    stage.net.register_forward_hook(lambda _m, inputs, _o: sizes.append(len(inputs[0])))
    return sizes


def test_of_the_candidates_the_nearest_to_the_text_is_kept(
    make_stage: Callable[..., Any], cond: Cond
) -> None:
    """arXiv 2204.06125, section 2.2: two z_i, and the one with the higher z_i·z_t."""

    def drawn(count: int) -> Tensor:
        z: Tensor = make_stage("prior", candidates=count).sample(cond, Rng(SEEDS)).image_embed
        return z

    one, four = drawn(1), drawn(4)
    assert torch.allclose(four.norm(dim=-1), torch.ones(3), atol=1e-5)
    every = []
    for k in range(4):
        stage = make_stage("prior", candidates=1)
        every.append(stage.sample_data(cond, Rng([f"{seed}/candidate{k}" for seed in SEEDS])))
    assert torch.allclose(every[0], one, atol=1e-5)
    table = torch.stack(every)  # (candidates, B, D)
    best = (table * cond.text_embed).sum(-1).argmax(0)
    assert best.any(), "the seeds should not all prefer the first"
    assert torch.allclose(four, table[best, torch.arange(3)], atol=1e-5)


@pytest.mark.parametrize(("scale", "seen"), [(1.0, 6), (3.0, 12)])
def test_guidance_doubles_the_batch_in_one_forward(
    scale: float, seen: int, make_stage: Callable[..., Any], cond: Cond
) -> None:
    stage = make_stage("prior")  # two candidates for each of three
    sizes = batches(stage)
    stage.sample(cond, Rng(SEEDS), {"guidance_scale": scale, "steps": 3})
    assert sizes == [seen] * 3


def test_guidance_pushes_away_from_the_prediction_without_text(
    make_stage: Callable[..., Any], cond: Cond
) -> None:
    stage = make_stage("prior", candidates=1)
    dropped = cond.replace(keep_text=torch.zeros(3, dtype=torch.bool))
    options = stage.config.sampling
    x, level = torch.randn(3, 16), stage.config.schedule.grid(5)[1]

    def x0(cond: Cond, scale: float) -> Tensor:
        with torch.no_grad():
            value: Tensor = stage.denoiser(cond, options.merge({"guidance_scale": scale}))(
                x, level
            ).x0
        return value

    shown, null = x0(cond, 1.0), x0(dropped, 1.0)
    assert not torch.allclose(shown, null, atol=1e-2)
    assert torch.allclose(x0(cond, 4.0), null + 4 * (shown - null), atol=1e-4)
    assert torch.allclose(x0(cond, 0.0), null, atol=1e-5)


@pytest.mark.parametrize(("share", "matters"), [(0.0, True), (1.0, False)])
def test_text_is_dropped_as_configured(
    share: float, matters: bool, make_stage: Callable[..., Any], cond: Cond
) -> None:
    stage = make_stage("prior", drop_text=share)
    other = cond.replace(text_embed=-cond.text_embed)  # type: ignore[operator]
    loss, changed = (stage.loss(c, BatchRng(0, 3))[0] for c in (cond, other))
    assert torch.allclose(loss, changed) != matters


def test_the_loss_is_the_error_of_the_scaled_embedding(
    make_stage: Callable[..., Any], cond: Cond
) -> None:
    """x0 prediction and plain MSE: a network that says 0 errs by the square of 0.5375·√D·z_i."""
    stage = make_stage("prior")
    for parameter in stage.net.out.parameters():
        torch.nn.init.zeros_(parameter)
    loss, _ = stage.loss(cond, BatchRng(0, 3))
    assert torch.allclose(loss, torch.full((3,), 0.5375**2), rtol=1e-4)
