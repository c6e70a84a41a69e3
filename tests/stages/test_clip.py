"""The contrastive loss, written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from unclip.rng import Rng
from unclip.types import Cond

RNG = Rng([0])


@pytest.fixture
def clip(make_stage: Callable[..., Any]) -> Any:
    return make_stage("clip").requires_grad_(False)


@pytest.fixture
def cond(make_cond: Callable[..., Cond]) -> Cond:
    return make_cond(3)


def logits(clip: Any, cond: Cond) -> torch.Tensor:
    """(pictures, captions)."""
    z_t, _ = clip.net.encode_text(cond.text_tokens, cond.text_mask)
    similarity: torch.Tensor = clip.net.encode_image(cond.image) @ z_t.T
    return similarity * clip.net.log_scale.exp()


def test_loss_is_symmetric_cross_entropy(clip: Any, cond: Cond) -> None:
    """arXiv 2103.00020, figure 3, for each sample."""
    table = logits(clip, cond)
    by_image = table.logsumexp(1) - table.diagonal()
    by_text = table.logsumexp(0) - table.diagonal()
    loss, metrics = clip.loss(cond, RNG)
    assert torch.allclose(loss, (by_image + by_text) / 2, atol=1e-4)
    assert metrics["accuracy"].tolist() == (table.argmax(1) == torch.arange(3)).float().tolist()
    assert float(metrics["scale"]) == pytest.approx(1 / 0.07, rel=1e-4)


def test_equal_captions_are_one_class(clip: Any, cond: Cond) -> None:
    """With captions a, b, a, picture 0 is right with caption 0 or 2, half each."""
    twice = cond.replace(
        text_tokens=cond.text_tokens[[0, 1, 0]],  # type: ignore[index]
        text_mask=cond.text_mask[[0, 1, 0]],  # type: ignore[index]
    )
    table = logits(clip, twice)
    rows, columns = table.log_softmax(1), table.log_softmax(0)
    expected = -(rows[0, 0] + rows[0, 2] + columns[0, 0] + columns[2, 0]) / 4
    loss, _ = clip.loss(twice, RNG)
    assert float(loss[0]) == pytest.approx(float(expected), rel=1e-4)
    assert float(loss[1]) == pytest.approx(float(-(rows[1, 1] + columns[1, 1]) / 2), rel=1e-4)


def test_the_temperature_is_capped_at_100(clip: Any, cond: Cond) -> None:
    clip.net.log_scale.fill_(10.0)
    at_ten, _ = clip.loss(cond, RNG)
    clip.net.log_scale.fill_(torch.tensor(100.0).log())
    assert torch.allclose(at_ten, clip.loss(cond, RNG)[0])


def test_image_embeddings_are_added_beside_the_texts(clip: Any, cond: Cond) -> None:
    cond = cond.replace(text_embed=None, text_encodings=None, image_embed=None)
    seen = clip.encode_image(clip.encode_text(cond))
    assert torch.equal(seen.image_embed, clip.net.encode_image(cond.image))
    assert torch.equal(seen.text_embed, clip.net.encode_text(cond.text_tokens, cond.text_mask)[0])
    assert seen.text_encodings.shape == (3, 8, 16)


def test_almost_true_captions_are_told_apart_too(clip: Any, cond: Cond) -> None:
    wrong = torch.tensor([2, 0, 1])  # of three captions, each the true one of another picture
    other = cond.replace(
        negative_tokens=cond.text_tokens[wrong].roll(1, 1),  # type: ignore[index]
        negative_mask=cond.text_mask[wrong],  # type: ignore[index]
    )
    table = logits(clip, cond)
    z_n, _ = clip.net.encode_text(other.negative_tokens, other.negative_mask)
    more = clip.net.encode_image(cond.image) @ z_n.T * clip.net.log_scale.exp()
    by_image = torch.cat([table, more], 1).logsumexp(1) - table.diagonal()
    by_text = table.logsumexp(0) - table.diagonal()
    loss, metrics = clip.loss(other, RNG)
    assert torch.allclose(loss, (by_image + by_text) / 2, atol=1e-4)
    told_apart = (table.diagonal() > more.diagonal()).float()
    assert torch.equal(metrics["negative_accuracy"], told_apart)


def test_what_is_true_of_another_picture_is_not_wrong_there(clip: Any, cond: Cond) -> None:
    """Wrong captions equal to true ones count for every picture but the one they are true of."""
    assert cond.text_tokens is not None and cond.text_mask is not None
    wrong = torch.tensor([2, 0, 1])
    other = cond.replace(
        negative_tokens=cond.text_tokens[wrong], negative_mask=cond.text_mask[wrong]
    )
    table = logits(clip, cond)
    more = table[:, wrong].masked_fill(torch.eye(3).bool()[:, wrong], float("-inf"))
    by_image = torch.cat([table, more], 1).logsumexp(1) - table.diagonal()
    loss, _ = clip.loss(other, RNG)
    by_text = table.logsumexp(0) - table.diagonal()
    assert torch.allclose(loss, (by_image + by_text) / 2, atol=1e-4)
