"""Feature extractors: networks that look at images for the metrics, under one face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..checkpoints.format import Options, open_model
from ..checkpoints.tensors import sha256
from ..device import fast_dtype
from ..errors import DataError, UsageError, counted
from ..facade import Pipeline
from ..nn.tokenizer import Tokenizer
from ..stages.clip import ClipStage
from .image_set import ImageSet, OnProgress

BATCH = 64


@dataclass(frozen=True)
class FeatureExtractor:
    """A network that turns images, and captions where it reads, into vectors."""

    name: str  # as in "FD-clip@1000"
    hash: str  # of its weights and settings
    dims: int  # numbers in a feature (D)
    see: Callable[[Tensor], Tensor]  # (B, 3, H, W) in [-1, 1] -> (B, D)
    read: Callable[[Sequence[str]], Tensor] | None = None  # captions -> (B, D) of norm 1
    facts: dict[str, Any] = field(default_factory=dict)  # what is known of it, for the report
    device: str | torch.device = "cpu"

    @property
    def key(self) -> str:
        """What results with it are kept under."""
        return f"{self.name}-{self.hash}"

    @property
    def bandwidth(self) -> float:
        """Of `mmd`'s kernel: the length of a feature whose numbers have a mean square of 1."""
        return float(self.dims**0.5)


@torch.inference_mode()
def features(
    extractor: FeatureExtractor, images: ImageSet, on_progress: OnProgress | None = None
) -> Tensor:
    """(N, D) float64 of every image.

    Raises:
        DataError: some are NaN or infinite.
    """
    seen = map(extractor.see, (x.to(extractor.device) for x in images.batches(BATCH, on_progress)))
    none = torch.zeros(0, extractor.dims, dtype=torch.float64)
    made = torch.cat([none, *(one.cpu().double() for one in seen)])
    bad = int((~made.isfinite()).any(1).sum())
    if bad:
        raise DataError(
            f"feature extractor '{extractor.name}' gives NaN or infinity for {bad} of {len(made)} "
            "pictures"
        )
    return made


def from_clip(path: Path, device: torch.device) -> FeatureExtractor:
    """Any CLIP in a file or folder: a model of this package, transformers', OpenAI's, open_clip's.

    Raises:
        UsageError: there is no CLIP in it, or half of one.
        CheckpointError: it is damaged.
    """
    plan = open_model(path, Options())
    model = plan.load(fast_dtype(device), device)
    stage = next((one for one in model.stages.values() if isinstance(one, ClipStage)), None)
    if stage is None:
        raise UsageError(f"{path} holds no CLIP")
    mark = model.hash or (sha256(path)[:12] if path.is_file() else "")
    return of_stage(model.name, stage, model.tokenizer, mark, device)


def of_pipeline(pipe: Pipeline) -> FeatureExtractor:
    """The CLIP that a pipeline draws with. Raises UsageError where it has none."""
    stage = pipe.model.clip("an evaluation with its own CLIP")
    return of_stage("own-clip", stage, pipe.tokenizer, pipe.hash, pipe.device)


def of_stage(
    name: str, stage: ClipStage, tokenizer: Tokenizer, mark: str, device: torch.device
) -> FeatureExtractor:
    """A CLIP stage. Raises UsageError where it lacks an encoder."""
    config = stage.config.network
    for tower in ("vision", "text"):
        if getattr(config, tower) is None:
            raise UsageError(f"the CLIP '{name}' has no {tower} encoder; name a whole one")
    scale = config.embed_dim**0.5

    def see(image: Tensor) -> Tensor:
        seen: Tensor = normalize(stage.net.encode_image(image), dim=-1) * scale
        return seen

    def read(captions: Sequence[str]) -> Tensor:
        tokens, mask = tokenizer.encode(captions)
        z_t, _ = stage.net.encode_text(tokens.to(device), mask.to(device))
        return normalize(z_t, dim=-1)

    return FeatureExtractor(name, mark, config.embed_dim, see, read, {"kind": "clip"}, device)


@dataclass(frozen=True)
class ClipScore:
    """Mean of 100 max(cos, 0) between images and captions, and its standard error."""

    value: float
    error: float


@torch.inference_mode()
def clip_score(extractor: FeatureExtractor, seen: Tensor, captions: Sequence[str]) -> ClipScore:
    """How well images suit captions (Hessel et al. 2021, arXiv 2104.08718, with a weight of 1).

    Args:
        extractor: one that reads.
        seen: (N, D) features of the images, as `features` gives them.
        captions: N of them.

    Raises:
        UsageError: the extractor cannot read, or there are fewer captions than images.
    """
    if extractor.read is None:
        raise UsageError(f"feature extractor '{extractor.name}' cannot read captions; a CLIP can")
    if len(captions) != len(seen):
        raise UsageError(
            f"each of {counted(len(seen), 'picture')} needs a caption, got {len(captions)}"
        )
    starts = range(0, len(captions), 256)
    z_t = torch.cat([extractor.read(captions[at : at + 256]).cpu().double() for at in starts])
    score = 100 * (normalize(seen, dim=-1) * z_t).sum(1).clamp(min=0)
    return ClipScore(float(score.mean()), float(score.std() / max(len(score), 1) ** 0.5))
