"""Randomness: one generator per sample, so that a picture depends on its own seed alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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

    def randn(self, *shape: int) -> Tensor:
        """Standard normal float32, (B, *shape)."""
        drawn = [torch.randn(shape, generator=generator) for generator in self._generators]
        return torch.stack(drawn).to(self.device)

    def rand(self, *shape: int) -> Tensor:
        """Uniform on [0, 1) float32, (B, *shape)."""
        drawn = [torch.rand(shape, generator=generator) for generator in self._generators]
        return torch.stack(drawn).to(self.device)

    def bernoulli(self, probability: float) -> Tensor:
        """True with `probability`, (B,) bool."""
        return self.rand() < probability


class BatchRng(Rng):
    """The same draws from one generator for the whole batch: for training, where speed counts."""

    def __init__(self, seed: int | str, batch: int, device: torch.device | str = "cpu") -> None:
        self.seeds = (seed,)
        self.batch = batch
        self.device = torch.device(device)
        self._generator = _generator(seed)

    def fork(self, name: str) -> Self:
        """An independent generator that depends on the seed and `name`."""
        return type(self)(f"{self.seeds[0]}/{name}", self.batch, self.device)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal float32, (B, *shape)."""
        return torch.randn((self.batch, *shape), generator=self._generator).to(self.device)

    def rand(self, *shape: int) -> Tensor:
        """Uniform on [0, 1) float32, (B, *shape)."""
        return torch.rand((self.batch, *shape), generator=self._generator).to(self.device)


def _generator(seed: int | str) -> torch.Generator:
    # hashed, because the generator keeps 32 bits of a seed: 0 and 2**32 would draw the same
    digest = hashlib.sha256(str(seed).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
