"""Weights in 8 bits: W = NAME * NAME.scale, an int8 tensor times its scales, broadcast.

Large matrices and kernels are stored so, each with one scale per output channel and, of a
convolution, per position in the kernel; the largest number of each is ±127. The rest is float16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import prod

import torch
from torch import Tensor

from ..errors import CheckpointError
from .archive import Tensors
from .keymap import KeyMap, Take
from .lazy_tensor import LazyTensor
from .tensors import cast_lazily

FEWEST = 4096
"""Tensors of fewer numbers stay in float16."""
NARROWEST = 16
"""So do those with fewer input channels, for which the scales would take too much."""


def scale_name(name: str) -> str:
    """The scales of a tensor. No parameter has this name: `name` would be a module too."""
    return f"{name}.scale"


def own_table(wanted: Mapping[str, Tensor], tensors: Tensors) -> KeyMap:
    """Where the tensors of a network stand in a file of the same names, 8-bit ones included."""
    return {name: _take(name, value, tensors) for name, value in wanted.items()}


def _take(name: str, value: Tensor, tensors: Tensors) -> Take:
    if name not in tensors or tensors.dtype(name) != torch.int8 or not value.is_floating_point():
        return Take((name,))
    scale = scale_name(name)
    return Take((name, scale), join=partial(_scaled, f"{tensors.where(name)}: '{scale}'"))


def _scaled(called: str, parts: list[Tensor]) -> Tensor:
    whole, scale = parts
    if scale.ndim != whole.ndim:
        raise ValueError(f"{called} has {scale.ndim} axes, not {whole.ndim}")
    if any(b not in (1, a) for a, b in zip(whole.shape, scale.shape, strict=True)):
        raise ValueError(f"{called} of shape {tuple(scale.shape)} does not fit the tensor's")
    if whole.is_meta:  # a product there would load PyTorch's compiler, for half a second
        return torch.empty(whole.shape, device="meta")
    if not scale.is_meta and not scale.isfinite().all():
        raise CheckpointError(f"{called} holds numbers that are not finite")
    return whole.float() * scale.float()  # exact: 7 bits times 8


def to_int8(tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Large tensors as int8 and scales, the others as float16, made when they are read.

    Raises:
        CheckpointError: by `read`: a number is not finite, or too large.
    """
    found: dict[str, LazyTensor] = {}
    for name, one in tensors.items():
        if not _is_large(one):
            found |= cast_lazily({name: one}, torch.float16)
            continue
        shape = (one.shape[0], 1, *one.shape[2:])
        found[name] = replace(one, dtype=torch.int8, read=partial(_whole, name, one))
        found[scale_name(name)] = replace(
            one, dtype=torch.bfloat16, shape=shape, read=partial(_scale, name, one)
        )
    return found


def _is_large(one: LazyTensor) -> bool:
    wide = len(one.shape) >= 2 and one.shape[1] >= NARROWEST
    return wide and prod(one.shape) >= FEWEST and one.dtype.is_floating_point


def _whole(name: str, one: LazyTensor) -> Tensor:
    value = _finite(name, one)
    scale = _scale_of(value).float()
    return (value / torch.where(scale > 0, scale, 1)).round().clamp(-127, 127).to(torch.int8)


def _scale(name: str, one: LazyTensor) -> Tensor:
    return _scale_of(_finite(name, one))


def _scale_of(value: Tensor) -> Tensor:
    return (value.abs().amax(1, keepdim=True) / 127).bfloat16()


def _finite(name: str, one: LazyTensor) -> Tensor:
    value = one.read().float()
    if not value.isfinite().all():
        raise CheckpointError(f"'{name}' holds numbers that are not finite; int8 has none")
    return value
