"""The decoder as a stage: z_i (and the text) in, a small picture out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..diffusion.parameterization import Parameterization
from ..diffusion.schedule import Cosine, ScheduleConfig
from ..diffusion.space import Rgb, SpaceConfig
from ..nn.unet import UNet, UNetConfig
from ..rng import Rng
from ..types import Cond, OnStep
from .stage import DiffusionConfig, DiffusionStage, Sampling, check_channels


class DecoderConfig(DiffusionConfig):
    """The decoder's configuration."""

    kind: Literal["decoder"] = "decoder"
    network: UNetConfig
    schedule: ScheduleConfig = Cosine()
    parameterization: Parameterization = Parameterization(kind="eps", learned_variance=True)
    space: SpaceConfig = Rgb()
    sampling: Sampling = Sampling(steps=50, guidance_scale=3.0, threshold="clamp")
    drop_text: float = 0.5
    drop_image: float = 0.1


class Decoder(DiffusionStage):
    """Section 2.1 of arXiv 2204.06125. With guidance both conditions are dropped together."""

    Config = DecoderConfig
    kind = "decoder"
    consumes: ClassVar[frozenset[str]] = frozenset({"text_tokens", "text_mask", "image_embed"})
    produces: ClassVar[frozenset[str]] = frozenset({"image"})
    config: DecoderConfig

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        network = config.network
        check_channels(config, network.in_channels, network.out_channels)
        self.config = config
        self.net = UNet(network)

    @property
    def image_size(self) -> int | None:
        """Side of its pictures."""
        return self.config.network.image_size

    def shape(self, cond: Cond) -> tuple[int, ...]:
        """(3, H, W)."""
        network = self.config.network
        return (network.in_channels, network.image_size, network.image_size)

    @torch.inference_mode()
    def sample(
        self,
        cond: Cond,
        rng: Rng,
        sampling: dict[str, Any] | None = None,
        on_step: OnStep | None = None,
    ) -> Cond:
        """Add `image` (B, 3, H, W)."""
        return cond.replace(image=self.draw(cond, rng, sampling, on_step))

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Diffusion loss of the picture given its own CLIP embedding and its caption."""
        assert cond.image is not None
        return self.denoising_loss(cond, cond.image, rng)


STAGE = Decoder
