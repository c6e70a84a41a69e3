"""Weights of a prompt's words, on the encodings of its tokens."""

from __future__ import annotations

from torch import Tensor


def weighted(encodings: Tensor, weights: Tensor | None) -> Tensor:
    """Encodings times the weights of their tokens, with the mean of each text kept.

    A1111's emphasis. A mean so near to 0 that it would change by more than tenfold is not kept.

    Args:
        encodings: (B, N, W').
        weights: (B, N); None: all are 1.
    """
    if weights is None:
        return encodings
    whole = encodings.float()
    scaled = whole * weights[..., None].float()
    ratio = whole.mean((1, 2), keepdim=True) / scaled.mean((1, 2), keepdim=True)
    return (scaled * ratio.where((ratio > 0.1) & (ratio < 10), 1.0)).to(encodings.dtype)
