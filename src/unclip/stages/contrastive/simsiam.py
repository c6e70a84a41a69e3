"""SimSiam: one view of a picture tells what the encoder says of the other."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ...nn.clip import Clip
from ..comparing import Features, Samples
from .encoded import Encoded
from .loss import ClipLoss
from .views import Augmentation


def distance(predicted: Tensor, projected: Tensor) -> Tensor:
    """(B,) 1 - cos, whose gradient ends at `projected` (arXiv 2011.10566, eq. 1 and 3)."""
    return 1 - F.cosine_similarity(predicted, projected.detach(), dim=-1)


class SimSiam(ClipLoss):
    """One view of a picture tells what the encoder says of the other (DeCLIP, arXiv 2110.05208)."""

    weight: float = Field(0.05, ge=0, description="of this loss in the sum; 0 leaves it out")
    width: int = Field(256, gt=0, description="of the projection")
    views: Augmentation = Augmentation()

    def heads(self, net: Clip) -> nn.Module | None:
        """Projector and predictor. Layer norms, where the paper has batch norms."""
        width, narrow = self.width, max(1, self.width // 4)
        projector = [nn.Linear(net.config.embed_dim, width), nn.LayerNorm(width), nn.ReLU()]
        projector += [nn.Linear(width, width), nn.LayerNorm(width)]
        predictor = [nn.Linear(width, narrow), nn.LayerNorm(narrow), nn.ReLU()]
        predictor += [nn.Linear(narrow, width)]
        return nn.ModuleDict(
            {"projector": nn.Sequential(*projector), "predictor": nn.Sequential(*predictor)}
        )

    def features(self, encoded: Encoded, heads: nn.Module | None) -> Features:
        """`simsiam`: (B,) the mean distance of both predictions, 0 to 2."""
        assert isinstance(heads, nn.ModuleDict)
        one, other = (heads["projector"](z).float() for z in encoded.views(self.views))
        told = heads["predictor"](one).float(), heads["predictor"](other).float()
        return {"simsiam": (distance(told[0], other) + distance(told[1], one)) / 2}

    def loss(
        self, samples: Samples, net: Clip, heads: nn.Module | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """It is a feature: no sample sees another."""
        return samples.own["simsiam"], {}


LOSS = SimSiam
