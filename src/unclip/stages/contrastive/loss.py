"""What a loss of CLIP is."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from ...config import Config
from ...nn.clip import Clip
from ..comparing import Features, Samples
from .encoded import Encoded


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
