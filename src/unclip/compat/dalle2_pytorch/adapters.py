"""A CLIP as DALLE2-pytorch's priors and decoders see it."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...checkpoints.companions import open_clip_part
from ...checkpoints.format import Options
from ...errors import UsageError
from ...families.clip.clip import tokenizer_for
from ...families.clip.openai import openai_table
from ...nn.clip import ClipConfig
from ...nn.tokenizer import Tokenizer
from ...stages.clip import ClipStageConfig
from .clip import CLIP
from .tokenizer import unframed
from .translated import Translated

END = 49407
"""CLIP's token for the end of a text; its 0 is both padding and an exclamation mark."""


class EmbeddedText(NamedTuple):
    """(B, D) of norm 1, and (B, N, W'), 0 on padding."""

    text_embed: Tensor
    text_encodings: Tensor


class EmbeddedImage(NamedTuple):
    """(B, D) of norm 1, and (B, P, W') where a CLIP gives them."""

    image_embed: Tensor
    image_encodings: Tensor | None


class BaseClipAdapter(nn.Module):
    """A CLIP that is not trained: it stays in evaluation mode."""

    image_channels = 3

    def __init__(self, clip: Translated) -> None:
        super().__init__()
        self.clip = clip
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> BaseClipAdapter:
        """Evaluation mode, whatever the model around it is in."""
        super().train(False)
        return self

    @property
    @abstractmethod
    def config(self) -> ClipConfig:
        """The network's settings."""

    @property
    def dim_latent(self) -> int:
        """Width of the embeddings (D)."""
        return self.config.embed_dim

    @property
    def image_size(self) -> int:
        """Side of its pictures."""
        assert self.config.vision is not None
        return self.config.vision.image_size

    @property
    def max_text_len(self) -> int:
        """Tokens that it reads (N)."""
        assert self.config.text is not None
        return self.config.text.context

    @property
    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """What makes tokens of texts."""

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Texts -> (B, N) token ids.

        Raises:
            UsageError: there are none, or one is too long, or has a token that the CLIP was not
                given room for.
        """
        if not texts:
            raise UsageError("there is no text to read")
        for text in texts:
            if complaint := self.tokenizer.complaint(text):
                raise UsageError(complaint)
        tokens, _ = self.tokenizer.encode(texts)
        assert self.config.text is not None
        known, most = self.config.text.vocab_size, int(tokens.max()) if tokens.numel() else 0
        if most >= known:
            raise UsageError(f"the texts have token {most}, the CLIP knows {known}: give token ids")
        return tokens.to(next(self.clip.parameters()).device)

    @abstractmethod
    def embed_text(self, text: Tensor) -> EmbeddedText:
        """Of (B, N) token ids."""

    @abstractmethod
    def embed_image(self, image: Tensor) -> EmbeddedImage:
        """Of (B, 3, H, W) in [0, 1], at least as large as `image_size`."""

    def fitted(self, image: Tensor) -> Tensor:
        """The same at `image_size`. Raises UsageError where it is smaller, or not square."""
        height, side = image.shape[-2:]
        if side < self.image_size or height != side:
            least = self.image_size
            raise UsageError(f"CLIP wants square pictures of {least} pixels, got {height}×{side}")
        return image if side == self.image_size else shrunk(image, self.image_size)


class XClipAdapter(BaseClipAdapter):
    """Of a `CLIP`, whose tokens are CLIP's own without start and end."""

    clip: CLIP

    @property
    def config(self) -> ClipConfig:
        """See `BaseClipAdapter`."""
        return self.clip.clip.config

    @property
    def tokenizer(self) -> Tokenizer:
        """See `BaseClipAdapter`."""
        return unframed(self.max_text_len)

    @torch.no_grad()
    def embed_text(self, text: Tensor) -> EmbeddedText:
        """See `BaseClipAdapter`; padding is read like words."""
        text = text[:, : self.max_text_len]
        return EmbeddedText(*self.clip.clip.encode_text(text, text != 0))

    @torch.no_grad()
    def embed_image(self, image: Tensor) -> EmbeddedImage:
        """See `BaseClipAdapter`."""
        features, patches = self.clip.clip.vision(self.fitted(image))
        return EmbeddedImage(F.normalize(features, dim=-1), patches)


