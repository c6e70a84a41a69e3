"""Scores of pictures and captions, and what compares each one's own with the others'."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ...nn.clip import Clip
from ...nn.layers import identity_
from ..comparing import Features, Samples
from .encoded import Encoded
from .loss import ClipLoss

_OUT = -1e4
"""Far below any score; minus infinity times 0 is no 0."""


@dataclass(frozen=True)
class Scores:
    """How well own pictures and captions fit everyone's, times 1 / temperature.

    Args:
        by_image: (B, N) of own pictures and everyone's captions.
        by_text: (B, N) of own captions and everyone's pictures.
        same: (B, N) float, 1 where the two captions are equal. Their pictures are one class: to
            call a second picture of a caption wrong would teach a falsehood.
        negative: (B, N) of own pictures and everyone's almost true captions (NegCLIP, arXiv
            2210.01936, section 4); those that are true of the picture do not count.
    """

    by_image: Tensor
    by_text: Tensor
    same: Tensor
    negative: Tensor | None = None

    @property
    def wide(self) -> Tensor:
        """(B, N) or (B, 2N): `by_image`, and `negative` to its right."""
        return (
            self.by_image if self.negative is None else torch.cat([self.by_image, self.negative], 1)
        )

    def widened(self, values: Tensor) -> Tensor:
        """(B, N) values of captions, and 0 for those that are almost true, as wide as `wide`."""
        return values if self.negative is None else torch.cat([values, torch.zeros_like(values)], 1)

    @property
    def target(self) -> Tensor:
        """(B, N) what is right, shared evenly among equal captions."""
        return self.same / self.same.sum(1, keepdim=True)

    def metrics(self, first: int, prefix: str = "") -> dict[str, Tensor]:
        """How often a picture's own caption scores best; `first` is the first one's place."""
        hit = self.same.gather(1, self.by_image.argmax(1, keepdim=True))[:, 0]
        told = {f"{prefix}accuracy": hit}
        if self.negative is not None:
            place = torch.arange(first, first + len(hit), device=hit.device)[:, None]
            own, almost = self.by_image.gather(1, place), self.negative.gather(1, place)
            told[f"{prefix}negative_accuracy"] = (own > almost)[:, 0].float()
        return told


def infonce(scores: Scores) -> Tensor:
    """(B,) symmetric cross-entropy (CLIP, arXiv 2103.00020, figure 3)."""
    target = scores.target
    by_image = F.cross_entropy(scores.wide, scores.widened(target), reduction="none")
    by_text = F.cross_entropy(scores.by_text, target, reduction="none")
    return (by_image + by_text) / 2


def dcl(scores: Scores, floor: float) -> Tensor:
    """(B,) InfoNCE whose denominator lacks what is right (DCL, arXiv 2110.06848, eq. 6).

    InfoNCE is log(1 + exp(DCL)), so DCL goes on falling, without end, where InfoNCE is 0. Each
    direction ends at -`floor`: below, it has no gradient.
    """

    def rows(logits: Tensor, same: Tensor, target: Tensor) -> Tensor:
        others = logits.masked_fill(same > 0, _OUT).logsumexp(1)
        return (others - (target * logits).sum(1)).clamp(min=-floor)

    same, target = scores.same, scores.target
    by_image = rows(scores.wide, scores.widened(same), scores.widened(target))
    return (by_image + rows(scores.by_text, same, target)) / 2


def siglip(scores: Scores, bias: Tensor) -> Tensor:
    """(B,) every pair alone: is it one or not (SigLIP, arXiv 2303.15343, algorithm 1)?"""
    sign = 2 * scores.widened(scores.same) - 1
    return -F.logsigmoid(sign * (scores.wide + bias)).sum(1)


def scale(net: Clip) -> Tensor:
    """1 / temperature, at most 100 (CLIP, section 2.5)."""
    return net.log_scale.exp().clamp(max=100.0)


def same_captions(samples: Samples) -> Tensor:
    """(B, N) float, 1 where the captions are equal."""
    return (samples.own["tokens"][:, None] == samples.every("tokens")[None]).all(-1).float()


def without_true(scores: Tensor, samples: Samples) -> Tensor:
    """(B, N) scores of almost true captions, without those that are true of the picture."""
    true = (samples.own["tokens"][:, None] == samples.every("negative_tokens")[None]).all(-1)
    return scores.masked_fill(true, _OUT)


class EmbeddingLoss(ClipLoss):
    """A loss of the embeddings z_i and z_t."""

    meets = True

    def features(self, encoded: Encoded, heads: nn.Module | None) -> Features:
        """z_i, z_t, z of almost true captions; tokens, by which captions are equal."""
        z_t, tokens = encoded.read[0], encoded.text[0]
        features = {"image": encoded.seen[0], "text": z_t, "tokens": tokens}
        if encoded.negative is not None:
            assert encoded.cond.negative_tokens is not None
            features |= {"negative": encoded.negative[0]}
            features |= {"negative_tokens": encoded.cond.negative_tokens}
        return features

    def scores(self, samples: Samples, net: Clip) -> Scores:
        """Cosines, times 1 / temperature."""
        one, own, every = scale(net), samples.own, samples.every
        by_image = one * own["image"] @ every("text").T  # (B, N)
        alone = every("image") is own["image"]
        by_text = by_image.T if alone else one * own["text"] @ every("image").T
        negative = None
        if "negative" in samples:
            negative = without_true(one * own["image"] @ every("negative").T, samples)
        return Scores(by_image, by_text, same_captions(samples), negative)

    def metrics(self, scores: Scores, samples: Samples, net: Clip) -> dict[str, Tensor]:
        """The accuracy, and 1 / temperature."""
        return {**scores.metrics(samples.first), "scale": net.log_scale.exp()}


class ProjectedLoss(EmbeddingLoss):
    """A loss of embeddings whose captions may be compared in a space of their own."""

    extra_projection: bool = Field(
        False, description="captions seek their picture in a second space (after CLOOB)"
    )

    def heads(self, net: Clip) -> nn.Module | None:
        """A second projection of each embedding, at first the same."""
        if not self.extra_projection:
            return None
        names, width = ("image", "text"), net.config.embed_dim
        heads = nn.ModuleDict({name: nn.Linear(width, width, bias=False) for name in names})
        for name in names:
            identity_(heads[name].weight)  # type: ignore[arg-type]
        return heads

    def features(self, encoded: Encoded, heads: nn.Module | None) -> Features:
        """See `EmbeddingLoss`; and the second projections."""
        features = super().features(encoded, heads)
        if self.extra_projection:
            assert isinstance(heads, nn.ModuleDict)
            for name in ("image", "text"):
                features[f"{self.name} {name}"] = F.normalize(
                    heads[name](features[name]).float(), dim=-1
                )
        return features

    def scores(self, samples: Samples, net: Clip) -> Scores:
        """See `EmbeddingLoss`; captions see the second projections."""
        scores = super().scores(samples, net)
        if not self.extra_projection:
            return scores
        texts, images = samples.own[f"{self.name} text"], samples.every(f"{self.name} image")
        by_text = scale(net) * texts @ images.T
        return Scores(scores.by_image, by_text, scores.same, scores.negative)
