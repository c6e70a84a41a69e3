"""What a critic and its rival lose to each other, and how a critic that wins is found.

The loss is relativistic, with gradient penalties on true and made pictures (R3GAN, arXiv
2501.05441, eq. 2 to 4); these are finite differences (APT, arXiv 2501.08316, section 3.3), so that
nothing is differentiated twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import TrainingError
from ..rng import Rng

Logits = list[Tensor]
"""(B, places) of each head of the critic."""


class CriticOptions(Protocol):
    """The settings of a critic's loss."""

    @property
    def penalty(self) -> float:
        """Of its change by a little noise."""

    @property
    def penalty_noise(self) -> float:
        """Standard deviation of that noise."""

    @property
    def largest_gap(self) -> float:
        """Between true and made pictures; beyond it training stops."""


def rival_loss(fake: Logits, real: Logits) -> Tensor:
    """(B,) what the maker of pictures loses to the critic, which it does not move."""
    return pairwise(fake, [one.detach() for one in real], F.softplus)


def critic_loss(
    pairs: Sequence[tuple[Tensor, Logits]],
    logits: Callable[[Tensor], Logits],
    options: CriticOptions,
    rng: Rng,
    counts: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) what the critic loses, and its metrics.

    Args:
        pairs: (B, ...) true pictures and (B, ...) made ones, with what the critic says of each.
        logits: the critic.
        options: its settings.
        rng: of the penalties' noise.
        counts: (B,) bool, of which made pictures it is to judge; none is all.
    """
    (truth, real), (_, fake) = pairs
    counts = truth.new_ones(len(truth), dtype=torch.bool) if counts is None else counts
    told = pairwise(real, fake, F.softplus)
    loss = told * counts
    gap = pairwise(real, fake, torch.neg)
    noted = {"critic": mean_of(told, counts), "gap": mean_of(gap, counts)}
    if options.penalty:
        noise = options.penalty_noise * rng.randn(*truth.shape[1:])
        moved = [pairwise(logits(one + noise), said, torch.square) for one, said in pairs]
        noted["penalty"] = torch.stack(moved).sum(0)
        loss = loss + options.penalty * noted["penalty"]
    return loss, noted


def mean_of(values: Tensor, counts: Tensor) -> Tensor:
    """(B,) for the log: their mean is that of the samples that count; 0 where none does."""
    return values * counts / counts.float().mean().clamp(min=1 / len(counts))


def check_gap(means: Mapping[str, float], options: CriticOptions, where: str, rate: str) -> None:
    """Raise TrainingError where the critic wins.

    Args:
        means: of the metrics.
        options: of the critic.
        where: the section that these settings are in.
        rate: the name of its learning rate there.
    """
    gap, most = means.get("gap", 0.0), options.largest_gap
    if gap > most:
        raise TrainingError(
            f"the critic wins: its logits of true and made pictures are {gap:.1f} apart, more "
            f"than {where}.largest_gap, {most:g}. Raise {where}.penalty or lower {where}.{rate}"
        )


def pairwise(one: Logits, other: Logits, fn: Callable[[Tensor], Tensor]) -> Tensor:
    """(B,) the mean of fn(other - one) over places, then over heads."""
    return torch.stack([fn(b - a).float().mean(1) for a, b in zip(one, other, strict=True)]).mean(0)


@contextmanager
def constant(net: nn.Module) -> Iterator[None]:
    """What is computed here has no gradient in a network's weights."""
    net.requires_grad_(False)
    try:
        yield
    finally:
        net.requires_grad_(True)
