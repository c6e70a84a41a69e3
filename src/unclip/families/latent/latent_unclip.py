"""DALL·E 2's decoder in an autoencoder's latents: z_i in, a picture out (Kandinsky 2.2)."""

from __future__ import annotations

from typing import Literal

from ...diffusion.schedule import Linear, ScheduleConfig
from ...stages.decoder import Decoder
from ...stages.networks import Network
from ...stages.sampling import Sampling
from ._autoencoder import OfLatentsConfig


class LatentUnclipConfig(OfLatentsConfig):
    """Its configuration; defaults are Kandinsky 2.2's."""

    kind: Literal["latent_unclip"] = "latent_unclip"
    network: Network
    schedule: ScheduleConfig = Linear(beta_start=0.00085, beta_end=0.012)
    sampling: Sampling = Sampling(
        sampler="ddpm", steps=100, spacing="leading", guidance_scale=4.0, eta=1.0
    )


class LatentUnclip(Decoder):
    """The pixels' U-Net on latents; it need not read the text, z_i has it all."""

    Config = LatentUnclipConfig
    kind = "latent_unclip"


STAGE = LatentUnclip
