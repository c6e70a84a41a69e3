"""An autoencoder as a stage: it learns to give pictures back from latents that can be diffused.

What latents need beside small errors: they bear the noise that sampling leaves (the decoder sees
noised ones in training), and they turn and shrink as their picture does (EQ-VAE, arXiv 2502.09509,
section 3.2), which makes them smooth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ..config import Config
from ..media.measures import psnr
from ..nn.autoencoder import Autoencoder, AutoencoderConfig
from ..nn.layers import select
from ..rng import Rng
from ..types import Cond
from .sampling import SampleArguments
from .stage import Stage, StageConfig
from .upsampler import cut


class PatchCritic(Config):
    """A critic of small parts of pictures, which late in training sharpens the decoder's head."""

    share: float = Field(0.2, gt=0, le=1, description="of the training, its end, that it judges in")
    weight: float = Field(0.05, gt=0, description="of what it says")
    rate: float = Field(5e-4, gt=0, description="its learning rate")
    penalty: float = Field(1.0, ge=0, description="of its change by a little noise")
    penalty_noise: float = Field(0.03, gt=0, description="standard deviation of that noise")
    largest_gap: float = Field(
        4.0, gt=0, description="between true and made pictures; beyond it training stops"
    )


class AutoencoderStageConfig(StageConfig):
    """An autoencoder's configuration."""

    kind: Literal["autoencoder"] = "autoencoder"
    network: AutoencoderConfig = AutoencoderConfig()
    image_size: int = Field(256, gt=0, description="side of the pictures")
    crop: int | None = Field(None, gt=0, description="side of training crops; none is a half")
    noise: float = Field(
        0.2, ge=0, description="largest standard deviation of noise on latents, in training"
    )
    turned_share: float = Field(
        0.5, ge=0, le=1, description="of samples turned or mirrored between encoder and decoder"
    )
    shrunk_weight: float = Field(
        0.25, ge=0, description="of the error where latents are halved between the two"
    )
    pyramid_weight: float = Field(1.0, ge=0, description="of the error of a Laplacian pyramid")
    pyramid_levels: int = Field(3, ge=1, le=8, description="of it, each half as large")
    clip_weight: float = Field(
        0.1, ge=0, description="of 1 - cos between what the recipe's CLIP says of each patch"
    )
    kl_weight: float = Field(
        1e-3, ge=0, description="of the KL divergence to unit noise, in the KL variant"
    )
    critic: PatchCritic | None = None

    @property
    def side(self) -> int:
        """Of training crops."""
        return self.crop or self.image_size // 2

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        factor = self.network.factor
        if self.image_size % factor:
            raise ValueError(f"image_size {self.image_size} is not a multiple of {factor}")
        unit = 2 * factor if self.shrunk_weight else factor
        if self.side > self.image_size or self.side % unit:
            raise ValueError(
                f"crop {self.side} is not a multiple of {unit} and {self.image_size} at most"
            )
        return self


@dataclass(frozen=True)
class Reconstruction:
    """What became of a batch of crops.

    Args:
        truth: (B, 3, S, S), turned as its latents were.
        said: (B, 3, S, S).
        features: what the decoder's head drew it from.
        loss: (B,).
        metrics: (B,) or ().
    """

    truth: Tensor
    said: Tensor
    features: Tensor
    loss: Tensor
    metrics: dict[str, Tensor]


