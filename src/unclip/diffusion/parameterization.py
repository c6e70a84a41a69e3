"""Parameterizations: the meaning of a network's output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..config import Config
from ..types import Denoiser, Level, Prediction

X0_FLOOR = 0.15
"""The bundled decoder's x_T then has standard deviation 1.0; from .1 it is 1.1, from 0 it is 50."""

RawNet = Callable[[Tensor, Tensor], Tensor]
"""A network with its conditioning bound: (x in, t (B,)) -> output."""


class Parameterization(Config):
    """Converts a network's output to x0 and eps.

    The network gets c_in · x_t, which has unit variance if the data have standard deviation
    `data_std`. In these coordinates x' = a·x0' + s·eps with a² + s² = 1, and its output is one of

        eps   the noise
        x0    the clean data x0' = x0 / data_std
        v     a·eps − s·x0'  (Salimans and Ho, arXiv 2202.00512, appendix D)

    On a variance-preserving schedule with data_std = 1 these are the usual definitions. On the
    EDM schedule `v` is EDM's preconditioning (arXiv 2206.00364, table 1) up to sign: c_skip,
    c_out and c_in all follow.
    """

    kind: Literal["eps", "x0", "v"] = "v"
    data_std: float = Field(1.0, gt=0)
    learned_variance: bool = False
    alpha_floor: float = Field(
        1e-6, gt=0, le=1, description="least alpha that x0 of an eps output is divided by"
    )

    @property
    def invertible_from(self) -> float:
        """The share of noise in x_t from which eps is accurate enough for inversion.

        With an x0 output the error of eps is the error of x0 divided by sigma: from a clean picture
        x_T would have fifty times the standard deviation of noise.
        """
        return X0_FLOOR if self.kind == "x0" else 0.0

    def denoiser(self, net: RawNet) -> Denoiser:
        """Wrap a network. Casts its input and output: the mathematics is in float32."""

        def denoise(x: Tensor, level: Level) -> Prediction:
            level = level.to(x.device)
            _, a, s = self._coordinates(x, level)
            x_in, t = self.inputs(x, level)
            return self._read(net(x_in, t).float(), x_in, a, s)

        return denoise

    def inputs(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor]:
        """What a network is given for (B, ...) x_t: c_in · x_t, and t (B,)."""
        t = level.t.expand(len(x)) if level.t.ndim == 0 else level.t
        return x * self._coordinates(x, level)[0], t.to(x.device)

    def _read(self, output: Tensor, x_in: Tensor, a: Tensor, s: Tensor) -> Prediction:
        """`output` (B, C or 2·C, ...) for the network's input, a·x0' + s·eps (B, C, ...)."""
        variance = None
        if self.learned_variance:
            output, fraction = output.chunk(2, dim=1)
            variance = (fraction + 1) / 2
        if self.kind == "v":
            x0, eps = a * x_in - s * output, s * x_in + a * output
        elif self.kind == "x0":
            x0, eps = output, (x_in - a * output) / s.clamp(min=1e-6)
        else:
            x0, eps = (x_in - s * output) / a.clamp(min=self.alpha_floor), output
        return Prediction(x0 * self.data_std, eps, variance)

    def target(self, x0: Tensor, eps: Tensor, level: Level) -> Tensor:
        """The correct output for this clean `x0` and noise `eps`."""
        _, a, s = self._coordinates(x0, level)
        x0 = x0 / self.data_std
        if self.kind == "v":
            return a * eps - s * x0
        return x0 if self.kind == "x0" else eps

    def error(self, prediction: Prediction, x0: Tensor, eps: Tensor, level: Level) -> Tensor:
        """Squared error of the network's output, with the shape of `x0`."""
        return (
            self.target(prediction.x0, prediction.eps, level) - self.target(x0, eps, level)
        ) ** 2

    def snr_weight(self, level: Level, gamma: float) -> Tensor:
        """min-SNR-gamma for this output (arXiv 2303.09556, section 3.4), one per level."""
        return self.x0_weight(level, lambda snr: snr.clamp(max=gamma))

    def v_weight(self, level: Level, gamma: float) -> Tensor:
        """Factor from this output's error to the error of v, at most `gamma` times that of x0.

        Without a limit it is EDM's weight (arXiv 2206.00364, table 1), by which the effective
        weight of the preconditioned network's error is 1.
        At the highest noise it gives the error of x0, where min-SNR is zero. JiT also predicts x0
        with the loss of v (arXiv 2511.13720, table 1).
        """
        return self.x0_weight(level, lambda snr: (1 + snr).clamp(max=gamma))

    def x0_weight(self, level: Level, of_snr: Callable[[Tensor], Tensor]) -> Tensor:
        """The weight of this output's squared error that equals `of_snr(SNR)` for x0's."""
        snr = level.snr() * self.data_std**2
        weight = of_snr(snr)
        if self.kind == "v":
            return weight / (snr + 1)
        return weight if self.kind == "x0" else weight / snr

    def _coordinates(self, x: Tensor, level: Level) -> tuple[Tensor, Tensor, Tensor]:
        """c_in, and alpha and sigma (a, s) after multiplication by it."""
        alpha, sigma = level.like(x)
        c_in = torch.rsqrt((alpha * self.data_std) ** 2 + sigma**2)
        return c_in, c_in * alpha * self.data_std, c_in * sigma
