"""What a network that denoises pictures or latents is told, and what a stage asks of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from ..config import Config
from ..registry import Registry
from .text import TextConfig

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
