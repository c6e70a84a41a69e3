"""A sample's draws depend on its own seed alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unclip.rng import BLOCK, BatchRng, Rng, drawing_device

SEEDS = st.lists(st.integers(-(2**80), 2**80) | st.text(max_size=5), min_size=1, max_size=5)


@given(seeds=SEEDS, data=st.data())
def test_a_sample_draws_the_same_in_any_batch(seeds: list[int | str], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(seeds) - 1))
    many, one = Rng(seeds), Rng([seeds[index]])
    for draw in ("randn", "rand", "randn"):
        assert torch.equal(getattr(many, draw)(3, 2)[index], getattr(one, draw)(3, 2)[0])
    assert torch.equal(many.fork("a").randn(4)[index], one.fork("a").randn(4)[0])


@given(seed=st.integers(0, 2**64), other=st.integers(0, 2**64), name=st.text(max_size=5))
def test_different_seeds_and_forks_draw_differently(seed: int, other: int, name: str) -> None:
    rng = Rng([seed, f"{seed}/{name}x", other])
    drawn = [*rng.randn(4), *rng.fork(name).randn(4), *rng.fork(name + "y").randn(4)]
    distinct = {tuple(one.tolist()) for one in drawn}
    assert len(distinct) == (9 if seed != other else 6)


def test_branches_are_as_many_samples_of_their_own() -> None:
    drawn = Rng(["a", "b"]).branch("x", 3).randn(4).view(3, 2, 4)
    assert torch.equal(drawn[2, 0], Rng(["a/x2"]).randn(4)[0])
    assert len({tuple(one.tolist()) for one in drawn.view(6, 4)}) == 6
    many = BatchRng(0, 2).branch("x", 3).randn(4)
    assert many.shape == (6, 4)
    assert torch.equal(many, BatchRng(0, 2).branch("x", 3).randn(4))
    assert not torch.equal(many, BatchRng(0, 6).randn(4))


def test_a_fork_does_not_depend_on_what_was_drawn() -> None:
    fresh, used = Rng([1, 2]), Rng([1, 2])
    used.randn(100)
    assert torch.equal(fresh.fork("decoder").randn(5), used.fork("decoder").randn(5))
    fresh.randn(100)
    assert torch.equal(fresh.randn(5), used.randn(5)), "nor does forking draw"


def test_known_numbers() -> None:
    """The pictures that people have made are lost if these ever change."""
    assert torch.equal(Rng([7]).randn(3), Rng(["7"]).randn(3))
    assert not torch.equal(Rng([0]).randn(3), Rng([2**32]).randn(3)), "all bits of a seed count"
    assert torch.equal(Rng([7]).fork("prior").randn(3), Rng(["7/prior"]).randn(3))
    assert Rng(["7/prior"]).randn(2)[0].tolist() == pytest.approx([0.1309069, 0.3681762])


def test_shapes_and_ranges() -> None:
    rng = Rng(range(200))
    assert rng.randn().shape == (200,)
    assert rng.randn(2, 3).shape == (200, 2, 3)
    normal, uniform = rng.randn(50), rng.rand(50)
    assert normal.dtype == uniform.dtype == torch.float32
    assert abs(float(normal.mean())) < 0.05
    assert abs(float(normal.std()) - 1) < 0.05
    assert 0 <= float(uniform.min()) < 0.01 < 0.99 < float(uniform.max()) < 1
    coins = rng.bernoulli(0.25)
    assert coins.shape == (200,)
    assert coins.dtype == torch.bool
    assert 25 < int(coins.sum()) < 75
    assert not rng.bernoulli(0.0).any()
    assert rng.bernoulli(1.0).all()


@pytest.mark.parametrize("make", [lambda d: Rng([1, 2], d), lambda d: BatchRng(1, 2, d)])
def test_numbers_are_drawn_on_the_cpu_and_moved(make: Callable[[str], Rng]) -> None:
    rng = make("meta")
    for drawn in (rng.randn(3), rng.rand(3), rng.bernoulli(0.5), rng.fork("a").randn(3)):
        assert drawn.device.type == "meta"
        assert drawn.shape[0] == 2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_numbers() -> None:
    assert torch.equal(Rng([1, 2], "cuda").randn(3).cpu(), Rng([1, 2]).randn(3))


def test_batch_rng_is_reproducible() -> None:
    first, second = BatchRng("0/decoder/3", 4), BatchRng("0/decoder/3", 4)
    for draw in ("randn", "rand", "randn"):
        drawn = getattr(first, draw)(2, 3)
        assert drawn.shape == (4, 2, 3)
        assert torch.equal(drawn, getattr(second, draw)(2, 3))
    other = BatchRng("0/decoder/4", 4)
    assert not torch.equal(other.fork("a").randn(3), first.fork("a").randn(3))
    assert torch.equal(first.fork("a").randn(3), second.fork("a").randn(3))
    assert not torch.equal(first.fork("a").randn(3), first.fork("b").randn(3))


def drawn_for(first: int, batch: int) -> Tensor:
    """(B, 6, 2): what is drawn of every kind, in forks and each copy of branches too."""
    rng = BatchRng("0/decoder", batch, first=first)
    copies = ((rng, 1), (rng.fork("a"), 1), (rng.fork("a").branch("b", 2), 2))
    kinds = [
        draw(2).view(n, batch, 2) for one, n in copies for draw in (one.randn, one.rand, one.randn)
    ]
    return torch.cat(kinds).transpose(0, 1)


@given(
    first=st.integers(0, 2 * BLOCK + 1) | st.integers(10**9, 10**9 + BLOCK),
    before=st.integers(0, BLOCK + 1),
    batch=st.integers(1, 2 * BLOCK + 1),
    after=st.integers(0, BLOCK + 1),
)
def test_a_position_has_the_same_numbers_in_every_batch(
    first: int, before: int, batch: int, after: int
) -> None:
    whole = drawn_for(first, before + batch + after)
    part = drawn_for(first + before, batch)
    assert torch.equal(part, whole[before : before + batch])
    assert len({tuple(one.flatten().tolist()) for one in whole}) == len(whole)
    copies = part[:, -6:-3], part[:, -3:]  # of the branch
    assert not torch.equal(*copies)


def test_known_numbers_of_batch_rng() -> None:
    """A training that was stopped goes on with these."""
    rng = BatchRng("0/decoder", 2, first=BLOCK - 1)
    normal = [0.9358956813812256, -1.1326062679290771, 0.3566039204597473, -1.02085280418396]
    assert rng.randn(2).flatten().tolist() == normal
    uniform = [0.9882413148880005, 0.6248988509178162, 0.3067948818206787, 0.17648649215698242]
    assert rng.rand(2).flatten().tolist() == uniform
    assert rng.fork("a").rand(1).flatten().tolist() == [0.8428057432174683, 0.5542657375335693]


@pytest.mark.parametrize(
    ("device", "draws_on"),
    [("cpu", "cpu"), ("meta", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("mps", "mps")],
)
def test_training_draws_where_it_computes(device: str, draws_on: str) -> None:
    assert drawing_device(torch.device(device)) == torch.device(draws_on)
    if device in ("cpu", "meta"):
        assert BatchRng(0, 2, device)._generators[0].device == torch.device(draws_on)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batch_rng_draws_on_a_gpu() -> None:
    first, second = BatchRng(1, 1000, "cuda"), BatchRng(1, 1000, "cuda")
    for draw in ("randn", "rand"):
        drawn = getattr(first, draw)(30)
        assert drawn.device.type == "cuda"
        assert torch.equal(drawn, getattr(second, draw)(30))
        mean, std = (0.0, 1.0) if draw == "randn" else (0.5, 12**-0.5)
        assert abs(float(drawn.mean()) - mean) < 0.03
        assert abs(float(drawn.std()) - std) < 0.03
    assert not torch.equal(first.fork("a").randn(3), second.fork("b").randn(3))


def test_batch_rng_gives_every_sample_its_own_numbers() -> None:
    drawn = BatchRng(0, 50).randn(4)
    assert len({tuple(one.tolist()) for one in drawn}) == 50
