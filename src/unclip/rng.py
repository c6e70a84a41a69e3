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

    Args:
        seed: of the generator.
        batch: how many samples.
        device: where the numbers go.
        part: (index, count): these samples are that one of `count` parts of the whole batch, and
            get the numbers that they have there.
        copies: how often the batch holds each of the samples, all of them one after another.
    """

    def __init__(
        self,
        seed: int | str,
        batch: int,
        device: torch.device | str = "cpu",
        part: tuple[int, int] = (0, 1),
        copies: int = 1,
    ) -> None:
        self.seeds = (seed,)
        self.batch, self.part, self.copies = batch, part, copies
        self.device = torch.device(device)
        self._generator = _generator(seed, drawing_device(self.device))

    def fork(self, name: str) -> Self:
        """An independent generator that depends on the seed and `name`."""
        seed = f"{self.seeds[0]}/{name}"
        return type(self)(seed, self.batch, self.device, self.part, self.copies)

    def branch(self, name: str, count: int) -> Self:
        """An independent generator for `count` times as many samples."""
        seed = f"{self.seeds[0]}/{name}"
        return type(self)(seed, count * self.batch, self.device, self.part, count * self.copies)

    def randn(self, *shape: int) -> Tensor:
        """Standard normal float32, (B, *shape)."""
        return self._draw(torch.randn, shape)

    def rand(self, *shape: int) -> Tensor:
        """Uniform on [0, 1) float32, (B, *shape)."""
        return self._draw(torch.rand, shape)

    def _draw(self, fn: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        (index, parts), samples = self.part, self.batch // self.copies
        drawn = _drawn(fn, (self.copies, parts * samples, *shape), self._generator)
        mine = drawn[:, index * samples : (index + 1) * samples]
        return mine.reshape(self.batch, *shape).to(self.device)


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
