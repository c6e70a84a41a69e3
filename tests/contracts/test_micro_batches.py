"""Every stage: a batch worked on in pieces gives the gradients of the whole batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.rng import BatchRng
from unclip.stages import STAGES, Stage
from unclip.stages.comparing import ComparingStage
from unclip.stages.contrastive import LOSSES
from unclip.train.contrastive import ContrastiveTask
from unclip.train.task import Task
from unclip.types import Cond

DROPOUT = {"decoder": {"dropout": 0.2}, "upsampler": {"dropout": 0.2}}
"""Changes of the tiny networks, so that all that is drawn is drawn."""

OF_BATCHES = {"latent_std_least", "latent_std_most"}
"""Metrics over all samples of a batch together, which are no mean over pieces."""

SIZES = [(1, 0), (4, 3)]
"""Of micro batches, and where in the stream the batch of 5 begins."""


def gradients(task: Task, batch: dict[str, Tensor], first: int, size: int | None) -> Any:
    task.zero_grad()
    told = task.train().backward(batch, BatchRng("seed", 5, first=first), size)
    return told, {n: one.grad for n, one in task.named_parameters() if one.grad is not None}


def check(task: Task, batch: dict[str, Tensor], first: int, size: int) -> None:
    whole, wanted = gradients(task, batch, first, None)
    told, found = gradients(task, batch, first, size)
    assert found.keys() == wanted.keys()
    top = max(float(one.abs().max()) for one in wanted.values())
    assert top > 0
    for name, one in wanted.items():
        assert torch.allclose(found[name], one, rtol=1e-4, atol=1e-5 * max(1.0, top)), name
    assert told.keys() == whole.keys()
    for name, value in whole.items():
        if name in OF_BATCHES:
            continue
        assert float(told[name]) == pytest.approx(float(value), rel=1e-4, abs=1e-5), name


def batch_for(task: Task, cond: Cond) -> dict[str, Tensor]:
    """A batch of five samples of noise, whose captions are all different but two."""
    torch.manual_seed(1)
    batch = task.blank(5, 8)
    assert cond.text_tokens is not None and cond.text_mask is not None
    batch["image"] = torch.randint(0, 256, batch["image"].shape, dtype=torch.uint8)
    batch["text_tokens"], batch["text_mask"] = cond.text_tokens, cond.text_mask
    for name in ("text_tokens", "text_mask"):
        batch[name][3] = batch[name][0]
    return batch


@pytest.mark.parametrize(("size", "first"), SIZES)
@pytest.mark.parametrize("kind", STAGES.names())
def test_pieces_make_the_whole(
    kind: str,
    size: int,
    first: int,
    make_stage: Callable[..., Any],
    make_cond: Callable[..., Cond],
    tiny: dict[str, dict[str, Any]],
) -> None:
    network = {**tiny[kind]["network"], **DROPOUT.get(kind, {})}
    stage: Stage = make_stage(kind, network=network)
    kind_of_task = ContrastiveTask if isinstance(stage, ComparingStage) else Task
    task = kind_of_task(stage, make_stage("clip"))
    check(task, batch_for(task, make_cond(5)), first, size)


@pytest.mark.parametrize(("size", "first"), SIZES)
@pytest.mark.parametrize("name", LOSSES.names())
def test_pieces_make_the_whole_of_every_loss_of_clip(
    name: str,
    size: int,
    first: int,
    make_stage: Callable[..., Any],
    make_cond: Callable[..., Cond],
) -> None:
    """Heads included; with captions that are almost true."""
    settings = {"extra_projection": True} if name in ("infonce", "dcl", "filip") else {}
    task = ContrastiveTask(make_stage("clip", objective={name: {"weight": 1.0, **settings}}))
    batch = batch_for(task, make_cond(5))
    wrong = batch["text_tokens"].roll(1, 1), batch["text_mask"]
    batch |= {"negative_tokens": wrong[0], "negative_mask": wrong[1]}
    check(task, batch, first, size)
