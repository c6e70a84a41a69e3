"""What a task makes of a batch, for each stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from unclip.errors import UsageError
from unclip.nn.tokenizer import Tokenizer
from unclip.rng import BatchRng
from unclip.stages import STAGES
from unclip.train.loader import Batch, collate, pictures
from unclip.train.task import Task
from unclip.types import Cond


@pytest.fixture
def batch(speckles: Any, tokenizer: Tokenizer) -> Callable[[int], Batch]:
    return lambda size: collate([speckles(size).sample(i) for i in range(4)], tokenizer)


@pytest.mark.parametrize("kind", STAGES.names())
def test_a_stage_gets_every_field_it_trains_on(
    kind: str, make_stage: Callable[..., Any], batch: Callable[[int], Batch]
) -> None:
    task = Task(make_stage(kind), make_stage("clip"))
    cond = task.cond(batch(task.source_size), BatchRng(0, 4))
    given = dict(cond.items())
    assert task.stage.trains_on <= given.keys()
    assert len(cond.text_tokens) == 4  # type: ignore[arg-type]
    if "image" in given:
        assert given["image"].shape == (4, 3, task.source_size, task.source_size)
        assert given["image"].min() < -0.9
        assert given["image"].max() > 0.9
    loss, metrics = task(batch(task.source_size), BatchRng(0, 4))
    one_by_one, _ = task.stage.loss(cond, BatchRng(0, 4))
    assert float(loss.detach()) == pytest.approx(float(one_by_one.detach().mean()))
    assert all(value.shape == () for value in metrics.values())


def test_embeddings_are_the_frozen_clips(
    make_stage: Callable[..., Any], batch: Callable[[int], Batch]
) -> None:
    clip = make_stage("clip")
    task = Task(make_stage("prior"), clip)
    assert task.source_size == clip.image_size
    cond = task.cond(batch(8), BatchRng(0, 4))
    seen = Cond(batch(8)["text_tokens"], batch(8)["text_mask"], image=pictures(batch(8)["image"]))
    with torch.no_grad():
        expected = clip.encode_image(clip.encode_text(seen))
    for name in ("text_embed", "text_encodings", "image_embed"):
        value = getattr(cond, name)
        assert torch.equal(value, getattr(expected, name))
        assert not value.requires_grad
    assert not any(parameter.requires_grad for parameter in clip.parameters())
    assert len(list(task.parameters())) == len(list(task.stage.parameters()))
    task.train()
    assert not clip.training


def test_a_frozen_prior_predicts_what_it_would_sample(
    make_stage: Callable[..., Any], batch: Callable[[int], Batch]
) -> None:
    clip, prior = make_stage("clip"), make_stage("prior")
    stage = make_stage("decoder", predicted_share=0.5)
    task = Task(stage, clip, prior)
    given = batch(task.source_size)
    cond = task.cond(given, BatchRng(0, 4))
    text = clip.encode_text(Cond(given["text_tokens"], given["text_mask"]))
    expected = prior.sample(text, BatchRng(0, 4).fork("prior"))
    assert torch.equal(cond.predicted_embed, expected.image_embed)  # type: ignore[arg-type]
    assert not any(parameter.requires_grad for parameter in prior.parameters())
    assert len(list(task.parameters())) == len(list(stage.parameters()))
    loss, _ = task(given, BatchRng(0, 4))
    loss.backward()
    assert all(parameter.grad is None for parameter in prior.parameters())
    with pytest.raises(UsageError, match="the recipe has no prior"):
        Task(stage, clip)


@pytest.mark.parametrize("kind", ["prior", "decoder"])
def test_a_stage_that_needs_clip_says_so(kind: str, make_stage: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match=f"stage '{kind}' needs a stage 'clip' before it"):
        Task(make_stage(kind), None)
    assert Task(make_stage("upsampler"), None).source_size == 16
