"""What CLIP learns from: one file a loss, whose `LOSS` is its settings and says how to compute it.

A loss works in two parts, so that a batch may be larger than memory, and spread over processes:
`features` says of each sample, alone, what the encoders make of it; `loss` compares the features
of this process's samples with everyone's.
"""

from __future__ import annotations

from ...registry import Registry
from .loss import ClipLoss

LOSSES: Registry[type[ClipLoss]] = Registry("unclip.stages.contrastive", "LOSS", "loss of CLIP")
"""Losses by the names of their files."""
