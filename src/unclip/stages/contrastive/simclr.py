"""SimCLR: two views of one picture find each other among all views."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ...nn.clip import Clip
from ..comparing import Features, Samples
from .encoded import Encoded
from .loss import ClipLoss
from .views import Augmentation


def nt_xent(
    own: tuple[Tensor, Tensor], every: tuple[Tensor, Tensor], first: int, temperature: float
) -> Tensor:
    """(B,) which of all other views is the picture's second (arXiv 2002.05709, eq. 1)?

    Args:
        own: (B, K) of norm 1, of the first views and the second.
        every: (N, K) the same of all samples.
        first: place of the first of `own` among all.
        temperature: divides the cosines.
    """
    count, everyone = len(own[0]), torch.cat(every)
    place = torch.arange(first, first + count, device=everyone.device)
    losses = []
    for k in (0, 1):
        logits = own[k] @ everyone.T / temperature  # (B, 2N)
        itself, other = place + k * len(every[0]), place + (1 - k) * len(every[0])
        losses.append(
            F.cross_entropy(logits.scatter(1, itself[:, None], -1e4), other, reduction="none")
        )
    return (losses[0] + losses[1]) / 2


class SimClr(ClipLoss):
    """Two views of a picture find each other among all views (SLIP, arXiv 2112.12750)."""

    weight: float = Field(0.05, ge=0, description="of this loss in the sum; 0 leaves it out")
    temperature: float = Field(0.1, gt=0, description="divides the cosines")
    width: int = Field(256, gt=0, description="of the projection")
    views: Augmentation = Augmentation()

    def heads(self, net: Clip) -> nn.Module | None:
        """The projection. Layer norms, where the paper has batch norms: no sample sees another."""
        width = net.config.embed_dim
        hidden = nn.Sequential(nn.Linear(width, self.width), nn.LayerNorm(self.width), nn.ReLU())
        return nn.Sequential(*hidden, nn.Linear(self.width, self.width))

    def features(self, encoded: Encoded, heads: nn.Module | None) -> Features:
        """The projections of two views."""
        assert heads is not None
        one, other = encoded.views(self.views)
        return {
            f"view {k}": F.normalize(heads(z).float(), dim=-1) for k, z in enumerate((one, other))
        }

    def loss(
        self, samples: Samples, net: Clip, heads: nn.Module | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `nt_xent`."""
        own = samples.own["view 0"], samples.own["view 1"]
        every = samples.every("view 0"), samples.every("view 1")
        return nt_xent(own, every, samples.first, self.temperature), {}


LOSS = SimClr
