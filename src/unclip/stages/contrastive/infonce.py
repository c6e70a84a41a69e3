"""InfoNCE: which caption is the picture's, and which picture the caption's?"""

from __future__ import annotations

from torch import Tensor, nn

from ...nn.clip import Clip
from ..comparing import Samples
from .scores import ProjectedLoss, infonce


class InfoNce(ProjectedLoss):
    """Which caption is the picture's, and which picture the caption's? The usual loss."""

    def loss(
        self, samples: Samples, net: Clip, heads: nn.Module | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `infonce`."""
        scores = self.scores(samples, net)
        return infonce(scores), self.metrics(scores, samples, net)


LOSS = InfoNce
