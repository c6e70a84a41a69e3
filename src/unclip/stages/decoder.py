"""The decoder as a stage: z_i (and the text) in, a small picture out."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from ..diffusion.guidance import TINT
from ..diffusion.parameterization import Parameterization
from ..diffusion.schedule import Cosine, ScheduleConfig
from ..diffusion.space import Rgb, Space, SpaceConfig
from ..errors import UsageError
from ..nn.autoencoder import AutoencoderConfig
from ..nn.conditioning import NetConfig
from ..nn.latents import InLatents, Latents, LatentsConfig
from ..nn.layers import select
from ..rng import Rng
from ..types import Cond, Control, Level, Step
from .alignment import misalignment, outputs_of, spatial_norm
from .clip import ClipStage
from .fitting import check_network
from .masks import fit_known, random_mask
from .networks import Network
from .sampling import DropImage, DropText, SampleArguments, Sampling
from .stage import DiffusionConfig, DiffusionStage, Stage, StageConfig

PREVIEW = 16
"""Longest side of latents that are decoded for a preview."""


class AnyDecoderConfig(DiffusionConfig):
    """What every decoder's configuration has: any network, of pictures or of latents."""

    network: NetConfig
    schedule: ScheduleConfig = Cosine()
    parameterization: Parameterization = Parameterization(kind="eps", learned_variance=True)
    space: SpaceConfig = Rgb()
    sampling: Sampling = Sampling(steps=50, guidance_scale=3.0, threshold="clamp")
    drop_text: DropText = 0.5
    drop_image: DropImage = 0.1
    predicted_share: float = Field(
        0.0, ge=0, le=1, description="of samples shown what the recipe's prior makes of z_i"
    )
    align_weight: float = Field(
        0.05,
        ge=0,
        description="of the loss against CLIP's patch features (network.align_dim), of objective "
        "diffusion alone",
    )
    align_norm: float | None = Field(
        None,
        ge=0,
        le=1,
        description="norm them over each picture, less this share of their mean; of objective "
        "diffusion alone",
    )
    mask_share: float = Field(
        0.5, ge=0, le=1, description="of samples with a part to paint, where the network inpaints"
    )

    @property
    def sees_noise(self) -> bool:
        """See `DiffusionConfig`."""
        return self.network.sees_noise

    @property
    def latents(self) -> LatentsConfig | None:
        """The autoencoder whose latents are diffused; None: pictures are."""
        return None

    @model_validator(mode="after")
    def _fits_latents(self) -> Self:
        if self.latents and "sampling" not in self.model_fields_set:  # they have no bounds
            object.__setattr__(self, "sampling", self.sampling.merge({"threshold": "none"}))
        width = self.latents.width if self.latents else self.network.in_channels
        if self.network.in_channels != width:
            raise ValueError(
                f"network.in_channels {self.network.in_channels} are not the autoencoder's {width}"
            )
        return self


class DecoderConfig(AnyDecoderConfig):
    """The decoder's configuration."""

    kind: Literal["decoder"] = "decoder"
    network: Network
    autoencoder: AutoencoderConfig | None = Field(
        None, description="whose latents are diffused; in a recipe a stage's name. None: pictures"
    )

    @property
    def latents(self) -> AutoencoderConfig | None:
        """As configured."""
        return self.autoencoder


