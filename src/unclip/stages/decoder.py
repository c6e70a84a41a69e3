"""The decoder as a stage: z_i (and the text) in, a small picture out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..diffusion.parameterization import Parameterization
from ..diffusion.schedule import Cosine, ScheduleConfig
from ..diffusion.space import Rgb, SpaceConfig
from ..errors import UsageError
from ..nn.layers import select
from ..nn.unet import UNet, UNetConfig
from ..rng import Rng
from ..types import FREE, Cond, Control, OnStep
from .clip import ClipStage
from .stage import DiffusionConfig, DiffusionStage, Sampling, Stage, check_channels, fit_known


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
    predicted_share: float = Field(
        0.0, ge=0, le=1, description="of samples shown what the recipe's prior makes of z_i"
    )
    align_weight: float = Field(
        0.05, ge=0, description="of the loss against CLIP's patch features (network.align_dim)"
    )
    mask_share: float = Field(
        0.5, ge=0, le=1, description="of samples with a part to paint, where the network inpaints"
    )


class Decoder(DiffusionStage):
    """Section 2.1 of arXiv 2204.06125. With guidance both conditions are dropped together."""

    Config = DecoderConfig
    kind = "decoder"
    consumes: frozenset[str] = frozenset({"text_tokens", "text_mask", "image_embed"})
    produces: frozenset[str] = frozenset({"image"})
    config: DecoderConfig
    net: UNet

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        network = config.network
        check_channels(config, network.in_channels, network.out_channels)
        self.config = config
        self.net = UNet(network)
        self.consumes = network.reads

    @property
    def trains_on(self) -> frozenset[str]:
        """What it reads and the picture; CLIP's patches of it and a prior's z_i where they help."""
        aligns = {"image_patches"} if self.config.network.align_dim else set()
        predicted = {"predicted_embed"} if self.config.predicted_share else set()
        return super().trains_on | aligns | predicted

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

    def init_from_clip(self, clip: Stage) -> None:
        """Its text encoder starts as CLIP's, where `network.text_of_clip` says so."""
        text = self.config.network.text
        if text is None or not self.config.network.text_of_clip:
            return
        theirs = clip.config.network.text if isinstance(clip, ClipStage) else None
        if not isinstance(clip, ClipStage) or theirs != text:
            raise UsageError(
                "decoder: network.text_of_clip wants network.text to be that of the recipe's CLIP: "
                f"{theirs.dump() if theirs else 'it has none'}"
            )
        self.net.get_submodule("text").load_state_dict(clip.net.text.state_dict())

    @property
    def inpaints(self) -> bool:
        """Whether the network has channels for a mask."""
        return self.config.network.inpaint

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Diffusion loss of the picture given its own CLIP embedding and its caption."""
        image = cond.image
        assert image is not None
        if self.config.network.inpaint:
            mask = random_mask(rng, image.shape[-1], self.config.mask_share)
            cond = cond.replace(known=image, mask=mask)
        if self.config.predicted_share:
            assert cond.predicted_embed is not None and cond.image_embed is not None
            predicted = rng.bernoulli(self.config.predicted_share)
            z_i = select(predicted, cond.predicted_embed, cond.image_embed)
            cond = cond.replace(image_embed=z_i)
        if not self.config.network.align_dim:
            return self.denoising_loss(cond, image, rng)
        assert cond.image_patches is not None
        with outputs_of(self.net.aligned_layer) as seen:
            loss, metrics = self.denoising_loss(cond, image, rng)
        apart = misalignment(self.net.align, seen[0], cond.image_patches)
        return loss + self.config.align_weight * apart, {**metrics, "align": apart.detach()}


def misalignment(head: nn.Module, features: Tensor, patches: Tensor) -> Tensor:
    """(B,) mean of 1 - cos between a network's features and a frozen CLIP's, place by place.

    Representation alignment (REPA, arXiv 2410.06940, eq. 8): what a place shall show is told to
    the middle of the network long before its pixels say so.

    Args:
        head: (..., C) -> (..., W').
        features: (B, C, h, w).
        patches: (B, P, W'), a square of patches row by row.
    """
    side = math.isqrt(patches.shape[1])
    there = patches.detach().transpose(1, 2)
    there = there.reshape(*there.shape[:2], side, side)  # (B, W', side, side)
    if side != features.shape[-1]:
        there = F.interpolate(there.float(), features.shape[-2:], mode="area")
    own = head(features.permute(0, 2, 3, 1))  # (B, h, w, W')
    cosine = F.cosine_similarity(own.float(), there.permute(0, 2, 3, 1).float(), dim=-1)
    return 1 - cosine.flatten(1).mean(1)


@contextmanager
def outputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What a layer gives in each call within the block."""
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _module, _given, out: seen.append(out))
    try:
        yield seen
    finally:
        handle.remove()


def random_mask(rng: Rng, side: int, share: float) -> Tensor:
    """(B, 1, side, side), 1 where to paint: for `share` of the samples a box or all but a box.

    The others are painted whole, so that one network inpaints and generates (GLIDE, section 4.1).
    """
    corner, extent = rng.rand(2), 0.2 + 0.6 * rng.rand(2)  # (B, 2), of the side
    start = (corner * (1 - extent))[:, :, None]
    line = (torch.arange(side, dtype=torch.float32, device=corner.device) + 0.5) / side
    inside = (line >= start) & (line < start + extent[:, :, None])  # (B, 2, side)
    box = inside[:, 0, :, None] & inside[:, 1, None, :]  # (B, side, side)
    box = box ^ rng.bernoulli(0.5)[:, None, None]
    mask = box | ~rng.bernoulli(share)[:, None, None]
    return mask[:, None].float()


STAGE = Decoder
