"""Randomness: one generator per sample, so that a picture depends on its own seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor


class Rng:
    """Draws for a batch, sample i from its own generator seeded with `seeds[i]`.

    Numbers are drawn on the CPU and then moved, so that they do not depend on the device, and
    sample by sample, so that they do not depend on the batch (EDM2 calls this stacked).
    """

    def __init__(self, seeds: Sequence[int | str], device: torch.device | str = "cpu") -> None:
        self.seeds = tuple(seeds)
        self.device = torch.device(device)
        self._generators = [_generator(seed) for seed in self.seeds]

    def fork(self, name: str) -> Self:
        """Independent generators that depend on the seeds and `name`, not on what was drawn."""
        return type(self)([f"{seed}/{name}" for seed in self.seeds], self.device)

    def branch(self, name: str, count: int) -> Self:
        """As `fork`, for a batch that holds the samples `count` times over, one after another."""
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
    """The same draws from one generator for the whole batch: for training, where speed counts.

    On a GPU they are drawn there. A seed then gives the same numbers on every device of one type,
    and others on a CPU.
    """

    def __init__(self, seed: int | str, batch: int, device: torch.device | str = "cpu") -> None:
        self.seeds = (seed,)
        self.batch = batch
        self.device = torch.device(device)
        self._generator = _generator(seed, drawing_device(self.device))

    def fork(self, name: str) -> Self:
        """An independent generator that depends on the seed and `name`."""
        return type(self)(f"{self.seeds[0]}/{name}", self.batch, self.device)

    def branch(self, name: str, count: int) -> Self:
        """An independent generator for `count` times as many samples."""
        return type(self)(f"{self.seeds[0]}/{name}", count * self.batch, self.device)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal float32, (B, *shape)."""
        return self._draw(torch.randn, shape)

    def rand(self, *shape: int) -> Tensor:
        """Uniform on [0, 1) float32, (B, *shape)."""
        return self._draw(torch.rand, shape)

    def _draw(self, fn: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        source = self._generator
        return _drawn(fn, (self.batch, *shape), source).to(self.device)


def _drawn(fn: Callable[..., Tensor], shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """float32, on the generator's own device, whatever PyTorch's defaults are."""
    return fn(shape, generator=generator, dtype=torch.float32, device=generator.device)


def drawing_device(device: torch.device) -> torch.device:
    """Where numbers for training on `device` are drawn: there on a GPU, else on the CPU."""
    return device if device.type in ("cuda", "mps") else torch.device("cpu")


def _generator(seed: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    # hashed, because the generator keeps 32 bits of a seed: 0 and 2**32 would draw the same
    digest = hashlib.sha256(str(seed).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little", signed=True))
