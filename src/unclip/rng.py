"""Random numbers: one generator per sample, so that a picture depends only on its seed."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from .device import ACCELERATORS

BLOCK = 8
"""Neighbouring positions of a stream whose numbers one generator draws, in training."""


class Rng:
    """Draws for a batch, sample i from its own generator seeded with `seeds[i]`.

    Numbers are drawn on the CPU and then moved, so they do not depend on the device, and sample by
    sample, so they do not depend on the batch (a stacked generator in EDM2).
    """

    def __init__(self, seeds: Sequence[int | str], device: torch.device | str = "cpu") -> None:
        self.seeds = tuple(seeds)
        self.device = torch.device(device)
        self._generators = [_generator(seed) for seed in self.seeds]

    def fork(self, name: str) -> Self:
        """Independent generators that depend on the seeds and `name`, not on earlier draws."""
        return type(self)([f"{seed}/{name}" for seed in self.seeds], self.device)

    def duplicate(self) -> Self:
        """One that draws what this one draws from now on."""
        other = copy.copy(self)
        other._generators = [one.clone_state() for one in self._generators]
        return other

    def branch(self, name: str, count: int) -> Self:
        """As `fork`, for a batch of `count` copies of all samples, one copy after another."""
        seeds = [f"{seed}/{name}{k}" for k in range(count) for seed in self.seeds]
        return type(self)(seeds, self.device)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal float32, (B, *shape)."""
        drawn = [_drawn(torch.randn, shape, generator) for generator in self._generators]
        return torch.stack(drawn).to(self.device)

    def rand(self, *shape: int) -> Tensor:
        """Uniform on [0, 1) float32, (B, *shape)."""
        drawn = [_drawn(torch.rand, shape, generator) for generator in self._generators]
        return torch.stack(drawn).to(self.device)

    def bernoulli(self, probability: float) -> Tensor:
        """True with `probability`, (B,) bool."""
        return self.rand() < probability


class BatchRng(Rng):
    """One generator for every `BLOCK` positions of a stream, which is faster: for training.

    A sample's numbers depend on the seed and its position, not on the batch that it is in. On a GPU
    they are drawn there. A seed then gives the same numbers on all devices of one type, and others
    on a CPU.

    Args:
        seed: seed of the generators.
        batch: number of samples.
        device: device of the results.
        first: position of the first sample in the stream; the others follow it.
    """

    def __init__(
        self, seed: int | str, batch: int, device: torch.device | str = "cpu", first: int = 0
    ) -> None:
        self.device = torch.device(device)
        self.samples, self.first = batch, first
        self._start([seed])

    def _start(self, seeds: Sequence[int | str]) -> None:
        """One seed a copy of the samples; its generators begin where `_draw` cuts `samples` out."""
        self.seeds = tuple(seeds)
        blocks, device = self._blocks(), drawing_device(self.device)
        self._generators = [_generator(f"{one}/{n}", device) for one in seeds for n in blocks]

    def _blocks(self) -> range:
        return range(self.first // BLOCK, -(-(self.first + self.samples) // BLOCK))

    @property
    def batch(self) -> int:
        """Number of samples, their copies included."""
        return self.samples * len(self.seeds)

    def fork(self, name: str) -> Self:
        """Independent generators that depend on the seed and `name`."""
        return self._like([f"{seed}/{name}" for seed in self.seeds])

    def branch(self, name: str, count: int) -> Self:
        """Independent generators for `count` copies of all samples, one copy after another."""
        return self._like([f"{seed}/{name}{k}" for k in range(count) for seed in self.seeds])

    def part(self, start: int, end: int) -> Self:
        """What samples `start` to `end` of the batch draw, from the first of their draws on."""
        other = copy.copy(self)
        other.first, other.samples = self.first + start, end - start
        other._start(self.seeds)
        return other

    def _like(self, seeds: Sequence[int | str]) -> Self:
        other = copy.copy(self)
        other._start(seeds)
        return other

    def randn(self, *shape: int) -> Tensor:
        """Standard normal float32, (B, *shape)."""
        return self._draw(torch.randn, shape)

    def rand(self, *shape: int) -> Tensor:
        """Uniform on [0, 1) float32, (B, *shape)."""
        return self._draw(torch.rand, shape)

    def _draw(self, fn: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        drawn = torch.cat([_drawn(fn, (BLOCK, *shape), one) for one in self._generators])
        before = self.first % BLOCK
        mine = drawn.view(len(self.seeds), -1, *shape)[:, before : before + self.samples]
        return mine.reshape(self.batch, *shape).to(self.device)


def _drawn(fn: Callable[..., Tensor], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """float32, on the generator's device, independent of PyTorch's defaults."""
    return fn(shape, generator=generator, dtype=torch.float32, device=generator.device)


def drawing_device(device: torch.device) -> torch.device:
    """The device that draws numbers for training on `device`: a GPU itself, else the CPU."""
    return device if device.type in ACCELERATORS else torch.device("cpu")


def _generator(seed: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    # hashed, because the generator keeps 32 bits of a seed: 0 and 2**32 would draw the same
    digest = hashlib.sha256(str(seed).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little", signed=True))
