"""LAION's decoder as a stage: z_i (and the text's encodings) in, a small picture out."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ..diffusion.parameterization import Parameterization
from ..diffusion.schedule import Cosine, ScheduleConfig
from ..diffusion.space import Rgb
from ..nn.laion_unet import LaionUNet, LaionUNetConfig
from ..rng import Rng
from ..types import FREE, Cond, Control, OnStep
from .stage import DiffusionConfig, DiffusionStage, Sampling, check_channels, fit_known


class LaionDecoderConfig(DiffusionConfig):
    """The decoder's configuration; defaults are DALLE2-pytorch's."""

    kind: Literal["laion_decoder"] = "laion_decoder"
    network: LaionUNetConfig
    schedule: ScheduleConfig = Cosine()
    parameterization: Parameterization = Parameterization(kind="eps", learned_variance=True)
    space: Rgb = Rgb()
    sampling: Sampling = Sampling(sampler="ddpm", steps=1000, eta=1.0, threshold="clamp")
    drop_text: float = 0.5
    drop_image: float = 0.1


class LaionDecoder(DiffusionStage):
    """The first U-Net of DALLE2-pytorch's decoder. Guidance drops both conditions together."""

    Config = LaionDecoderConfig
    kind = "laion_decoder"
    consumes: frozenset[str] = frozenset({"text_mask", "text_encodings", "image_embed"})
    produces: frozenset[str] = frozenset({"image"})
    config: LaionDecoderConfig
    net: LaionUNet

    def __init__(self, config: LaionDecoderConfig) -> None:
        super().__init__()
        check_channels(config, config.network.in_channels, config.network.out_channels)
        self.config = config
        self.net = LaionUNet(config.network)
        self.consumes = config.network.reads

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
        control: Control = FREE,
    ) -> Cond:
        """Add `image` (B, 3, H, W), true to `known` outside `mask` where they are given."""
        bound = fit_known(cond, self.config.network.image_size)
        return cond.replace(image=self.sample_data(bound, rng, sampling, on_step, control))

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Diffusion loss of the picture given its own CLIP embedding and its caption."""
        assert cond.image is not None
        return self.denoising_loss(cond, cond.image, rng)


STAGE = LaionDecoder
