"""CLIP as a stage: text in, z_t and encodings out."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..nn.clip import Clip, ClipConfig
from ..nn.weighted import weighted
from ..rng import Rng
from ..types import Cond
from .comparing import ComparingStage, Features, Samples
from .contrastive.objective import ClipObjective, ContrastiveObjective
from .sampling import SampleArguments, check_finite
from .stage import StageConfig


class ClipStageConfig(StageConfig):
    """CLIP's configuration."""

    kind: Literal["clip"] = "clip"
    network: ClipConfig
    null: Literal["learned", "text"] = Field(
        "learned", description="what stands for a hidden text: each network's own, or another text"
    )
    null_image: bool = Field(
        False, description="the embedding of a picture of the mean colour stands for no picture"
    )
    objective: ClipObjective = Field(
        default_factory=ContrastiveObjective, description="the losses that it learns from"
    )


class ClipStage(ComparingStage):
    """The two encoders (arXiv 2103.00020). What they learn from is `contrastive`."""

    Config: ClassVar[type[StageConfig]] = ClipStageConfig
    kind = "clip"
    consumes: frozenset[str] = frozenset({"text_tokens", "text_mask"})
    produces: frozenset[str] = frozenset({"text_embed", "text_encodings"})
    config: ClipStageConfig
    net: Clip

    def __init__(self, config: ClipStageConfig) -> None:
        super().__init__()
        self.config = config
        self.net = config.network.build()
        if config.objective.first_scale and self.reads and self.sees:
            nn.init.constant_(self.net.log_scale, math.log(config.objective.first_scale))

    @property
    def null_is_text(self) -> bool:
        """As configured."""
        return self.config.null == "text"

    @property
    def reads(self) -> bool:
        """Whether it has a text encoder."""
        return self.config.network.text is not None

    @property
    def sees(self) -> bool:
        """Whether it has an image encoder."""
        return self.config.network.vision is not None

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of the image encoder's pictures; None without one."""
        vision = self.config.network.vision
        return (vision.image_size,) * 2 if vision else None

    @property
    def trains_on(self) -> frozenset[str]:
        """Pictures and their captions."""
        return self.consumes | {"image"}

    def _sample(self, cond: Cond, rng: Rng, arguments: SampleArguments) -> Cond:
        """Add `text_embed` and `text_encodings`. Nothing here is random. Raises SamplingError."""
        read = self.encode_text(cond)
        assert read.text_embed is not None
        check_finite(read.text_embed, stage=self.kind, when="for a text")
        return read

    def encode_text(self, cond: Cond) -> Cond:
        """Add `text_embed` (B, D) and `text_encodings` (B, N, W'), and what the nulls are."""
        cond = self.add_null_image(cond)
        assert cond.text_tokens is not None and cond.text_mask is not None
        if cond.null_text_tokens is None or cond.null_text_mask is None:
            z_t, encodings = self._read(cond.text_tokens, cond.text_mask)
            encodings = weighted(encodings, cond.text_weights)
            return cond.replace(text_embed=z_t, text_encodings=encodings)
        tokens = torch.cat([cond.text_tokens, cond.null_text_tokens])
        z_t, encodings = self._read(tokens, torch.cat([cond.text_mask, cond.null_text_mask]))
        half = len(cond)
        return cond.replace(
            text_embed=z_t[:half],
            text_encodings=weighted(encodings[:half], cond.text_weights),
            null_text_embed=z_t[half:],
            null_text_encodings=weighted(encodings[half:], cond.null_text_weights),
        )

    def _read(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """z_t and the encodings; what stands in several rows is read once."""
        if self.training or tokens.is_meta:
            return self.net.encode_text(tokens, mask)
        once, inverse = torch.unique(tokens, dim=0, return_inverse=True)
        order = torch.arange(len(tokens), device=tokens.device)
        first = order.new_full((len(once),), len(tokens)).scatter_reduce_(0, inverse, order, "amin")
        z_t, encodings = self.net.encode_text(once, mask[first])
        return z_t[inverse], encodings[inverse]

    def add_null_image(self, cond: Cond) -> Cond:
        """Add the embedding that stands for no picture, where the model has such a one."""
        if not self.config.null_image:
            return cond
        return cond.replace(null_image_embed=self._null_image().expand(len(cond), -1))

    def _null_image(self) -> Tensor:
        """(1, D): the embedding of a picture whose every number is 0 to the image encoder."""
        vision = self.config.network.vision
        assert vision is not None
        mean = torch.tensor(vision.mean, dtype=torch.float32, device=self.device)
        grey = 2 * mean.view(1, 3, 1, 1) - 1
        return self.net.encode_image(grey.expand(1, 3, vision.image_size, vision.image_size))

    def embed_images(self, image: Tensor) -> Tensor:
        """(B, D) z_i of (B, 3, H, W) pictures on any device. Raises SamplingError."""
        with torch.inference_mode():
            z_i = self.net.encode_image(image.to(self.device))
        check_finite(z_i, stage=self.kind, when="for a picture")
        return z_i

    def encode_image(self, cond: Cond) -> Cond:
        """Add `image_embed` (B, D) of `image`."""
        assert cond.image is not None
        return cond.replace(image_embed=self.net.encode_image(cond.image))

    def encode_patches(self, cond: Cond) -> Cond:
        """Add `image_embed` (B, D) and `image_patches` (B, patches, W') of `image`."""
        assert cond.image is not None
        z_i, patches = self.net.see(cond.image)
        return cond.replace(image_embed=z_i, image_patches=patches)

    def heads(self) -> nn.ModuleDict:
        """See `ComparingStage`."""
        return self.config.objective.heads(self.net)

    def features(self, cond: Cond, rng: Rng, heads: nn.ModuleDict) -> Features:
        """See `ComparingStage`."""
        return self.config.objective.features(self.net, heads, cond, rng)

    def compare(self, samples: Samples, heads: nn.ModuleDict) -> tuple[Tensor, dict[str, Tensor]]:
        """The losses that are configured."""
        return self.config.objective.loss(samples, self.net, heads)


STAGE = ClipStage
