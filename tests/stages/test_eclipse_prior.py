"""The prior without diffusion: its loss by hand, and no randomness."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from unclip.rng import BatchRng, Rng
from unclip.stages.eclipse_prior import contrastive
from unclip.types import Cond


def test_the_loss_is_projection_and_contrast(
    make_stage: Callable[..., Any], make_cond: Callable[..., Cond]
) -> None:
    """arXiv 2312.04655, section 3.2, written out in plain numbers."""
    cond = make_cond(3)
    assert cond.image_embed is not None
    assert cond.text_embed is not None
    stage = make_stage("eclipse_prior", contrast=0.3, temperature=0.5)
    with torch.no_grad():
        loss, metrics = stage.loss(cond, BatchRng(0, 3))
        net = stage.net(dict(cond.items()))
        drawn, z_i, z_t = (v.tolist() for v in (net, cond.image_embed, cond.text_embed))
    for sample in range(3):
        mine, true = drawn[sample], z_i[sample]
        distance = sum((a - b) ** 2 for a, b in zip(mine, true, strict=True))
        norm = math.sqrt(sum(a * a for a in mine))
        cosines = [sum(a * b for a, b in zip(mine, text, strict=True)) / norm for text in z_t]
        chance = math.exp(cosines[sample] / 0.5) / sum(math.exp(c / 0.5) for c in cosines)
        assert float(loss[sample]) == pytest.approx(distance - 0.3 * math.log(chance), rel=1e-4)
        cosine = sum(a * b for a, b in zip(mine, true, strict=True)) / norm
        assert float(metrics["cosine"][sample]) == pytest.approx(cosine, abs=1e-5)


def test_a_caption_that_comes_twice_is_no_wrong_answer() -> None:
    """The loss is that of a target shared by both, and the best there is says log 2."""
    text = torch.eye(3)[[0, 0, 1, 2]]
    drawn = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    share = torch.tensor([[0.5, 0.5, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    logits = F.normalize(drawn, dim=-1) @ text.T / 0.1
    expected = -(share * logits.log_softmax(1)).sum(1)
    assert torch.allclose(contrastive(drawn, text, 0.1), expected, atol=1e-5)
    perfect = contrastive(5 * text, text, 0.01)
    assert torch.allclose(perfect, torch.tensor([2.0, 2, 1, 1]).log(), atol=1e-5)


def test_half_precision_does_not_reach_the_cosines() -> None:
    near = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.02]]), dim=-1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(contrastive(near, near, 1e-4), torch.full((2,), 0.127), atol=0.01)


def test_a_text_has_one_embedding_of_unit_norm(
    make_stage: Callable[..., Any], make_cond: Callable[..., Cond]
) -> None:
    stage, cond = make_stage("eclipse_prior"), make_cond(3)
    first, other = (stage.sample(cond, Rng(seeds)).image_embed for seeds in ([1, 2, 3], [4, 5, 6]))
    assert torch.equal(first, other)
    assert torch.allclose(first.norm(dim=-1), torch.ones(3), atol=1e-5)
