"""Samples become batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..data import Sample
from ..media import from_uint8
from ..nn.tokenizer import Tokenizer
from .loader import Batch

NULL_TOKENS = ("null_text_tokens", "null_text_mask")


def pictures(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1], laid out channels_last."""
    return from_uint8(images.permute(0, 3, 1, 2))


def middle(image: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 3, S, S), the middle of each; S is the shorter side."""
    height, width = image.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[..., top : top + side, left : left + side]


@dataclass(frozen=True)
class Collate:
    """Samples -> a batch of what `keys` names, as far as every sample has it.

    `caption` becomes `text_tokens` and `text_mask` (B, N), and `wrong` becomes `negative_tokens`
    and `negative_mask`; arrays are stacked. With `null` there is an empty caption beside each. It
    holds no network: processes that make batches get it.
    """

    tokenizer: Tokenizer
    keys: tuple[str, ...] = ("image", "caption")
    null: bool = False

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        batch: Batch = {}
        for key in self.keys:
            if not all(key in sample for sample in samples):
                continue
            values = [sample[key] for sample in samples]  # type: ignore[literal-required]
            if text := {"caption": "text", "wrong": "negative"}.get(key):
                batch[f"{text}_tokens"], batch[f"{text}_mask"] = self.tokenizer.encode(values)
            else:
                batch[key] = torch.from_numpy(np.stack(values))
        if self.null:
            empty = self.tokenizer.encode([""] * len(samples))
            batch |= dict(zip(NULL_TOKENS, empty, strict=True))
        return batch
