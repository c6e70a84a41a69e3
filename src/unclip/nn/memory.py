"""Memory for time: what is cheap to compute is computed twice, and not kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def recomputed(work: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """`work(*inputs)`, of which the backward pass keeps the inputs alone (arXiv 1604.06174).

    The backward pass runs `work` again up to the last operation that keeps anything. Where that is
    a convolution or a linear layer, its input is made again and its product is not: what is paid
    are the norms and activations before it. Nothing in `work` may be random.
    """
    if not torch.is_grad_enabled():
        return work(*inputs)
    out: Tensor = checkpoint(
        work, *inputs, use_reentrant=False, preserve_rng_state=False, determinism_check="none"
    )
    return out


def distinct(keep: Tensor | None) -> tuple[Tensor, Tensor] | None:
    """Which samples to encode where those that are hidden are alike, one of them for all.

    Args:
        keep: (B,) bool, whether a sample's condition is not hidden.

    Returns:
        (R,) the samples to encode, and (B,) where in these each sample's own is. None where that
        saves nothing, and on a GPU, which would have to wait for these numbers.
    """
    if keep is None or keep.device.type != "cpu":
        return None
    kept, hidden = keep.nonzero()[:, 0], (~keep).nonzero()[:, 0]
    if len(hidden) < 2:
        return None
    place = torch.full_like(keep, len(kept), dtype=torch.long)
    place[kept] = torch.arange(len(kept))
    return torch.cat([kept, hidden[:1]]), place
