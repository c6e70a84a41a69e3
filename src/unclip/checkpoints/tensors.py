"""Writing tensors, and reading back what we wrote: safetensors, in shards of bounded size."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import CheckpointError, OutputError

SHARD_BYTES = 14 * 2**20
"""Largest weights file written, but for a single tensor that is larger."""


def save_tensors(
    folder: Path, name: str, tensors: Mapping[str, Tensor], shard_bytes: int = SHARD_BYTES
) -> list[str]:
    """Write `tensors` into `folder` and return the files' names, in order.

    Raises:
        OutputError: a file cannot be written.
    """
    shards: list[dict[str, Tensor]] = [{}]
    room = shard_bytes
    for key, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if size > room and shards[-1]:
            shards.append({})
            room = shard_bytes
        shards[-1][key] = tensor.detach().cpu().contiguous()
        room -= size
    many = len(shards) > 1
    files = []
    for number, shard in enumerate(shards, start=1):
        suffix = f"-{number:05d}-of-{len(shards):05d}" if many else ""
        files.append(f"{name}{suffix}.safetensors")
        try:
            save_file(shard, folder / files[-1])
        except SafetensorError as error:  # its way to say that the disk is full
            raise OutputError(f"cannot write {folder / files[-1]}: {error}") from None
    return files


def load_tensors(files: list[Path], device: str = "cpu") -> dict[str, Tensor]:
    """Read safetensors files into one state dict, memory-mapped.

    Raises:
        CheckpointError: a file is missing, truncated or not safetensors, or a key comes twice.
    """
    tensors: dict[str, Tensor] = {}
    for file in files:
        if not file.is_file():
            raise CheckpointError(f"weights file {file} is missing")
        try:
            with safe_open(file, framework="pt", device=device) as opened:
                for key in opened.keys():  # noqa: SIM118 - not a mapping
                    if key in tensors:
                        raise CheckpointError(f"{file}: '{key}' stands in two files")
                    tensors[key] = opened.get_tensor(key)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file} is damaged or not safetensors: {error}") from None
    return tensors


def cast(net: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """The state dict with its floating-point tensors as `dtype`."""
    return {
        key: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for key, tensor in net.state_dict().items()
    }


def sha256(file: Path) -> str:
    """Hex digest of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
