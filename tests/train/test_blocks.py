"""Blocks that are computed again, and blocks that are compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unclip.nn.layers import Dropout, dropout_from
from unclip.rng import BatchRng
from unclip.train.activations import saved_bytes
from unclip.train.blocks import checkpoint_blocks, repeated_blocks
from unclip.train.trainer import Trainer

Make = Callable[..., Trainer]


class Taking(nn.Module):
    """A block that takes from an iterator and drops some of what it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.dropout = Dropout(0.5)

    def forward(self, x: Tensor, given: Iterator[Tensor]) -> Tensor:
        return self.dropout(torch.tanh(self.fc(x) + next(given)))


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Taking() for _ in range(3))

    def forward(self, x: Tensor, given: list[Tensor]) -> Tensor:
        rest = iter(given)
        for block in self.blocks:
            x = block(x, rest)
        return x


def test_iterators_and_masks_are_those_of_the_first_time() -> None:
    torch.manual_seed(0)
    net, given = Stack(), [torch.randn(8, 4) for _ in range(3)]
    x = torch.randn(8, 4)
    found = []
    for checkpointed in (False, True):
        if checkpointed:
            checkpoint_blocks(net)
        with dropout_from(net, BatchRng(0, 8)):
            out = net(x, given)
        out.square().sum().backward()
        found.append([out, *(one.grad for one in net.parameters())])
        net.zero_grad()
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_blocks_within_blocks_are_left_out() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.text = Stack()
            self.levels = nn.ModuleList([Stack(), nn.Linear(2, 2)])

    net = Net()
    assert repeated_blocks(net) == [*net.text.blocks, net.levels[0]]


def test_an_autoencoder_is_made_of_blocks(make_stage: Callable[..., Any]) -> None:
    """All of its convolutions but those at its edges are in one."""
    net = make_stage("autoencoder").net
    blocks = repeated_blocks(net)
    assert [type(one).__name__ for one in blocks] == [
        *("Block", "Halve", "Block"),  # the encoder's
        *("Block", "Enlarge", "Block"),  # the decoder's, the last of which is its head's
    ]
    inside = {name for block in blocks for name in block.parameters()}
    rest = [name for name, one in net.named_parameters() if one not in inside]
    assert {name.split(".")[1] for name in rest} == {"conv_in", "norm_out", "conv_out"}


@pytest.mark.parametrize("kind", ["clip", "prior", "decoder"])
def test_a_run_is_the_same_with_blocks_computed_again(
    kind: str, make_trainer: Make, notes: Any
) -> None:
    network = {"dropout": 0.2} if kind == "decoder" else None
    found = []
    for wanted in (False, True):
        trainer = make_trainer(kind, str(wanted), network, activation_checkpointing=wanted)
        losses = [float(trainer.advance()["loss"]) for _ in range(3)]
        found.append(losses)
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_a_checkpointed_block_keeps_what_it_reads() -> None:
    net = nn.ModuleList([nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 8))])
    holder = nn.Module()
    holder.blocks = net
    with saved_bytes(holder) as plain:
        net[0](torch.zeros(5, 8))
    checkpoint_blocks(holder)
    with saved_bytes(holder) as kept:
        net[0](torch.zeros(5, 8))
    assert sum(plain.values()) == 4 * 5 * (8 + 64)
    assert sum(kept.values()) == 4 * 5 * 8


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated")  # the compiler's own
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("kind", ["clip", "prior", "decoder"])
def test_compiled_blocks_train_the_same(kind: str, checkpointed: bool, make_trainer: Make) -> None:
    found = []
    for wanted in (False, True):
        options = {"compile": wanted, "activation_checkpointing": wanted and checkpointed}
        trainer = make_trainer(kind, str(wanted), **options)
        found.append([float(trainer.advance()["loss"]) for _ in range(3)])
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_what_only_holds_blocks_stands_for_them_and_a_layer_is_none() -> None:
    """As the levels of LAION's U-Net do, which calls what is in them."""

    class Level(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in range(2))
            self.after = nn.Linear(2, 2)

    net = nn.Module()
    net.levels = nn.ModuleList([Level(), Level()])
    net.kernels = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3)])
    assert repeated_blocks(net) == [*net.levels[0].blocks, *net.levels[1].blocks]
