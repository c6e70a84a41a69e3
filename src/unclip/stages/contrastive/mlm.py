"""MLM: the words that are hidden, told from the others."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ...nn.clip import Clip
from ...rng import Rng
from ..comparing import Features, Samples
from .encoded import Encoded
from .loss import ClipLoss

HIDDEN = 0
"""The token that stands for a hidden one where the encoder has no padding of its own."""


def hidden_words(mask: Tensor, share: float, rng: Rng) -> Tensor:
    """(B, N) bool: at random `share` of each caption's words, one at least; never its end.

    Args:
        mask: (B, N) bool, True on real tokens, of which the last is the end.
    """
    place = torch.arange(mask.shape[1], device=mask.device)
    words = mask & (place < mask.sum(1, keepdim=True) - 1)
    drawn = rng.rand(mask.shape[1]).masked_fill(~words, 2.0)
    rank = drawn.argsort(1).argsort(1)
    return words & (rank < (share * words.sum(1, keepdim=True)).ceil())


class Mlm(ClipLoss):
    """Words of the caption are hidden and told from the others (DeCLIP, arXiv 2110.05208)."""

    weight: float = Field(0.05, ge=0, description="of this loss in the sum; 0 leaves it out")
    share: float = Field(0.15, gt=0, lt=1, description="of a caption's words that is hidden")

    def heads(self, net: Clip) -> nn.Module | None:
        """What tells a word from its encoding."""
        text = net.config.text
        assert text is not None
        return nn.Linear(text.width, text.vocab_size)

    def features(self, encoded: Encoded, heads: nn.Module | None) -> Features:
        """`mlm`: (B,) the mean cross-entropy of a caption's hidden words; 0 where it has none.

        A hidden word is padding of its place, if the encoder has learnt one, and else the token 0.
        """
        assert heads is not None and encoded.net.config.text is not None
        tokens, mask = encoded.text
        hidden = hidden_words(mask, self.share, encoded.rng.fork("mlm"))
        if encoded.net.config.text.learned_padding:
            shown = tokens, mask & ~hidden
        else:
            shown = tokens.masked_fill(hidden, HIDDEN), mask
        logits = heads(encoded.net.encode_text(*shown)[1]).float()  # (B, N, vocabulary)
        each = F.cross_entropy(logits.transpose(1, 2), tokens, reduction="none")
        return {"mlm": (each * hidden).sum(1) / hidden.sum(1).clamp(min=1)}

    def loss(
        self, samples: Samples, net: Clip, heads: nn.Module | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """It is a feature: no sample sees another."""
        return samples.own["mlm"], {}


LOSS = Mlm
