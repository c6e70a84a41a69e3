"""What a loss of CLIP is."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from ...config import Config
from ...nn.clip import Clip
from .encoded import Encoded

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


class ClipLoss(Config):
    """The settings of a loss, and what it computes."""

    weight: float = Field(1.0, ge=0, description="of this loss in the sum; 0 leaves it out")

    meets: ClassVar[bool] = False  # whether it makes z_i and z_t of a pair alike
    first_scale: ClassVar[float | None] = None  # 1 / temperature to begin with, if not CLIP's

    @property
    def name(self) -> str:
        """The loss's name: its file's."""
        return type(self).__module__.rpartition(".")[2]

    def heads(self, net: Clip) -> nn.Module | None:
        """Further weights, which are trained beside the network and are in no model."""
        return None

    @abstractmethod
    def features(self, encoded: Encoded, heads: nn.Module | None) -> Features:
        """What `loss` needs to know of each sample; it may not depend on other samples."""

    @abstractmethod
    def loss(
        self, samples: Samples, net: Clip, heads: nn.Module | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(B,) of this process's samples, and metrics (B,) or ().

        The mean over all processes is the loss of the whole batch.
        """
