"""Layers with a low-rank change: what they compute, what learns, what is shared."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from unclip.nn.layers import conv_enlarged
from unclip.nn.lora import adapt, adapted, can_adapt, merged, share_frozen


def learnt(layer: nn.Module, rank: int, alpha: float) -> nn.Module:
    """A layer whose change is not nothing."""
    net = nn.Sequential(layer)
    adapt(net, [layer], rank, alpha)
    nn.init.normal_(layer.lora_up)  # type: ignore[arg-type]
    return net


@given(
    rank=st.integers(1, 9),
    alpha=st.floats(0.1, 8),
    stride=st.integers(1, 2),
    padding=st.integers(0, 2),
    size=st.sampled_from([1, 3]),
    bias=st.booleans(),
)
def test_a_convolution_is_that_of_the_merged_weight(
    rank: int, alpha: float, stride: int, padding: int, size: int, bias: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 5, size, stride=stride, padding=padding, bias=bias).double()
    weight, x = layer.weight.detach().clone(), torch.randn(2, 3, 6, 7, dtype=torch.float64)
    net = learnt(layer, rank, alpha)
    down, up = layer.lora_down, layer.lora_up
    change = torch.einsum("or,rihw->oihw", up[:, :, 0, 0], down)  # type: ignore[index]
    want = F.conv2d(x, weight + alpha / rank * change, layer.bias, stride, padding)
    assert torch.allclose(net(x), want, atol=1e-6)
    assert torch.allclose(merged(net)(x), want, atol=1e-6)


@given(rank=st.integers(1, 9), alpha=st.floats(0.1, 8))
def test_a_linear_layer_is_that_of_the_merged_weight(rank: int, alpha: float) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(4, 6).double(), torch.randn(2, 3, 4, dtype=torch.float64)
    weight = layer.weight.detach().clone()
    net = learnt(layer, rank, alpha)
    want = F.linear(x, weight + alpha / rank * layer.lora_up @ layer.lora_down, layer.bias)  # type: ignore[operator]
    assert torch.allclose(net(x), want, atol=1e-6)
    assert torch.allclose(merged(net)(x), want, atol=1e-6)


def test_who_looks_at_the_weight_sees_the_change_and_its_gradient() -> None:
    """As the convolution after an enlargement does, on a CPU."""
    layer = nn.Conv2d(2, 3, 3, padding=1)
    net, x = learnt(layer, 2, 1.0), torch.randn(1, 2, 32, 32)
    seen = conv_enlarged(x, layer)
    assert torch.allclose(seen, net(F.interpolate(x, scale_factor=2.0)), atol=1e-5)
    seen.sum().backward()
    assert layer.lora_down.grad is not None and layer.base.grad is None  # type: ignore[union-attr]


def test_it_begins_as_nothing_and_only_the_matrices_learn() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.SiLU(), nn.Linear(4, 2))
    x = torch.randn(3, 4)
    before = net(x)
    adapt(net, [net[2]], 2, 2.0)
    assert torch.equal(net(x), before)
    learning = {name for name, one in net.named_parameters() if one.requires_grad}
    assert learning == {"2.lora_down", "2.lora_up"}
    assert [*adapted(net)] == ["2"]


def test_copies_share_what_is_frozen() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    adapt(net, [net[0]], 2, 2.0)
    other = share_frozen(net)
    assert other[0].base is net[0].base and other[1].weight is net[1].weight
    assert other[0].lora_up is not net[0].lora_up
    plain = merged(net)
    assert [type(one) for one in plain] == [nn.Linear, nn.Linear]
    assert (
        plain.state_dict().keys()
        == nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)).state_dict().keys()
    )
    assert plain[1].weight is net[1].weight and [*adapted(net)] == ["0"]
    assert merged(plain) is plain
    assert torch.equal(copy.deepcopy(net)(torch.ones(1, 4)), net(torch.ones(1, 4)))


@pytest.mark.parametrize(
    ("layer", "can"),
    [
        (nn.Linear(4, 4), True),
        (nn.Conv2d(4, 4, 3), True),
        (nn.Conv2d(4, 4, 3, groups=2), False),
        (nn.Embedding(4, 4), False),
        (nn.LayerNorm(4), False),
    ],
)
def test_which_layers_can(layer: nn.Module, can: bool) -> None:
    assert can_adapt(layer) is can