class OpenAIClipAdapter(BaseClipAdapter):
    """Of a CLIP in files of any layout that this package reads. Nothing is downloaded.

    Args:
        name: its file or folder. Another name stands for what the environment's UNCLIP_CLIP names.

    Raises:
        UsageError: there is none, or it is no CLIP.
        CheckpointError: it is damaged, or of a variant that is not read.
    """

    usual: ClassVar[str] = "ViT-B/32"

    def __init__(self, name: str | Path | None = None) -> None:
        self.path = self._found(name or self.usual)
        part = open_clip_part(self.path)
        config = part.config
        if not isinstance(config, ClipStageConfig) or config.kind != "clip":
            raise UsageError(f"{self.path} is no CLIP of OpenAI's make: load it into a CLIP(...)")
        if not (config.network.text and config.network.vision):
            raise UsageError(f"{self.path} has but one of CLIP's two encoders")
        net: Any = part.read(str(self.path), torch.float32, torch.device("cpu"))
        super().__init__(Translated(net, openai_table(net.config)))

    def _found(self, name: str | Path) -> Path:
        where = Path(name).expanduser()
        if where.exists():
            return where
        named = os.environ.get("UNCLIP_CLIP")
        if named and Path(named).expanduser().exists():
            return Path(named).expanduser()
        said = f"UNCLIP_CLIP names {named}, which is missing" if named else "UNCLIP_CLIP is not set"
        raise UsageError(
            f"{type(self).__name__}: '{name}' is no file or folder, and {said}; nothing is "
            "downloaded: give the path of a CLIP"
        )

    @property
    def config(self) -> ClipConfig:
        """See `BaseClipAdapter`."""
        found = self.clip.net.config
        assert isinstance(found, ClipConfig)
        return found

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """See `BaseClipAdapter`: with start and end, as CLIP was trained."""
        return tokenizer_for(self.path, Options(), self.max_text_len)

    @torch.no_grad()
    def embed_text(self, text: Tensor) -> EmbeddedText:
        """See `BaseClipAdapter`: of what comes up to the end."""
        text = text[:, : self.max_text_len]
        ended = (text == END).cumsum(1) - (text == END).long()  # ends before a token
        mask = (ended == 0) & (text != 0)
        z_t, encodings = self._net.encode_text(text, mask)
        return EmbeddedText(z_t, encodings * mask[..., None])

    @torch.no_grad()
    def embed_image(self, image: Tensor) -> EmbeddedImage:
        """See `BaseClipAdapter`."""
        return EmbeddedImage(self._net.encode_image(2 * self.fitted(image) - 1), None)

    @property
    def _net(self) -> Any:
        return self.clip.net


class OpenClipAdapter(OpenAIClipAdapter):
    """The same; `pretrained` names weights that are not downloaded either."""

    def __init__(self, name: str | Path | None = None, pretrained: str = "") -> None:
        super().__init__(name)


def adapted(clip: Any, overrides: Any = None) -> BaseClipAdapter:
    """What a prior or a decoder is given as `clip`. Raises UsageError where it is no CLIP."""
    if overrides:
        raise UsageError("argument 'clip_adapter_overrides' is not read")
    if isinstance(clip, BaseClipAdapter):
        return clip
    if isinstance(clip, CLIP):
        return XClipAdapter(clip)
    raise UsageError(f"clip must be a CLIP or an adapter, got {type(clip).__name__}")


def shrunk(image: Tensor, side: int) -> Tensor:
    """(B, C, H, H) -> (B, C, side, side) by antialiased bicubic interpolation, 0 beyond the edge.

    PyTorch's own gives what lies within the edge more weight there instead.
    """
    weights = _weights(image.shape[-1], side).to(image)
    return torch.einsum("oh,bchw,pw->bcop", weights, image, weights)


def _weights(large: int, small: int) -> Tensor:
    """(small, large): of each pixel (Keys 1981, eq. 15, a = -0.5), stretched by the ratio."""
    ratio = large / small
    centre = (torch.arange(small, dtype=torch.float64) + 0.5) * ratio - 0.5
    reach = int(2 * ratio) + 1
    place = torch.arange(-reach, large + reach, dtype=torch.float64)
    x = (place - centre[:, None]).abs() / ratio
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    weight = torch.where(x <= 1, near, torch.where(x <= 2, far, torch.zeros_like(x)))
    return (weight / weight.sum(1, keepdim=True))[:, reach:-reach]
