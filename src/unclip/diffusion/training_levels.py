"""Noise levels and weights of other trainings, on any schedule."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..config import Config
from ..rng import Rng


class EdmTraining(Config):
    """EDM's noise levels and weights (arXiv 2206.00364, table 1), on any schedule."""

    p_mean: float = Field(-1.2, description="mean of ln(sigma / alpha), which is normal")
    p_std: float = Field(1.2, gt=0, description="its standard deviation")

    def log_snr(self, rng: Rng) -> Tensor:
        """(B,) float64 ln(alpha² / sigma²) to train at."""
        return -2 * (self.p_mean + self.p_std * rng.randn().double())

    def weight(self, snr: Tensor) -> Tensor:
        """Of the squared error of x0."""
        return 1 + snr


class FlowTraining(Config):
    """Flow matching's noise levels and weights on any schedule, with s = alpha / (alpha + sigma).

    s is logit-normal (arXiv 2403.03206, section 3.1), and the error is that of the velocity
    x0 - eps, which is the error of x0 divided by 1 - s (JiT, arXiv 2511.13720, table 1).
    """

    mean: float = Field(-0.8, description="mean of ln(alpha / sigma), which is normal")
    std: float = Field(0.8, gt=0, description="its standard deviation")
    floor: float = Field(0.05, gt=0, le=1, description="least 1 - s that an error is divided by")

    def log_snr(self, rng: Rng) -> Tensor:
        """(B,) float64 ln(alpha² / sigma²) to train at."""
        return 2 * (self.mean + self.std * rng.randn().double())

    def weight(self, snr: Tensor) -> Tensor:
        """Of the squared error of x0: 1 / (1 - s)², where 1 / (1 - s) = 1 + alpha / sigma."""
        return (1 + snr.sqrt()).clamp(max=1 / self.floor) ** 2
