"""CLIP as a stage: text in, z_t and encodings out."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from ..nn.clip import Clip, ClipConfig
from ..nn.weighted import weighted
from ..rng import Rng
from ..types import Cond
from .sampling import SampleArguments, check_finite
from .stage import Stage, StageConfig


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


class ClipStage(Stage):
    """The two encoders, and the contrastive loss (arXiv 2103.00020, figure 3)."""

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
        return (vision.image_size, vision.image_size) if vision else None

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

    def loss(self, cond: Cond, rng: Rng) -> tuple[Tensor, dict[str, Tensor]]:
        """Symmetric cross-entropy over the batch; equal captions count as one class.

        With few distinct captions the same one comes twice in a batch, and calling its second
        picture wrong would teach a falsehood: the target is shared evenly among equal captions.

        Where there are captions that are almost true (`negative_tokens`), each picture has to
        tell its own caption from all of them too (NegCLIP, arXiv 2210.01936, section 4).
        """
        assert cond.text_tokens is not None and cond.text_mask is not None
        assert cond.image is not None
        z_i = self.net.encode_image(cond.image)
        z_t, _ = self.net.encode_text(cond.text_tokens, cond.text_mask)
        logits = self.net.log_scale.exp().clamp(max=100.0) * z_i @ z_t.T  # (B, B)
        same = (cond.text_tokens[:, None] == cond.text_tokens[None]).all(-1).float()
        target = same / same.sum(1, keepdim=True)
        wide, wide_target = self._beside_negatives(cond, z_i, logits, target)
        by_image = F.cross_entropy(wide, wide_target, reduction="none")
        by_text = F.cross_entropy(logits.T, target, reduction="none")
        hit = same.gather(1, logits.argmax(1, keepdim=True))[:, 0]
        metrics = {"accuracy": hit, "scale": self.net.log_scale.exp()}
        if wide is not logits:
            own = wide.gather(1, torch.arange(len(z_i), 2 * len(z_i), device=z_i.device)[:, None])
            metrics["negative_accuracy"] = (logits.diagonal() > own[:, 0]).float()
        return (by_image + by_text) / 2, metrics

    def _beside_negatives(
        self, cond: Cond, z_i: Tensor, logits: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, 2B) logits and targets, the almost true captions to the right; those that are true
        of another picture of the batch do not count there."""
        if cond.negative_tokens is None or cond.negative_mask is None:
            return logits, target
        assert cond.text_tokens is not None
        z_n, _ = self.net.encode_text(cond.negative_tokens, cond.negative_mask)
        scores = self.net.log_scale.exp().clamp(max=100.0) * z_i @ z_n.T  # (B, B)
        true = (cond.text_tokens[:, None] == cond.negative_tokens[None]).all(-1)
        scores = scores.masked_fill(true, -1e4)  # far below any; minus infinity times 0 is no 0
        return torch.cat([logits, scores], 1), torch.cat([target, torch.zeros_like(target)], 1)


STAGE = ClipStage
