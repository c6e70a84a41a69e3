"""What a network that denoises pictures or latents is told, and what a stage asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ..config import Config
from ..registry import Registry
from .layers import normal_parameter, select
from .text import TextConfig, TextEncoder
from .weighted import weighted

Given = Mapping[str, Tensor]
"""A condition: the fields of `types.Cond` that are there, by name. The first axis is the batch."""


class NetConfig(Config, ABC):
    """Settings of a network for a decoder or an upsampler."""

    image_size: int = Field(gt=0, description="side of the pictures it is trained on")
    in_channels: int = Field(3, gt=0)
    out_channels: int = Field(3, gt=0)

    @abstractmethod
    def build(self) -> nn.Module:
        """The network: `encode` does the work of a prompt, a call that of a step.

        `encode(given)` gives all that depends on the condition alone, which the call understands:
        (x (B, C, ...) noisy, t (B,) timestep, encoded) -> (B, out_channels, ...).
        """

    @property
    @abstractmethod
    def reads(self) -> frozenset[str]:
        """Fields of a condition that tell it what to draw."""

    @property
    def unit(self) -> int:
        """Every picture's side is a multiple of this."""
        return 1

    @property
    def resizes(self) -> bool:
        """Whether it draws pictures of other sizes about as well as those it is trained on."""
        return False

    @property
    def size_unit(self) -> int:
        """What the sides of such pictures are multiples of."""
        return self.unit

    @property
    def knows_places(self) -> bool:
        """Whether it is told where in the picture each pixel lies."""
        return False

    @property
    def reach(self) -> int | None:
        """How many pixels away is what a pixel depends on, in whole units; None: all there are."""
        return None

    @property
    def reads_long(self) -> bool:
        """Whether it reads `text_tokens` of any length, in chunks of its context."""
        return False

    @property
    def sees_noise(self) -> bool:
        """Whether it looks at x_t; what does not draws x0 in one call."""
        return True

    @property
    def says_x0(self) -> bool:
        """Whether its output can mean x0 alone."""
        return not self.sees_noise

    @property
    def inpaints(self) -> bool:
        """Whether it looks at what is known of a picture."""
        return False

    @property
    def aligns(self) -> int:
        """Width of CLIP's patch features that training aligns with; 0 is none."""
        return 0

    @property
    def starts_as(self) -> TextConfig | None:
        """CLIP's text encoder, if training starts from that."""
        return None


NETWORKS: Registry[type[NetConfig]] = Registry(
    "unclip.nn", "NETWORK", "network", also=("unclip.families.*",)
)
"""Networks that a decoder's or an upsampler's `network.kind` names."""


@dataclass(frozen=True)
class Encoded:
    """What a U-Net makes of its condition, once a prompt.

    `vector` (B, E) or None is added to the timestep embedding, `context` holds what each attention
    layer looks at beside the pixels, in order, `mask` (B, L) bool or None says which of it counts.
    `low_res` (B, 3, H, W) or None is concatenated to the input, with its corruption level (B,) or
    None; so is `known` (B, 4, H, W), what is known of the picture (0 elsewhere) and a mask, None
    where nothing is.
    """

    vector: Tensor | None = None
    context: tuple[Any, ...] = ()
    mask: Tensor | None = None
    low_res: Tensor | None = None
    low_res_level: Tensor | None = None
    known: Tensor | None = None


def batch_of(given: Given) -> int:
    """B."""
    return len(next(iter(given.values())))


class Conditioned(nn.Module):
    """What brings z_i and a text into a network, each as a vector and as context tokens."""

    config: Any  # with embed_dim, image_tokens, text, text_of_clip and context_width

    def add_condition(self, emb: int) -> None:
        """Make what the condition goes through into the timestep embedding and the context."""
        config, width = self.config, self.config.context_width
        if config.text:
            self.text = TextEncoder(config.text, causal=config.text_of_clip)
            self.text_vector = nn.Linear(config.text.width, emb)
            self.text_context = nn.Linear(config.text.width, width)
        if config.embed_dim:
            self.null_image = normal_parameter(config.embed_dim, std=config.embed_dim**-0.5)
            self.image_vector = nn.Linear(config.embed_dim, emb)
            self.image_context = nn.Linear(config.embed_dim, config.image_tokens * width)

    def conditions(self, given: Given) -> tuple[list[Tensor], list[Tensor], Tensor | None]:
        """What a condition adds to the timestep embedding, context tokens, and their mask."""
        both = []
        if self.config.embed_dim:
            both.append(self.image_condition(given))
        if self.config.text:
            both.append(self.text_condition(given))
        return [vector for vector, _ in both], [tokens for _, tokens in both], None

    def image_condition(self, given: Given) -> tuple[Tensor, Tensor]:
        """z_i as a vector (B, E) and as tokens (B, image_tokens, context_dim)."""
        z_i = given["image_embed"].to(self.image_vector.weight.dtype)
        z_i = select(given.get("keep_image"), z_i, self.null_image)
        # unit norm spread over D numbers is tiny: bring each to about 1
        z_i = z_i * self.config.embed_dim**0.5
        context = self.image_context(z_i).view(len(z_i), -1, self.config.context_width)
        return self.image_vector(z_i), context

    def text_condition(self, given: Given) -> tuple[Tensor, Tensor]:
        """The text as a vector (B, E) and as tokens (B, N, context_dim)."""
        text = self.read_text(given)
        return self.text_vector(text[:, -1]), self.text_context(text)

    def read_text(self, given: Given) -> Tensor:
        """(B, N, W'): the encodings of its own text encoder."""
        weights = given.get("text_weights")
        if weights is not None and "keep_text" in given:
            weights = weights.where(given["keep_text"][:, None], 1.0)
        return weighted(self.text(*self.shown_text(given)), weights)

    def shown_text(self, given: Given) -> tuple[Tensor, Tensor]:
        """(B, N) tokens, and bool, True on those that count: on none of a text that is hidden."""
        ids, mask = given.get("text_tokens"), given.get("text_mask")
        if ids is None or mask is None:  # a picture to be enlarged, of which nothing is said
            shape = (batch_of(given), self.text.config.context)
            ids = torch.zeros(shape, dtype=torch.long, device=self.text.positions.device)
            mask = ids > 0
        return ids, mask & given["keep_text"][:, None] if "keep_text" in given else mask

    def known(self, given: Given) -> Tensor | None:
        """(B, 4, H, W): the known part of a picture, 0 elsewhere, and the mask."""
        if "known" not in given or "mask" not in given:
            return None
        return self.masked(given["known"] * (1 - given["mask"]), given["mask"])

    def masked(self, known: Tensor, mask: Tensor) -> Tensor:
        """(B, 3, H, W) and (B, 1, H, W), 1 where to paint, as one (GLIDE, section 4.1)."""
        return torch.cat([known, mask], dim=1)

    def with_known(self, x: Tensor, encoded: Encoded) -> Tensor:
        """(B, C, H, W) -> (B, C + 4, H, W): with what is known of the picture."""
        known = self._nothing_known(x) if encoded.known is None else encoded.known
        return torch.cat([x, known.to(x.dtype)], dim=1)

    def _nothing_known(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        return self.masked(x.new_zeros(len(x), 3, *size), x.new_ones(len(x), 1, *size))
