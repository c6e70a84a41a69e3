"""A sample's draws depend on its own seed alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from unclip.rng import BatchRng, Rng, drawing_device

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


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_a_part_of_a_batch_has_the_numbers_that_it_has_in_the_whole(parts: int) -> None:
    """Forks and branches too: in copy k of the whole and of the part alike."""
    size = 6 // parts

    def drawn(batch: int, part: tuple[int, int]) -> Iterator[Tensor]:
        rng = BatchRng("0/decoder/3", batch, part=part)
        for one, copies in ((rng, 1), (rng.fork("a"), 1), (rng.fork("a").branch("b", 2), 2)):
            for draw in (one.randn, one.rand):
                yield draw(2).view(copies, batch, 2)

    for index in range(parts):
        wholes = drawn(6, (0, 1))
        for mine, whole in zip(drawn(size, (index, parts)), wholes, strict=True):
            assert torch.equal(mine, whole[:, index * size : (index + 1) * size])


def test_known_numbers_of_batch_rng() -> None:
    """A training that was stopped goes on with these."""
    rng = BatchRng("0/decoder/3", 2)
    normal = [-0.789657711982727, -0.8755156993865967, -1.2878435850143433, -1.7495574951171875]
    assert rng.randn(2).flatten().tolist() == normal
    uniform = [0.9744869470596313, 0.7552803158760071, 0.7979929447174072, 0.3681100010871887]
    assert rng.rand(2).flatten().tolist() == uniform
    assert rng.fork("a").rand(1).flatten().tolist() == [0.7345927357673645, 0.8432688117027283]


@pytest.mark.parametrize(
    ("device", "draws_on"),
    [("cpu", "cpu"), ("meta", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("mps", "mps")],
)
def test_training_draws_where_it_computes(device: str, draws_on: str) -> None:
    assert drawing_device(torch.device(device)) == torch.device(draws_on)
    if device in ("cpu", "meta"):
        assert BatchRng(0, 2, device)._generator.device == torch.device(draws_on)


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
