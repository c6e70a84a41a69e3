"""Small parts that several networks share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..rng import Rng

M = TypeVar("M", bound=nn.Module)


def normal_parameter(*shape: int, std: float = 1.0) -> nn.Parameter:
    """A parameter of that shape whose numbers are normal, for a network that will be trained."""
    return nn.Parameter(nn.init.normal_(torch.empty(shape), std=std))


def identity_(matrix: Tensor) -> None:
    """Make a matrix the identity; one on `meta`, whose numbers will be read, stays as it is."""
    if not matrix.is_meta:
        nn.init.eye_(matrix)


class Dropout(nn.Module):
    """Dropout whose masks come from `rng`, each sample's own, or from PyTorch's generator."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.rng: Rng | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> the same shape; in evaluation mode the same numbers."""
        if self.rng is None or not self.training or self.p == 0:
            return F.dropout(x, self.p, self.training)
        return x * (self.rng.rand(*x.shape[1:]) >= self.p) / (1 - self.p)


@contextmanager
def dropout_from(net: nn.Module, rng: Rng) -> Iterator[None]:
    """Within, every `Dropout` of a network draws from `rng`, in the order of its calls."""
    layers = [one for one in net.modules() if isinstance(one, Dropout)]
    for one in layers:
        one.rng = rng
    try:
        yield
    finally:
        for one in layers:
            one.rng = None


class skip_init(TorchFunctionMode):  # noqa: N801  (used as a function, as torch.no_grad is)
    """In this context no initial number is drawn: for networks on `meta`, which hold none.

    On `meta` PyTorch 2 draws by rules written in Python, for which it imports its compiler and
    sympy: more than a second.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Leave out what fills a tensor."""
        given = dict(kwargs or {})
        if func in _FILLS or getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


_FILLS = (Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_, Tensor.copy_)


def timestep_embedding(t: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoidal features of the timestep (Attention Is All You Need, section 3.5).

    Args:
        t: (B,) timesteps in the schedule's own unit; fractions are fine.
        width: number of features, even.

    Returns:
        (B, width) float32: cosines, then sines.
    """
    half = width // 2
    place = torch.arange(half, dtype=torch.float32, device=t.device)
    frequencies = torch.exp(-math.log(max_period) / half * place)
    angles = t.float()[:, None] * frequencies  # (B, width / 2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimestepMlp(nn.Module):
    """Timestep -> sinusoidal features -> two linear layers."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.features = features
        self.fc1 = nn.Linear(features, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, t: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        h = timestep_embedding(t, self.features).to(self.fc1.weight.dtype)
        out: Tensor = self.fc2(F.silu(self.fc1(h)))
        return out


def zero(module: M) -> M:
    """Set all parameters to zero, so that a residual branch starts as nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def select(keep: Tensor | None, value: Tensor, null: Tensor) -> Tensor:
    """`value` where `keep` (B,) is True or None, else `null` (broadcast against a sample)."""
    if keep is None:
        return value
    mask = keep.view(-1, *(1,) * (value.ndim - 1))
    return torch.where(mask, value, null.to(value.dtype))


class PixelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each pixel, as ConvNeXt has it (arXiv 2201.03545).

    With channels_last its input is contiguous: on a CPU it takes a fifth of a group norm's time.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        pixels = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        normed = torch.layer_norm(pixels, self.normalized_shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


def coordinates(x: Tensor) -> Tensor:
    """(B, 2, H, W): across and down, -1 to 1 from edge to edge (CoordConv, arXiv 1807.03247)."""
    down, across = (
        (torch.arange(side, device=x.device, dtype=x.dtype) + 0.5) * (2 / side) - 1
        for side in x.shape[-2:]
    )
    both = torch.stack(torch.meshgrid(across, down, indexing="xy"))
    return both.expand(len(x), -1, -1, -1)


def laid_out(x: Tensor) -> Tensor:
    """(B, C, H, W) as convolutions like it, on CPU and GPU: channels_last."""
    meta = x.device.type == "meta"  # which holds no data to lay out
    return x if meta else x.contiguous(memory_format=torch.channels_last)


def trimmed(mask: Tensor) -> Tensor:
    """(B, N) bool without the last columns in which it is False for all: (B, at least 1)."""
    used = mask.any(0).nonzero()
    return mask[:, : int(used[-1]) + 1 if len(used) else 1]


def silu_(x: Tensor) -> Tensor:
    """SiLU of what nobody else needs: in place, unless a backward pass wants it later."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def conv_enlarged(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 3x3 convolution of `x` (B, C, H, W) enlarged by 2, every pixel repeated: (B, O, 2H, 2W).

    Each of the four pixels that one becomes sees but 2x2 different ones, so four convolutions of
    that size do what one of 3x3 does, with 16 multiplications instead of 36. Where that pays (a
    CPU, and pictures not too small) it is done so; the result is the same but for rounding.
    """
    height, width = x.shape[2:]
    if x.device.type != "cpu" or height * width < 1024:
        out: Tensor = conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out
    kernel = _halved(_halved(conv.weight, 2), 4)  # (2, 2, O, C, 2, 2): which column, which row
    bias = None if conv.bias is None else conv.bias.repeat(4)
    kernel = kernel.flatten(0, 2).contiguous(memory_format=torch.channels_last)
    every = F.conv2d(x, kernel, bias, padding=1)  # (B, 4·O, H + 1, W + 1)
    every = every.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))  # type: ignore[no-untyped-call]
    rows = [
        torch.stack([every[:, a : a + height, b : b + width, b, a] for b in (0, 1)], dim=3)
        for a in (0, 1)
    ]  # each (B, H, W, 2, O)
    large = torch.stack(rows, dim=2)  # (B, H, 2, W, 2, O)
    return large.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


def _halved(kernel: Tensor, axis: int) -> Tensor:
    """Three taps along `axis`, of a repeated signal, as two pairs of two: a leading axis more."""
    first, middle, last = kernel.unbind(axis)
    left = torch.stack([first, middle + last], dim=axis)
    right = torch.stack([first + middle, last], dim=axis)
    return torch.stack([left, right])


def parameter_count(module: nn.Module) -> int:
    """Number of parameters, trainable or not; works on the `meta` device."""
    return sum(parameter.numel() for parameter in module.parameters())
