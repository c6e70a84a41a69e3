"""Representation alignment: norms over a picture's places, and a Transformer that aligns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from unclip.rng import BatchRng
from unclip.stages.alignment import spatial_norm
from unclip.stages.decoder import Decoder
from unclip.types import Cond


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_a_spatial_norm_leaves_variance_1_and_the_rest_of_the_mean(share: float) -> None:
    torch.manual_seed(0)
    patches = 3 + 5 * torch.randn(2, 16, 4)
    normed = spatial_norm(patches, share)
    assert torch.allclose(normed.std(1), torch.ones(2, 4), atol=1e-4)
    left = (1 - share) * patches.mean(1) / patches.std(1)
    assert torch.allclose(normed.mean(1), left, atol=1e-4)
    assert torch.allclose(spatial_norm(7 * patches, share), normed, atol=1e-4)


def test_what_all_places_share_is_left_out_where_asked(
    make_decoder: Callable[..., Decoder], make_cond: Callable[..., Cond]
) -> None:
    cond = make_cond(3).replace(image_patches=torch.randn(3, 4, 12))
    shifted = cond.replace(image_patches=cond.image_patches + 5)  # type: ignore[operator]

    def apart(one: Cond, norm: float | None) -> torch.Tensor:
        stage = make_decoder(align_norm=norm)
        return stage.loss(one, BatchRng(0, 3))[1]["align"]

    assert torch.allclose(apart(cond, 1.0), apart(shifted, 1.0), atol=1e-4)
    assert not torch.allclose(apart(cond, None), apart(shifted, None), atol=1e-2)


@pytest.fixture
def make_decoder(make_stage: Callable[..., Any]) -> Callable[..., Decoder]:
    """Decoders of one Transformer that aligns, with other settings."""
    network = {
        "kind": "dit", "image_size": 8, "patch_size": 4, "width": 16, "depth": 2, "heads": 2,
        "embed_dim": 16, "align_dim": 12,
    }  # fmt: skip
    return lambda **settings: make_stage("decoder", network=network, **settings)
