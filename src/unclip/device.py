"""Choose the device and the number format.

One table for what PyTorch calls a device, and what is different on it:

| device | hardware | chosen by itself | computes in | float64 | draws random numbers |
|---|---|---|---|---|---|
| cuda | NVIDIA; AMD with a ROCm build | 1st | bfloat16 if its units have it | yes | yes |
| xpu | Intel | 2nd | bfloat16 if its units have it | if `has_fp64` | yes |
| mps | Apple | 3rd | float32: an M1 emulates bfloat16 | no | yes |
| cpu | any | last | bfloat16 with AVX512-BF16 or AMX | yes | yes |

What is computed in float64 (schedules, PCA, metrics) is therefore computed on the CPU, and moved to
the CPU before it is made float64. A picture's noise is drawn on the CPU too, so that a seed gives
the same noise everywhere; in training it is drawn on the device.
"""

from __future__ import annotations

import ctypes
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import torch
from torch import nn

from .config import shown
from .errors import UsageError, counted, nearest

ACCELERATORS = {"cuda": "CUDA GPU", "xpu": "Intel GPU", "mps": "Apple GPU"}
"""Types of devices beside the CPU, the first that is there being chosen, and what each is called.

`cuda` is also AMD's, with a ROCm build of PyTorch. `cli/_complete.py` reads these names, and those
of `DTYPES`, in this file's text.
"""


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The device called `name`; by default the first of `ACCELERATORS` that is there, or the CPU.

    Raises:
        UsageError: unknown, or missing on this machine or in this build of PyTorch.
    """
    if name is None:
        return torch.device(next(filter(_count, ACCELERATORS), "cpu"))
    try:
        device = torch.device(_NAMES.get(name, name) if isinstance(name, str) else name)
    except (RuntimeError, TypeError):
        raise UsageError(f"unknown device '{name}'; try cpu, cuda, cuda:0, xpu or mps") from None
    if device.type not in ("cpu", *ACCELERATORS):
        raise UsageError(f"device '{name}' is not supported; try cpu, cuda, xpu or mps")
    if device.type in ACCELERATORS and (device.index or 0) >= (count := _count(device.type)):
        seen = counted(count, ACCELERATORS[device.type])
        raise UsageError(f"device '{name}' is not available: PyTorch sees {seen}")
    return device


_NAMES = {"rocm": "cuda", "hip": "cuda"}
"""What others call devices."""


def _module(kind: str) -> Any:
    """PyTorch's module of a type of device, such as `torch.cuda`."""
    return getattr(torch, kind)


def _count(kind: str) -> int:
    """How many devices of a type there are; 0 where this build of PyTorch knows none."""
    module = _module(kind)
    return int(module.device_count()) if module.is_available() else 0


DTYPES = ("float32", "bfloat16", "float16", "float64")
"""Number formats that networks can compute in."""

_DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPES}


_SHORT = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "half": "float16"}
"""What others call them."""


def pick_dtype(name: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    """The number format of that name; by default the fast one of the device.

    Raises:
        UsageError: networks cannot compute in it, or the device has no such numbers.
    """
    if name is None:
        return fast_dtype(device)
    for text, kind in _DTYPES.items():
        if name is kind or (isinstance(name, str) and name == text):
            if kind == torch.float64 and not has_float64(device):
                raise UsageError(f"{describe(device)} has no float64; take float32")
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
    for kind in filter(_count, ACCELERATORS):
        _module(kind).empty_cache()


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Disable autocast inside; nothing to do on `meta`."""
    if device.type == "meta":
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 if the hardware is fast in it, else float32."""
    if device.type in ("cuda", "xpu"):
        fast = _module(device.type).is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    if device.type == "cpu" and cpu_has_bf16():
        return torch.bfloat16
    return torch.float32


def has_float64(device: torch.device) -> bool:
    """Whether a device has numbers of 64 bits: Apple's have none, nor have many of Intel's."""
    if device.type == "xpu":
        return bool(torch.xpu.get_device_properties(device).has_fp64)
    return device.type != "mps"


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
    if device.type in ("cuda", "xpu"):
        return str(_module(device.type).get_device_name(device))
    threads = counted(torch.get_num_threads(), "thread")
    return f"cpu, {threads}" if device.type == "cpu" else device.type
