"""DCL: InfoNCE without the right one in the denominator."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from ...nn.clip import Clip
from ..comparing import Samples
from .scores import ProjectedLoss, dcl


class Dcl(ProjectedLoss):
    """InfoNCE without the right one in the denominator: small batches teach as much."""

    floor: float = Field(5.0, gt=0, description="the loss of a sample ends here, below zero")

    def loss(
        self, samples: Samples, net: Clip, heads: nn.Module | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `dcl`."""
        scores = self.scores(samples, net)
        return dcl(scores, self.floor), self.metrics(scores, samples, net)


LOSS = Dcl
