"""FILIP: each patch seeks its word, and each word its patch."""

from __future__ import annotations

import copy
from typing import Literal

from pydantic import Field
from torch import Tensor, einsum, nn
from torch.nn import functional as F

from ...nn.clip import Clip
from ..comparing import Features, Samples
from .encoded import Encoded
from .loss import ClipLoss
from .scores import Scores, dcl, infonce, same_captions, scale, without_true


def late_interaction(patches: Tensor, words: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """How well pictures and captions fit, token by token (arXiv 2111.07783, eq. 4 and 5).

    Args:
        patches: (B, P, D) of norm 1.
        words: (N, T, D) of norm 1.
        mask: (N, T) bool, False on padding, which no patch sees.

    Returns:
        (B, N): the mean over patches of each one's best word; and the mean over words of each
        one's best patch.
    """
    fit = einsum("bpd,ntd->bnpt", patches, words).float()
    by_patch = fit.masked_fill(~mask[None, :, None], -2.0).max(3).values.mean(2)  # cosines are more
    best = fit.max(2).values * mask  # (B, N, T)
    return by_patch, best.sum(2) / mask.sum(1).clamp(min=1)


class Filip(ClipLoss):
    """Each patch seeks its word, each word its patch. It leaves z_i and z_t as they are."""

    form: Literal["infonce", "dcl"] = Field("infonce", description="what compares the scores")
    floor: float = Field(
        5.0, gt=0, description="of dcl: the loss of a sample ends here, below zero"
    )
    extra_projection: bool = Field(
        False, description="words seek their patch in a second space (after CLOOB)"
    )

    def heads(self, net: Clip) -> nn.Module | None:
        """Copies of the projections into the shared space, if words seek in a second one."""
        if not self.extra_projection:
            return None
        projections = {"image": net.vision.proj, "text": net.text_proj}
        return nn.ModuleDict({name: copy.deepcopy(one) for name, one in projections.items()})

    def features(self, encoded: Encoded, heads: nn.Module | None) -> Features:
        """Projected patches and words of norm 1, of padding too."""
        net, patches, words = encoded.net, encoded.seen[1], encoded.read[1]
        tokens, mask = encoded.text
        features = {"tokens": tokens, "mask": mask}
        features |= {"patches": _unit(net.vision.proj, patches)}
        features |= {"words": _unit(net.text_proj, words)}
        if isinstance(heads, nn.ModuleDict):
            features |= {"filip patches": _unit(heads["image"], patches)}
            features |= {"filip words": _unit(heads["text"], words)}
        if encoded.negative is not None:
            wrong, its = encoded.cond.negative_tokens, encoded.cond.negative_mask
            assert wrong is not None and its is not None
            features |= {"negative_tokens": wrong, "negative_mask": its}
            features |= {"negative_words": _unit(net.text_proj, encoded.negative[1])}
        return features

    def scores(self, samples: Samples, net: Clip) -> Scores:
        """Late interaction, times 1 / temperature."""
        own, every, mask = samples.own, samples.every, samples.every("mask")
        one = scale(net)
        by_image, by_word = late_interaction(own["patches"], every("words"), mask)
        second = "filip " if self.extra_projection else ""
        images, texts = every(f"{second}patches"), own[f"{second}words"]
        if images is not own["patches"]:  # other pictures, or other projections
            _, by_word = late_interaction(images, texts, own["mask"])
        by_text = by_word.T
        negative = None
        if "negative_words" in samples:
            its = every("negative_words"), every("negative_mask")
            negative = without_true(one * late_interaction(own["patches"], *its)[0], samples)
        return Scores(one * by_image, one * by_text, same_captions(samples), negative)

    def loss(
        self, samples: Samples, net: Clip, heads: nn.Module | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `infonce` and `dcl`."""
        scores = self.scores(samples, net)
        loss = infonce(scores) if self.form == "infonce" else dcl(scores, self.floor)
        return loss, scores.metrics(samples.first, "token_")


def _unit(projection: nn.Module, tokens: Tensor) -> Tensor:
    """(B, N, W') -> (B, N, D) float32 of norm 1."""
    return F.normalize(projection(tokens).float(), dim=-1)


LOSS = Filip
