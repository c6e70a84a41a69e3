"""SigLIP: does this caption belong to this picture? Asked of every pair alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...nn.clip import Clip
from ..comparing import Samples
from .scores import EmbeddingLoss, siglip


class _Bias(nn.Module):
    """-10 at first, as most pairs are none."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(-10.0))


class SigLip(EmbeddingLoss):
    """Does this caption belong to this picture? Asked of every pair alone, without a softmax."""

    first_scale = 10.0

    def heads(self, net: Clip) -> nn.Module | None:
        """The learned bias."""
        return _Bias()

    def loss(
        self, samples: Samples, net: Clip, heads: nn.Module | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `siglip`."""
        assert isinstance(heads, _Bias)
        scores = self.scores(samples, net)
        told = {**self.metrics(scores, samples, net), "bias": heads.bias}
        return siglip(scores, heads.bias), told


LOSS = SigLip