class Decoder(DiffusionStage):
    """Section 2.1 of arXiv 2204.06125. With guidance both conditions are dropped together.

    With an autoencoder it diffuses latents (arXiv 2112.10752), whose mean the network learns.
    """

    Config: ClassVar[type[StageConfig]] = DecoderConfig
    kind = "decoder"
    consumes: frozenset[str] = frozenset({"text_tokens", "text_mask", "image_embed"})
    produces: frozenset[str] = frozenset({"image"})
    config: AnyDecoderConfig
    net: Any
    drawn: tuple[int, int] | None = None  # (height, width) in place of the network's own

    def __init__(self, config: AnyDecoderConfig) -> None:
        super().__init__()
        network = config.network
        check_network(config, network)
        self.config = config
        self.net = network.build()
        if config.latents:  # which are learnt; the autoencoder itself is not
            autoencoder = config.latents.build().requires_grad_(False)
            self.net = InLatents(self.net, autoencoder)
            # latents have a standard deviation of 1 (arXiv 2112.10752, appendix G), pictures of .5
            # (arXiv 2206.00364, table 1)
            self.tint = TINT / 0.5
        self.consumes = network.reads

    @property
    def trains_on(self) -> frozenset[str]:
        """What it reads and what it diffuses; CLIP's patches and a prior's z_i where they help."""
        aligns = {"image_patches"} if self.learns_patches else set()
        share = self.config.predicted_share
        predicted = {"predicted_embed"} if share else set()
        own = self.consumes | ({"latents"} if self.config.latents else {"image"})
        return (own - {"image_embed"} if share == 1 else own) | aligns | predicted

    @property
    def learns_patches(self) -> bool:
        """Whether it aligns with CLIP's patch features: few-step students do not."""
        return self.config.denoises and bool(self.config.network.aligns)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of its pictures."""
        if self.drawn:
            return self.drawn
        side = self.config.network.image_size * self._latent_factor
        return side, side

    @property
    def _latent_factor(self) -> int:
        """How many pixels' side one latent stands for; of pictures 1."""
        return self.config.latents.factor if self.config.latents else 1

    @property
    def _denoiser(self) -> Any:
        """Its network without the autoencoder."""
        return self.net.unet if self.config.latents else self.net

    @property
    def space(self) -> Space:
        """The autoencoder's latents, or pictures."""
        return Latents(self.net.autoencoder) if self.config.latents else self.config.space

    def shape(self, cond: Cond) -> tuple[int, ...]:
        """(C, H, W)."""
        height, width = (side // self._latent_factor for side in self.image_size)
        return (self.config.network.in_channels, height, width)

    def _sample(self, cond: Cond, rng: Rng, arguments: SampleArguments) -> Cond:
        """Add `image` (B, 3, H, W), true to `known` outside `mask` where they are given."""
        seen = fit_known(cond, self.image_size)
        options = self.config.sampling.merge(arguments.sampling)
        bound = seen.each(lambda one: self.conditioned(one, rng, options))
        latents = self.config.latents
        if latents and seen.mask is not None:  # of which any pixel is to be painted is painted
            bound = bound.replace(mask=F.max_pool2d(seen.mask, self._latent_factor))
        image = self.sample_data(bound, rng, *arguments)
        if latents and seen.known is not None and seen.mask is not None:
            image = torch.where(seen.mask > 0, image, seen.known)
        return cond.replace(image=image)

    @torch.inference_mode()
    def preview(self, step: Step) -> Tensor | None:
        """See `Stage`; of latents a smaller picture, which the autoencoder makes at little cost."""
        factor = PREVIEW / max(step.x0.shape[-2:])
        if self.config.latents is None or factor >= 1:
            return super().preview(step)
        size = [max(1, round(side * factor)) for side in step.x0.shape[-2:]]
        return self.space.decode(F.interpolate(step.x0, size, mode="area"))

    def conditioned(self, cond: Cond, rng: Rng, options: Sampling) -> Cond:
        """The condition as the network gets to see it when it draws."""
        return cond

    def _begin(
        self, cond: Cond, rng: Rng, levels: list[Level], control: Control
    ) -> tuple[Tensor, list[Level]]:
        """See `DiffusionStage`; but fresh latents are of unit variance wherever the grid begins.

        The published grids begin a little below the noisiest level, and their samplers with this.
        """
        if self.config.latents and control.noise is None and control.start is None:
            return rng.randn(*self.shape(cond)), levels
        return super()._begin(cond, rng, levels, control)

    def init_from_clip(self, clip: Stage) -> None:
        """Its text encoder starts as CLIP's, where `network.text_of_clip` says so."""
        text = self.config.network.starts_as
        if text is None:
            return
        theirs = clip.config.network.text if isinstance(clip, ClipStage) else None
        if not isinstance(clip, ClipStage) or theirs != text:
            raise UsageError(
                "decoder: network.text_of_clip wants network.text to be that of the recipe's CLIP: "
                f"{theirs.dump() if theirs else 'it has none'}"
            )
        self._denoiser.get_submodule("text").load_state_dict(clip.net.text.state_dict())

    @property
    def inpaints(self) -> bool:
        """Whether the network has channels for a mask."""
        return self.config.network.inpaints

    def example(self, cond: Cond, rng: Rng) -> tuple[Cond, Tensor]:
        """A picture with its caption and its own CLIP embedding, or one that a prior predicts."""
        image, x0 = cond.image, cond.latents
        if x0 is None:
            assert image is not None
            x0 = self.space.encode(image)
        if self.inpaints:
            assert image is not None
            mask = random_mask(rng, image.shape[-2:], self.config.mask_share)
            cond = cond.replace(known=image, mask=mask)
        if self.config.predicted_share:
            z_i, own = cond.predicted_embed, cond.image_embed
            assert z_i is not None
            predicted = rng.bernoulli(self.config.predicted_share)
            cond = cond.replace(image_embed=z_i if own is None else select(predicted, z_i, own))
        return cond, x0

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Of denoising, and of features apart from CLIP's where the network aligns."""
        if not self.learns_patches:
            return super().loss(cond, rng)
        net, patches, share = self._denoiser, cond.image_patches, self.config.align_norm
        assert patches is not None
        with outputs_of(net.aligned_layer) as seen:
            loss, metrics = super().loss(cond, rng)
        patches = patches if share is None else spatial_norm(patches, share)
        apart = misalignment(net.align, seen[0], patches)
        return loss + self.config.align_weight * apart, {**metrics, "align": apart.detach()}


STAGE = Decoder
