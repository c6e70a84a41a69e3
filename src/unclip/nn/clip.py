"""CLIP: a ViT and a causal text transformer that meet in one embedding space.

Learning Transferable Visual Models From Natural Language Supervision (arXiv 2103.00020).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import Config
from ..errors import UsageError
from .layers import normal_parameter
from .text import TextConfig, TextEncoder
from .transformer import Transformer, TransformerConfig


class VisionConfig(TransformerConfig):
    """Size of the image encoder."""

    image_size: int = Field(gt=0)
    patch_size: int = Field(gt=0)
    mean: tuple[float, float, float] = Field((0.5, 0.5, 0.5), description="of pixels in [0, 1]")
    std: tuple[float, float, float] = Field((0.5, 0.5, 0.5), description="of pixels in [0, 1]")

    @model_validator(mode="after")
    def _patches_tile(self) -> VisionConfig:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )
        return self


class ClipConfig(Config):
    """Size of CLIP. A model that needs one of its towers alone leaves the other out."""

    embed_dim: int = Field(gt=0, description="width of the shared space (D)")
    vision: VisionConfig | None = None
    text: TextConfig | None = None
    normalize: bool = Field(True, description="embeddings have norm 1")

    @model_validator(mode="after")
    def _sees_or_reads(self) -> ClipConfig:
        if self.vision is None and self.text is None:
            raise ValueError("give vision, text or both")
        return self

    def build(self) -> Clip:
        """The network."""
        return Clip(self)


class VisionTransformer(nn.Module):
    """ViT with a class token and a norm before and after (CLIP, section 2.4)."""

    def __init__(self, config: VisionConfig, embed_dim: int) -> None:
        super().__init__()
        self.config = config
        width, size = config.width, config.patch_size
        patches = (config.image_size // size) ** 2
        self.patch = nn.Conv2d(3, width, kernel_size=size, stride=size, bias=False)
        self.class_token = normal_parameter(width, std=width**-0.5)
        self.positions = normal_parameter(patches + 1, width, std=width**-0.5)
        self.norm_in = nn.LayerNorm(width)
        self.transformer = Transformer(config, causal=False)
        self.norm_out = nn.LayerNorm(width)
        self.proj = nn.Linear(width, embed_dim, bias=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) in [-1, 1] -> (B, D), not normalised; and (B, patches, W'), in rows."""
        x = self.patch(image).flatten(2).transpose(1, 2)  # (B, patches, W')
        token = self.class_token.to(x.dtype).expand(x.shape[0], 1, -1)
        x = self.norm_in(torch.cat([token, x], dim=1) + self.positions)
        x = self.norm_out(self.transformer(x)[0])
        return self.proj(x[:, 0]), x[:, 1:]


class Clip(nn.Module):
    """Both encoders and the learned temperature."""

    vision: Any
    text: Any

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        if config.vision:
            self.vision = self.vision_encoder(config.vision)
        if config.text:
            self.text = self.text_encoder(config.text)
            self.text_proj = nn.Linear(config.text.width, config.embed_dim, bias=False)
        if config.vision and config.text:
            self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def vision_encoder(self, config: VisionConfig) -> nn.Module:
        """A network with a `patch` convolution: (B, 3, H, W) -> features (B, D), and patches."""
        return VisionTransformer(config, self.config.embed_dim)

    def text_encoder(self, config: TextConfig) -> nn.Module:
        """A network: tokens and mask (B, N) -> (B, N, W')."""
        return TextEncoder(config, causal=True)

    def encode_image(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1], of any size -> (B, D) float32: z_i.

        Raises:
            UsageError: this CLIP has no image encoder.
        """
        return self.see(image)[0]

    def see(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> z_i as `encode_image`, and (B, patches, W'): its patches row by row."""
        config = self.config.vision
        if config is None:
            raise UsageError("this model's CLIP has no image encoder; name a whole one (--clip)")
        size = config.image_size
        if image.shape[-2:] != (size, size):
            # float32: antialiased bicubic has no bfloat16 kernel on the CPU
            image = F.interpolate(image.float(), (size, size), mode="bicubic", antialias=True)
        mean, std = (image.new_tensor(value).view(3, 1, 1) for value in (config.mean, config.std))
        image = image * (0.5 / std) + (0.5 - mean) / std
        features, patches = self.vision(image.to(self.vision.patch.weight.dtype))
        return self._finished(features), patches

    def encode_text(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) int64 tokens, the last real one the end of text, and bool, True on real ones.

        Returns:
            (B, D) float32: z_t; and (B, N, W') encodings of the tokens.

        Raises:
            UsageError: this CLIP has no text encoder.
        """
        if self.config.text is None:
            raise UsageError("this model's CLIP has no text encoder; name a whole one (--clip)")
        encodings = self.text(tokens, mask)
        end = mask.sum(dim=1) - 1
        features = self.text_proj(encodings[torch.arange(len(end), device=end.device), end])
        return self._finished(features), encodings

    def _finished(self, features: Tensor) -> Tensor:
        """float32, and of unit norm where the model wants it so."""
        features = features.float()
        return F.normalize(features, dim=-1) if self.config.normalize else features
