"""Small parts."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from unclip.nn.layers import (
    TimestepMlp,
    conv_enlarged,
    parameter_count,
    select,
    timestep_embedding,
    zero,
)


def test_timestep_embedding_is_the_formula() -> None:
    t = [0.0, 1.0, 437.5]
    expected = [
        [math.cos(x * 10_000 ** (-i / 4)) for i in range(4)]
        + [math.sin(x * 10_000 ** (-i / 4)) for i in range(4)]
        for x in t
    ]
    got = timestep_embedding(torch.tensor(t), 8)
    assert got.shape == (3, 8)
    assert got.flatten().tolist() == pytest.approx([x for row in expected for x in row], abs=1e-4)


def test_timestep_features_are_float32_even_in_a_half_precision_network() -> None:
    """bfloat16 cannot tell 998 from 999."""
    net = TimestepMlp(32, 8).bfloat16()
    out = net(torch.tensor([998.0, 999.0]))
    assert out.dtype == torch.bfloat16
    assert not torch.equal(out[0], out[1])


def test_select_takes_the_null_where_told() -> None:
    value, null = torch.ones(3, 2, 4), torch.zeros(2, 4)
    picked = select(torch.tensor([True, False, True]), value, null)
    assert picked.sum((1, 2)).tolist() == [8, 0, 8]
    assert select(None, value, null) is value
    per_width = select(torch.tensor([False, True, True]), value, torch.full((4,), 5.0))
    assert per_width[0].unique().tolist() == [5]


def test_zero_and_parameter_count() -> None:
    layer = zero(torch.nn.Linear(3, 2))
    assert not any(parameter.any() for parameter in layer.parameters())
    assert parameter_count(layer) == 8
    with torch.device("meta"):
        assert parameter_count(torch.nn.Linear(30_000, 30_000)) == 900_030_000


@pytest.mark.parametrize("side", [3, 32, 40])
@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_of_an_enlarged_picture(side: int, bias: bool) -> None:
    """Equal to enlarging first, gradients too, whichever way it is done."""
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(5, 7, 3, padding=1, bias=bias).double()
    x = torch.randn(2, 5, side, side + 2, dtype=torch.float64, requires_grad=True)
    wanted = conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    found = conv_enlarged(x, conv)
    assert torch.allclose(found, wanted, atol=1e-12)
    weight = torch.randn_like(wanted)
    needs = (x, *conv.parameters())
    for a, b in zip(
        torch.autograd.grad((wanted * weight).sum(), needs),
        torch.autograd.grad((found * weight).sum(), needs),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-10)
