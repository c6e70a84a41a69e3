"""DALL·E 2's decoder in an autoencoder's latents: z_i in, a picture out (Kandinsky 2.2)."""

from __future__ import annotations

from typing import ClassVar, Literal

from ...diffusion.parameterization import Parameterization
from ...diffusion.schedule import Linear, ScheduleConfig
from ...nn.unet import UNet, UNetConfig
from .latent_decoder import LatentConfig, LatentSampling, LatentStage


class LatentUnclipConfig(LatentConfig):
    """Its configuration; defaults are Kandinsky 2.2's."""

    kind: Literal["latent_unclip"] = "latent_unclip"
    network: UNetConfig
    schedule: ScheduleConfig = Linear(beta_start=0.00085, beta_end=0.012)
    parameterization: Parameterization = Parameterization(kind="eps", learned_variance=True)
    sampling: LatentSampling = LatentSampling(
        sampler="ddpm", steps=100, spacing="leading", guidance_scale=4.0, eta=1.0
    )


class LatentUnclip(LatentStage):
    """The pixels' U-Net on latents; it need not read the text, z_i has it all."""

    Config = LatentUnclipConfig
    kind: ClassVar[str] = "latent_unclip"
    config: LatentUnclipConfig

    def unet(self) -> UNet:
        """The decoder's own network."""
        return UNet(self.config.network)


STAGE = LatentUnclip
