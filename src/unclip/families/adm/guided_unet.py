"""The ADM U-Net as GLIDE, Karlo and Kandinsky 2.2 vary it: how it is told of its condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import Config
from ...nn.conditioning import Given
from ...nn.layers import TimestepMlp, normal_parameter, select, trimmed
from ...nn.text import TextEncoder
from ...nn.unet import UNet, UNetConfig


class ClipTextConfig(Config):
    """What CLIP says of the text, in place of a text encoder of the network's own."""

    embed_dim: int = Field(gt=0, description="width of z_t, which joins the timestep embedding")
    width: int = Field(gt=0, description="width of the text encodings, which become context")


class GuidedUNetConfig(UNetConfig):
    """Size and conditions of the U-Net; without further settings it is the core's."""

    once_usual: ClassVar[Mapping[str, Any]] = {
        "low_res_level": True,
        "mask_of": "unknown",
        "unit_embed": True,
        "null_embed": True,
        "norm_embed": False,
        "context_dim": 0,
        "project_text": True,
        "clip_text": None,
    }
    """Settings of old files, where they stand among the core's own, and what they mean there."""

    kind: Literal["guided_unet"] = "guided_unet"
    low_res_level: bool = Field(True, description="be told how corrupted the small picture is")
    mask_of: Literal["unknown", "known"] = Field("unknown", description="where the mask is 1")
    unit_embed: bool = Field(True, description="z_i is of unit norm, to be brought to 1 a number")
    null_embed: bool = Field(True, description="a learned vector stands for a hidden z_i")
    norm_embed: bool = Field(False, description="LayerNorm on what is made of z_i")
    context_dim: int = Field(0, ge=0, description="width of context tokens; 0 is the text's")
    project_text: bool = Field(True, description="a linear layer between text and context")
    clip_text: ClipTextConfig | None = None

    @model_validator(mode="after")
    def _one_text(self) -> Self:
        if self.text and self.clip_text:
            raise ValueError("text and clip_text: the text comes from one of them")
        return self

    def build(self) -> GuidedUNet:
        """The network."""
        return GuidedUNet(self)

    @property
    def reads(self) -> frozenset[str]:
        """See `NetConfig`."""
        clip = {"text_mask", "text_embed", "text_encodings"} if self.clip_text else set()
        return super().reads | clip

    @property
    def context_width(self) -> int:
        """As configured, else the text's, else that of the timestep embedding."""
        if self.context_dim or not self.clip_text:
            return self.context_dim or super().context_width
        return self.clip_text.width


def guided(config: UNetConfig) -> GuidedUNetConfig:
    """The same network, with the settings that the usual one leaves out."""
    return config if isinstance(config, GuidedUNetConfig) else GuidedUNetConfig(**dict(config))


class GuidedUNet(UNet):
    """See `UNet`."""

    config: GuidedUNetConfig

    def add_condition(self, emb: int) -> None:
        """See `UNet`."""
        config, width = self.config, self.config.context_width
        clip = config.clip_text
        if config.text:
            self.text = TextEncoder(config.text, causal=config.text_of_clip)
            self.text_vector = nn.Linear(config.text.width, emb)
        if clip:
            self.text_vector = nn.Linear(clip.embed_dim, emb)
            self.text_norm = nn.LayerNorm(width)
        text = config.text or clip
        if text and config.project_text:
            self.text_context = nn.Linear(text.width, width)
        if config.embed_dim:
            self._add_image_condition(emb, width)
        if config.low_res and config.low_res_level:
            self.low_res_time = TimestepMlp(config.channels, emb)

    def _add_image_condition(self, emb: int, width: int) -> None:
        config = self.config
        if config.null_embed:
            self.null_image = normal_parameter(config.embed_dim, std=config.embed_dim**-0.5)
        self.image_vector = nn.Linear(config.embed_dim, emb)
        self.image_context = nn.Linear(config.embed_dim, config.image_tokens * width)
        if config.norm_embed:
            self.image_vector_norm = nn.LayerNorm(emb)
            self.image_context_norm = nn.LayerNorm(width)

    def conditions(self, given: Given) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
        """See `UNet`; CLIP's words come without padding that no prompt of the batch needs."""
        vectors, tokens, _ = super().conditions(given)
        if not self.config.clip_text:
            return vectors, tokens, None
        dtype = self.text_norm.weight.dtype
        mask = trimmed(given["text_mask"])
        text = self._projected(given["text_encodings"][:, : mask.shape[1]].to(dtype))
        before = sum(one.shape[1] for one in tokens)
        vectors.append(self.text_vector(given["text_embed"].to(dtype)))
        tokens.append(self.text_norm(text))
        return vectors, tokens, None if mask.all() else F.pad(mask, (before, 0), value=True)

    def image_condition(self, given: Given) -> tuple[Tensor, Tensor]:
        """See `UNet`."""
        config = self.config
        z_i = given["image_embed"].to(self.image_vector.weight.dtype)
        if config.null_embed:
            z_i = select(given.get("keep_image"), z_i, self.null_image)
        z_i = z_i * config.embed_dim**0.5 if config.unit_embed else z_i
        vector = self.image_vector(z_i)
        context = self.image_context(z_i).view(len(z_i), -1, config.context_width)
        if config.norm_embed:
            return self.image_vector_norm(vector), self.image_context_norm(context)
        return vector, context

    def text_condition(self, given: Given) -> tuple[Tensor, Tensor]:
        """See `UNet`."""
        text = self.read_text(given)
        return self.text_vector(text[:, -1]), self._projected(text)

    def _projected(self, text: Tensor) -> Tensor:
        return self.text_context(text) if self.config.project_text else text

    def masked(self, known: Tensor, mask: Tensor) -> Tensor:
        """See `UNet`; the mask may be 1 where the picture is known."""
        return super().masked(known, mask if self.config.mask_of == "unknown" else 1 - mask)


NETWORK = GuidedUNetConfig
