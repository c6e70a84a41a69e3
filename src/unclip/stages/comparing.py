"""Stages whose loss compares samples, in batches larger than memory or a process."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

from torch import Tensor, nn

from ..rng import Rng
from ..types import Cond
from .stage import Stage

Features = dict[str, Tensor]
"""What losses know of samples, (B, ...) each. Losses may share what has the same name."""


class Everyone:
    """Who trains together: here, one process. `first` is the place of its first sample among all.

    Where there are more, a subclass gathers from all of them, and what each has of the gradient
    comes back to the process that the sample belongs to.
    """

    rank: int = 0

    def gather(self, own: Tensor) -> Tensor:
        """(B, ...) of each process -> (world · B, ...) of all, in the order of the ranks."""
        return own


@dataclass
class Samples:
    """The features of this process's samples, `own`, and of everyone's."""

    own: Features
    everyone: Everyone = field(default_factory=Everyone)
    _all: Features = field(default_factory=dict)

    def every(self, name: str) -> Tensor:
        """(N, ...) a feature of all samples, gathered once."""
        if name not in self._all:
            self._all[name] = self.everyone.gather(self.own[name])
        return self._all[name]

    def __contains__(self, name: str) -> bool:
        return name in self.own

    @property
    def first(self) -> int:
        """The place of the first of its samples among everyone's."""
        return self.everyone.rank * len(next(iter(self.own.values())))


class ComparingStage(Stage):
    """A stage whose loss is computed in two parts: of each sample alone, and of all together."""

    def heads(self) -> nn.ModuleDict:
        """Weights that the loss has beside the network's, and that are in no model."""
        return nn.ModuleDict()

    @abstractmethod
    def features(self, cond: Cond, rng: Rng, heads: nn.ModuleDict) -> Features:
        """What `compare` needs to know of each sample; it may not depend on other samples."""

    @abstractmethod
    def compare(self, samples: Samples, heads: nn.ModuleDict) -> tuple[Tensor, dict[str, Tensor]]:
        """(B,) the loss of this process's samples, and metrics (B,) or ().

        The mean over all processes is the loss of the whole batch.
        """

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Of one process's batch, where the loss has no weights of its own."""
        none = nn.ModuleDict()
        return self.compare(Samples(self.features(cond, rng, none)), none)
