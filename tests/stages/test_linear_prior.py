"""The linear prior finds the affine map that there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from unclip.rng import BatchRng, Rng
from unclip.types import Cond


def test_it_recovers_a_known_affine_map(make_stage: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    stage = make_stage("linear_prior")
    matrix, offset = torch.randn(16, 16) / 4, torch.randn(16) / 4
    z_t = F.normalize(torch.randn(256, 16), dim=-1)
    cond = Cond(text_embed=z_t, image_embed=z_t @ matrix.T + offset)
    optimizer = torch.optim.LBFGS(stage.net.parameters(), max_iter=100)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value: torch.Tensor = stage.loss(cond, BatchRng(0, 256))[0].mean()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)
    assert torch.allclose(stage.net.map.weight, matrix, atol=1e-2)
    assert torch.allclose(stage.net.map.bias, offset, atol=1e-2)
    new = F.normalize(torch.randn(3, 16), dim=-1)
    drawn = stage.sample(Cond(text_embed=new), Rng([1, 2, 3])).image_embed
    assert torch.allclose(drawn, F.normalize(new @ matrix.T + offset, dim=-1), atol=1e-2)


def test_the_loss_is_the_squared_distance(
    make_stage: Callable[..., Any], make_cond: Callable[..., Cond]
) -> None:
    stage, cond = make_stage("linear_prior"), make_cond(3)
    assert cond.image_embed is not None
    torch.nn.init.zeros_(stage.net.map.weight)
    torch.nn.init.zeros_(stage.net.map.bias)
    assert torch.allclose(stage.loss(cond, BatchRng(0, 3))[0], torch.ones(3), atol=1e-5)
    torch.nn.init.eye_(stage.net.map.weight)
    same = cond.replace(image_embed=cond.text_embed)
    assert torch.allclose(stage.loss(same, BatchRng(0, 3))[0], torch.zeros(3), atol=1e-6)
