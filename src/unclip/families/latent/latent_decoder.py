"""A decoder that diffuses an autoencoder's latents: the text, and perhaps z_i, in, a picture out.

High-Resolution Image Synthesis with Latent Diffusion Models (arXiv 2112.10752): Stable Diffusion,
and Stable unCLIP, whose decoder sees z_i too, noised as far as one likes.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ...diffusion.parameterization import Parameterization
from ...diffusion.schedule import Cosine, ScaledLinear, ScheduleConfig
from ...rng import Rng
from ...stages.decoder import Decoder
from ...stages.sampling import Sampling
from ...stages.stage import NO_EMBEDDING
from ...types import Cond, Level
from ._autoencoder import OfLatentsConfig
from ._unet import LatentUNetConfig


class DecoderSampling(Sampling):
    """How a latent decoder is sampled that sees z_i, or none."""

    noise_level: int = Field(
        0, ge=0, lt=1000, description="timestep that z_i is noised to, where the network sees it"
    )


class LatentDecoderConfig(OfLatentsConfig):
    """A latent decoder's configuration; defaults are Stable Diffusion's."""

    kind: Literal["latent_decoder"] = "latent_decoder"
    network: LatentUNetConfig
    schedule: ScheduleConfig = ScaledLinear(last="first")
    parameterization: Parameterization = Parameterization(kind="eps")
    sampling: DecoderSampling = DecoderSampling(
        steps=50, spacing="leading_after", guidance_scale=7.5
    )
    image_schedule: ScheduleConfig = Field(Cosine(), description="by which z_i is noised")


class LatentDecoder(Decoder):
    """Stable Diffusion's decoder, with its own text encoder, and Stable unCLIP's."""

    Config = LatentDecoderConfig
    kind = "latent_decoder"
    config: LatentDecoderConfig

    @property
    def null_is_text(self) -> bool:
        """True: the empty text's own encoding."""
        return True

    def never_used(self, inpaints: bool = False) -> dict[str, str]:
        """The noise level too where the network sees no z_i."""
        blind = {} if self.config.network.embed_dim else {"noise_level": NO_EMBEDDING}
        return super().never_used(inpaints) | blind

    def conditioned(self, cond: Cond, rng: Rng, options: Sampling) -> Cond:
        """z_i noised to the level that `options` name, and told so; a text needs nothing.

        Where the network inpaints, what is known, in latents, unless `options` hide it.
        """
        assert isinstance(options, DecoderSampling)
        if self.config.network.inpaint:
            cond = self._shown(cond, hidden=options.inpainting == "repaint")
        if not self.config.network.embed_dim:
            return cond
        t = torch.tensor(float(options.noise_level), dtype=torch.float32, device="cpu")
        level = self.config.image_schedule.level(t)
        return self._noised(cond, level, rng.fork("noise_level"))

    def example(self, cond: Cond, rng: Rng) -> tuple[Cond, Tensor]:
        """See `Decoder`; z_i is noised to a random level."""
        if self.config.network.embed_dim:
            cond = self._noised(cond, self.config.image_schedule.sample(rng), rng)
        cond, x0 = super().example(cond, rng)
        return (self._shown(cond) if self.config.network.inpaint else cond), x0

    @property
    def trains_on(self) -> frozenset[str]:
        """See `Decoder`; of latents alone no part can be hidden."""
        return super().trains_on | ({"image"} if self.inpaints else set())

    def _shown(self, cond: Cond, hidden: bool = False) -> Cond:
        """Add `known_latents`; of a picture of which nothing is known, they are those of grey."""
        known, mask = cond.known, cond.mask
        if hidden or known is None or mask is None:
            known = torch.zeros(1, 3, *self.image_size, dtype=torch.float32, device=self.device)
            mask = torch.ones_like(known[:, :1])
        small = F.max_pool2d(mask, self._latent_factor)
        seen = torch.cat([small, self.space.encode(known * (1 - mask))], dim=1)
        return cond.replace(known_latents=seen.expand(len(cond), -1, -1, -1))

    def _noised(self, cond: Cond, level: Level, rng: Rng) -> Cond:
        """Add `noised_image_embed` (B, 2·D), z_i noised to a level () or (B,)."""
        assert cond.image_embed is not None
        vector, z_i = self.net.unet.image, cond.image_embed.float()
        noised = vector.noised(z_i, rng.randn(z_i.shape[1]), *level.like(z_i))
        t = level.t.to(z_i.device).expand(len(z_i))
        return cond.replace(noised_image_embed=vector.features(noised, t))


STAGE = LatentDecoder
