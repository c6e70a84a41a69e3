"""Random numbers: one generator per sample, so that a picture depends only on its seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor


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
    """One generator for the whole batch, which is faster: for training.

    On a GPU the numbers are drawn there. A seed then gives the same numbers on all devices of one
    type, and others on a CPU.

    Args:
        seed: seed of the generator.
        batch: number of samples.
        device: device of the results.
        part: (index, count): the samples are part `index` of `count` of a whole batch, and get the
            same numbers as there.
        copies: number of copies of all samples in the batch, one copy after another.
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
    """float32, on the generator's device, independent of PyTorch's defaults."""
    return fn(shape, generator=generator, dtype=torch.float32, device=generator.device)


def drawing_device(device: torch.device) -> torch.device:
    """The device that draws numbers for training on `device`: a GPU itself, else the CPU."""
    return device if device.type in ("cuda", "mps") else torch.device("cpu")


def _generator(seed: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    # hashed, because the generator keeps 32 bits of a seed: 0 and 2**32 would draw the same
    digest = hashlib.sha256(str(seed).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little", signed=True))
