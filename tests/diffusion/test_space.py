"""Codecs between data and the space of diffusion."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from unclip.diffusion.space import Embedding, Rgb


def test_the_embedding_scale_is_the_papers() -> None:
    """arXiv 2204.06125, section 2.2: 17.2 for 1024 numbers."""
    z = F.normalize(torch.randn(4, 1024), dim=-1)
    x = Embedding().encode(z)
    assert torch.allclose(x.norm(dim=-1), torch.full((4,), 17.2), rtol=1e-5)
    assert torch.allclose(x, 17.2 * z, rtol=1e-5)
    assert float(x.std()) == pytest.approx(0.5375, rel=0.02)


def test_an_embedding_comes_back_with_unit_norm_from_anywhere() -> None:
    z = F.normalize(torch.randn(4, 32), dim=-1)
    space = Embedding(scale=2.0)
    assert torch.allclose(space.decode(space.encode(z)), z, atol=1e-6)
    off = space.decode(torch.randn(4, 32) * 100)
    assert torch.allclose(off.norm(dim=-1), torch.ones(4))


def test_rgb_is_itself_within_its_range() -> None:
    image = torch.randn(2, 3, 4, 4) * 2
    assert torch.equal(Rgb().encode(image), image)
    assert torch.equal(Rgb().decode(image), image.clamp(-1, 1))
