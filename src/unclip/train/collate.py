"""Batches of samples: captions as tokens, arrays stacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..data import Sample
from ..nn.tokenizer import Tokenizer
from .loader import Batch

NULL_TOKENS = ("null_text_tokens", "null_text_mask")
"""Of the empty caption, beside each."""


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
