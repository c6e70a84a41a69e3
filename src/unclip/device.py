"""Choose the device and the number format."""

from __future__ import annotations

import ctypes
from contextlib import AbstractContextManager, nullcontext, suppress

import torch
from torch import nn

from .config import shown
from .errors import UsageError, counted, nearest


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The device called `name`; by default CUDA if there is a GPU, else MPS, else the CPU.

    Raises:
        UsageError: unknown, or missing on this machine or in this build of PyTorch.
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise UsageError(f"unknown device '{name}'; try cpu, cuda, cuda:0 or mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(f"device '{name}' is not available: PyTorch sees {count} CUDA GPUs")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("device 'mps' is not available")
    if device.type not in ("cpu", "cuda", "mps"):
        raise UsageError(f"device '{name}' is not supported; try cpu, cuda or mps")
    return device


_DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name) for name in ("float32", "bfloat16", "float16", "float64")
}


_SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}
"""What others call them."""


def pick_dtype(name: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The number format of that name; by default the fast one of the device.

    Raises:
        UsageError: networks cannot compute in it.
    """
    if name is None:
        return fast_dtype(device)
    for text, kind in _DTYPES.items():
        if name is kind or (isinstance(name, str) and name == text):
            return kind
    meant = _SHORT.get(str(name)) or nearest(str(name), _DTYPES)
    hint = f" (did you mean '{meant}'?)" if meant in _DTYPES else meant
    raise UsageError(f"dtype must be one of {', '.join(_DTYPES)}, got {shown(name)}{hint}")


def place(module: nn.Module, device: torch.device) -> None:
    """Move a module to a device, with convolutions in channels_last, which is faster."""
    module.to(device)
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def give_back() -> None:
    """Return free memory of this process to the system.

    The C library keeps freed blocks of less than 32 MiB in its heap, where the next stage's larger
    ones do not fit. This does nothing on systems without malloc_trim.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Disable autocast inside; nothing to do on `meta`."""
    if device.type == "meta":
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 if the hardware is fast in it, else float32."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    if device.type == "cpu" and cpu_has_bf16():
        return torch.bfloat16
    return torch.float32


def autocast(
    device: torch.device, dtype: torch.dtype | None = None
) -> AbstractContextManager[object]:
    """Multiply in `dtype` inside (default: `fast_dtype`); float32 casts nothing."""
    half = (dtype or fast_dtype(device)) == torch.bfloat16
    return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()


def cpu_has_bf16() -> bool:
    """Whether this CPU has bfloat16 dot products (AVX512-BF16 or AMX)."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)


def describe(device: torch.device) -> str:
    """The device as text."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = counted(torch.get_num_threads(), "thread")
    return f"{device.type}, {threads}" if device.type == "cpu" else "mps"
