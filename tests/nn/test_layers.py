"""Small parts."""

from __future__ import annotations

import math

import pytest
import torch

from unclip.nn.layers import TimestepMlp, parameter_count, select, timestep_embedding, zero


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
