"""What is computed twice gives the same gradients, costs no product and keeps less."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from unclip.nn.memory import distinct, recomputed
from unclip.nn.prior import PriorConfig, PriorNet


class Chain(nn.Module):
    """A norm, an activation and a convolution, recomputed or not."""

    def __init__(self, recompute: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.conv = nn.GroupNorm(2, 4), nn.Conv2d(4, 8, 3, padding=1)
        self.recompute = recompute

    def work(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.silu(self.norm(x)))
        return out

    def forward(self, x: Tensor) -> Tensor:
        return recomputed(self.work, x) if self.recompute else self.work(x)


def test_gradients_are_the_same_less_is_kept_and_no_convolution_is_run_twice() -> None:
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    found = []
    for recompute in (False, True):
        net, kept = Chain(recompute), set[int]()

        def pack(tensor: Tensor, kept: set[int] = kept) -> Tensor:
            kept.add(tensor.untyped_storage()._cdata)
            return tensor

        given = x.clone().requires_grad_()
        with FlopCounterMode(display=False) as counter:
            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                out = net(given)
            out.square().sum().backward()
        assert given.grad is not None
        gradients = [given.grad, *(p.grad for p in net.parameters() if p.grad is not None)]
        found.append((gradients, counter.get_total_flops(), len(kept)))
    (plain, flops, many), (again, flops_again, few) = found
    assert len(plain) == 5
    assert all(map(torch.equal, plain, again))
    assert few < many
    assert flops <= flops_again <= flops * 4 / 3  # an aborted convolution may be counted


def test_without_gradients_nothing_is_recomputed() -> None:
    calls = []

    def work(x: Tensor) -> Tensor:
        calls.append(torch.is_grad_enabled())
        return x * 2

    with torch.no_grad():
        assert recomputed(work, torch.ones(2)).tolist() == [2, 2]
    assert calls == [False]


@given(st.lists(st.booleans(), min_size=1, max_size=9))
def test_hidden_samples_are_encoded_once(keep: list[bool]) -> None:
    chosen = distinct(torch.tensor(keep))
    if keep.count(False) < 2:
        assert chosen is None
        return
    assert chosen is not None
    rows, place = (one.tolist() for one in chosen)
    assert len(rows) == keep.count(True) + 1
    for sample, kept in enumerate(keep):
        row = rows[place[sample]]
        assert row == sample if kept else not keep[row]


@pytest.mark.parametrize("keep", [(True, False, False, True, False), (False,) * 5, (True,) * 5])
def test_a_prior_in_training_makes_the_prefix_that_it_makes_otherwise(
    keep: tuple[bool, ...],
) -> None:
    torch.manual_seed(0)
    net = PriorNet(PriorConfig(embed_dim=8, text_width=6, context=4, width=8, depth=2, heads=2))
    net.double()
    given = {
        "text_mask": torch.arange(4)[None] < torch.tensor([4, 2, 3, 1, 4])[:, None],
        "text_embed": torch.randn(5, 8).double(),
        "text_encodings": torch.randn(5, 4, 6).double(),
        "keep_text": torch.tensor(keep),
    }
    x, t = torch.randn(5, 8).double(), torch.rand(5)
    ends = []
    for training in (False, True):
        net.train(training).zero_grad()
        out = net(x, t, net.encode(given))
        out.square().sum().backward()
        gradients = [p.grad.clone() for p in net.parameters() if p.grad is not None]
        ends.append([out.detach(), *gradients])
    assert len(ends[0]) > 20
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other)
