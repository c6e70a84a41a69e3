"""Tables of names: strict before anything is read, and the same in both directions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unclip.checkpoints.archive import Tensors, tensors_of
from unclip.checkpoints.keymap import (
    KeyMap,
    Take,
    changed,
    check,
    flattened,
    joined,
    same,
    translate,
    translate_back,
    under,
)
from unclip.errors import CheckpointError

SHAPES = {"weight": (2, 3), "bias": (2,)}
PLAIN = same("", "there")


def file(**changes: Tensor | None) -> Tensors:
    good = {"there.weight": torch.ones(2, 3), "there.bias": torch.full((2,), 5.0)}
    every = {**good, **{name.replace("__", "."): value for name, value in changes.items()}}
    return tensors_of({name: value for name, value in every.items() if value is not None}, "x")


def test_what_fits_passes_unread() -> None:
    check(SHAPES, file(), PLAIN, "model/it")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"there__bias": None}, "model/it does not fit: 1 missing: there.bias"),
        ({"extra__key": torch.ones(1)}, "model/it does not fit: 1 not used: extra.key"),
        (
            {"there__weight": torch.ones(3, 2)},
            r"of another shape: there.weight is \(3, 2\), not \(2, 3\)",
        ),
        (
            {f"k{i}": torch.ones(1) for i in range(5)},
            "model/it does not fit: 5 not used: k0; k1; k2; ...",
        ),
    ],
)
def test_a_misfit_is_named(change: dict[str, Tensor | None], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        check(SHAPES, file(**change), PLAIN, "model/it")


def test_what_is_knowingly_left_alone_is_a_whole_name() -> None:
    held = file(schedule__betas=torch.ones(4))
    check(SHAPES, held, PLAIN, "x", [r"schedule\..*"])
    with pytest.raises(CheckpointError, match=r"1 not used: schedule\.betas"):
        check(SHAPES, held, PLAIN, "x", [r"schedule"])


def test_parts_that_cannot_be_joined_are_named() -> None:
    table: KeyMap = {"qkv": Take(("q", "k"))}
    held = tensors_of({"q": torch.ones(2, 3), "k": torch.ones(2, 4)}, "x")
    with pytest.raises(CheckpointError, match=r"q \(2, 3\), k \(2, 4\) cannot make qkv \(4, 3\)"):
        check({"qkv": (4, 3)}, held, table, "x")


def test_every_change_of_layout_goes_there_and_back() -> None:
    table = {
        **joined("attention.qkv", ["to_q", "to_k", "to_v"]),
        **flattened("proj", "conv"),
        **changed("turned", "linear", lambda w: w.T, lambda w: w.T, "weight"),
        **under("deep", "far", same("one", "two", "scale")),
    }
    theirs = {
        **{f"to_{n}.weight": torch.randn(2, 4) for n in "qkv"},
        **{f"to_{n}.bias": torch.randn(2) for n in "qkv"},
        "conv.weight": torch.randn(3, 5, 1, 1),
        "conv.bias": torch.randn(3),
        "linear.weight": torch.randn(4, 6),
        "far.two.scale": torch.randn(()),
    }
    lazy = translate(Tensors(theirs), table)
    ours = {name: one.read() for name, one in lazy.items()}
    assert all(lazy[name].shape == value.shape for name, value in ours.items())
    assert ours["attention.qkv.weight"].tolist()[2:4] == theirs["to_k.weight"].tolist()
    assert ours["proj.weight"].shape == (3, 5)
    assert torch.equal(ours["turned.weight"], theirs["linear.weight"].T)
    shapes = {name: tuple(value.shape) for name, value in theirs.items()}
    again = dict(translate_back(ours, table, shapes))
    assert again.keys() == theirs.keys()
    assert all(torch.equal(again[name], theirs[name]) for name in theirs)