class AutoencoderStage(Stage):
    """Pictures to latents. A decoder of latents has a copy of its network, and needs no other."""

    Config: ClassVar[type[StageConfig]] = AutoencoderStageConfig
    kind = "autoencoder"
    consumes: frozenset[str] = frozenset({"image"})
    produces: frozenset[str] = frozenset({"latents"})
    config: AutoencoderStageConfig
    net: Autoencoder

    def __init__(self, config: AutoencoderStageConfig) -> None:
        super().__init__()
        self.config = config
        self.net = config.network.build()

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the pictures that crops are cut from."""
        return self.config.image_size, self.config.image_size

    @property
    def trains_on(self) -> frozenset[str]:
        """Pictures alone."""
        return self.consumes

    def _sample(self, cond: Cond, rng: Rng, arguments: SampleArguments) -> Cond:
        """Add `latents` (B, c, h, w). Nothing here is random."""
        assert cond.image is not None
        return cond.replace(latents=self.net.encode(cond.image))

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Stage`: of random crops, as far as this network alone can tell."""
        made = self.reconstructed(cond, rng)
        return made.loss, made.metrics

    def reconstructed(self, cond: Cond, rng: Rng) -> Reconstruction:
        """A random crop of each picture, encoded, changed, decoded and compared."""
        config, image = self.config, cond.image
        assert image is not None
        room = [side - config.side + 1 for side in image.shape[-2:]]
        corner = (rng.rand(2) * torch.tensor(room, device=image.device)).long()
        crop = cut(image, corner, config.side)
        mean, log_variance = self.net.moments(crop)
        how = (8 * rng.rand()).long() * rng.bernoulli(config.turned_share)
        truth = turned(crop, how)
        noised = self._noised(mean, log_variance, rng)
        features = self.net.features(turned(noised, how))
        said = self.net.decoder.head(features)
        loss, metrics = self._apart(said, truth)
        if config.shrunk_weight:
            small = self.net.decode(F.avg_pool2d(mean, 2))
            metrics["shrunk"] = self._apart(small, F.avg_pool2d(crop, 2))[0]
            loss = loss + config.shrunk_weight * metrics["shrunk"]
        if log_variance is not None:
            metrics["kl"] = divergence(log_variance)
            loss = loss + config.kl_weight * metrics["kl"]
        metrics |= {"psnr": psnr(said, truth), "checkerboard": self.checkerboard(said, truth)}
        metrics |= spread(mean)
        noted = {name: value.detach() for name, value in metrics.items()}
        return Reconstruction(truth, said, features, loss, noted)

    @torch.no_grad()
    def measured(self, image: Tensor) -> dict[str, Tensor]:
        """How well (B, 3, H, W) whole pictures come back, nothing drawn: see the metrics."""
        latents = self.net.encode(image)
        said = self.net.decode(latents)
        found = {"psnr": psnr(said, image), "checkerboard": self.checkerboard(said, image)}
        return found | spread(latents)

    def checkerboard(self, said: Tensor, truth: Tensor) -> Tensor:
        """(B,) the share of the error that repeats from latent to latent: see `repeating`."""
        return repeating(said - truth, self.config.network.factor)

    def _noised(self, mean: Tensor, log_variance: Tensor | None, rng: Rng) -> Tensor:
        """Latents as the decoder sees them in training.

        Of the KL variant they are drawn from what the encoder says, else they have noise of a
        standard deviation that is even on [0, `noise`].
        """
        if log_variance is not None:
            return mean + (log_variance / 2).exp() * rng.randn(*mean.shape[1:])
        strength = self.config.noise * rng.rand().view(-1, 1, 1, 1)
        return mean + strength * rng.randn(*mean.shape[1:])

    def _apart(self, said: Tensor, truth: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """(B,) the mean error, of pixels and of a Laplacian pyramid."""
        error = (said - truth).float()
        parts = {"l1": error.abs().flatten(1).mean(1)}
        parts["pyramid"] = pyramid_l1(error, self.config.pyramid_levels)
        return parts["l1"] + self.config.pyramid_weight * parts["pyramid"], parts


def turned(x: Tensor, how: Tensor) -> Tensor:
    """(B, C, S, S) each turned or mirrored in one of eight ways, (B,) 0 to 7; 0 leaves it."""
    x = select(how % 2 == 1, x.transpose(2, 3), x)
    x = select(how // 2 % 2 == 1, x.flip(2), x)
    return select(how // 4 == 1, x.flip(3), x)


def pyramid_l1(error: Tensor, levels: int) -> Tensor:
    """(B,) the mean absolute value of each level of a Laplacian pyramid, summed.

    The pyramid of a difference is the difference of the pyramids: what is fine counts beside what
    is coarse, however little of the picture it takes (arXiv 1707.05776, section 3.1).
    """
    total = error.new_zeros(len(error))
    for _ in range(levels):
        if min(error.shape[-2:]) < 2:
            break
        coarse = F.avg_pool2d(error, 2)
        back = F.interpolate(coarse, error.shape[-2:], mode="bilinear")
        total = total + (error - back).abs().flatten(1).mean(1)
        error = coarse
    return total + error.abs().flatten(1).mean(1)


def repeating(error: Tensor, period: int) -> Tensor:
    """(B,) the share of an error (B, C, H, W) that is the same in all cells of `period` pixels.

    1 is a pure grid, such as a checkerboard; of errors without one it is one by the number of
    cells. The mean error is no grid, and counts for nothing.
    """
    error = error.float() - error.float().mean((2, 3), keepdim=True)
    cells: Tensor = F.pixel_unshuffle(error, period)  # (B, C·period², h, w)
    grid = cells.mean((2, 3)).square().mean(1)
    return grid / cells.square().mean((1, 2, 3)).clamp(min=1e-12)


def spread(latents: Tensor) -> dict[str, Tensor]:
    """() each: the least and the largest standard deviation of a channel of (B, c, h, w) latents.

    All channels together have one of about 1. One near 0 says nothing any more.
    """
    std = latents.detach().float().std((0, 2, 3), correction=0)
    return {"latent_std_least": std.min(), "latent_std_most": std.max()}


def divergence(log_variance: Tensor) -> Tensor:
    """(B,) the mean KL divergence of a latent's noise to unit noise.

    The mean's part of it is the same for all latents, as all have one length.
    """
    return (0.5 * (log_variance.exp() - 1 - log_variance)).flatten(1).mean(1)


STAGE = AutoencoderStage
