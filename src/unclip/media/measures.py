"""What pictures are like, in numbers: how sharp, how saturated, how far apart by their seeds."""

from __future__ import annotations

from torch import Tensor

SATURATED = 0.98
"""A value in [-1, 1] beyond this is saturated: the outermost three of 256 levels at either end."""
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""


def laplacian_energy(images: Tensor) -> Tensor:
    """The mean square of luma's Laplacian, of (B, 3, H, W) in [-1, 1]: (B,).

    The energy of Laplacian, a measure of focus (Pertuz, Puig & Garcia, Pattern Recognition 46
    (2013), 1415-1432), with the kernel of four neighbours. White noise of variance s has 20 s.
    Pictures of one size compare with each other, and of one kind: a photograph of grass has more
    than one of the sky.
    """
    luma = (images * images.new_tensor(LUMA)[:, None, None]).sum(1)  # (B, H, W)
    across = luma[:, 1:-1, 2:] + luma[:, 1:-1, :-2]
    along = luma[:, 2:, 1:-1] + luma[:, :-2, 1:-1]
    return (across + along - 4 * luma[:, 1:-1, 1:-1]).square().mean((1, 2))


def saturated_share(images: Tensor) -> Tensor:
    """The share of values beyond `SATURATED`, of (B, 3, H, W) in [-1, 1]: (B,)."""
    return (images.abs() > SATURATED).float().mean((1, 2, 3))


def pixel_deviation(images: Tensor) -> float:
    """The standard deviation over seeds of (K, 3, H, W), K of at least 2, mean over all values.

    Of Gaussian pixels it is a little less than theirs: .965 times with 8 seeds (c4).
    """
    return float(images.std(0).mean())


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    """(B,) the peak signal-to-noise ratio in dB of (B, ...) pictures in [-1, 1], clamped to it."""
    error = (images.float().clamp(-1, 1) - truth).square().flatten(1).mean(1)
    return 10 * (4 / error.clamp(min=1e-10)).log10()
