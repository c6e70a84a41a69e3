"""Networks that look at pictures for the metrics, under one face."""

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
from ..errors import DataError, UsageError
from ..facade import Pipeline
from ..nn.tokenizer import Tokenizer
from ..stages.clip import ClipStage
from . import eyes
from .album import Album, OnProgress

EYES = ("classifier", "clip")
"""The eyes of a corpus, in folders of these names. Numbers of other eyes are other numbers: a
report names their hashes."""

BATCH = 64


@dataclass(frozen=True)
class Net:
    """A network that looks at pictures.

    Args:
        name: as in "FD-clip@1000".
        hash: of its weights and settings.
        dims: numbers in a feature (D).
        see: (B, 3, H, W) in [-1, 1] -> (B, D).
        read: captions -> (B, D) of norm 1, in the space of `see`; None where it cannot read.
        facts: what is known of it, for the report.
        device: where it computes.
    """

    name: str
    hash: str
    dims: int
    see: Callable[[Tensor], Tensor]
    read: Callable[[Sequence[str]], Tensor] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
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
def features(net: Net, album: Album, on_progress: OnProgress | None = None) -> Tensor:
    """(N, D) float64 of every picture.

    Raises:
        DataError: some are NaN or infinite.
    """
    found: list[Tensor] = []
    for batch in album.batches(BATCH):
        found.append(net.see(batch.to(net.device)).double().cpu())
        if on_progress:
            on_progress(min(len(found) * BATCH, len(album)), len(album))
    made = torch.cat(found) if found else torch.zeros(0, net.dims, dtype=torch.float64)
    bad = int((~made.isfinite()).any(1).sum())
    if bad:
        raise DataError(f"net '{net.name}' sees NaN or infinity in {bad} of {len(made)} pictures")
    return made


def of_corpus(folder: Path, name: str) -> Net:
    """One of the eyes that were trained for a corpus.

    Raises:
        UsageError: there is none; says how it is made.
        CheckpointError: it is damaged.
    """
    if not (folder / name).is_dir():
        raise UsageError(
            f"{folder} has no '{name}' to look at pictures with: train the eyes with "
            f"`python scripts/eyes.py --data {folder.parent}` (--eyes names another folder)"
        )
    return from_eye(name, folder / name)


def from_eye(name: str, folder: Path) -> Net:
    """An eye of any folder. Raises CheckpointError."""
    eye, tokenizer = eyes.load(folder)
    config = eye.config
    facts = {"kind": config.kind, "seed": config.seed, **config.trained}
    mark = eyes.digest(folder)
    if isinstance(eye, eyes.Classifier):
        classifier, size = eye, config.scale
        see = lambda x: classifier.encode_image(x) / size  # noqa: E731
        return Net(name, mark, config.dims, see, facts=facts)
    assert tokenizer is not None
    clip, words = eye, tokenizer

    def read(captions: Sequence[str]) -> Tensor:
        tokens, mask = words.encode(captions)
        return clip.encode_text(tokens, mask)

    scale = config.dims**0.5  # numbers with a mean square of 1, as a kernel wants them
    return Net(name, mark, config.dims, lambda x: clip.encode_image(x) * scale, read, facts)


def from_clip(path: Path, device: torch.device) -> Net:
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


def of_pipeline(pipe: Pipeline) -> Net:
    """The CLIP that a pipeline draws with. Raises UsageError where it has none."""
    stage = pipe.model.clip("an evaluation with its own CLIP")
    return of_stage("own-clip", stage, pipe.tokenizer, pipe.hash, pipe.device)


def of_stage(
    name: str, stage: ClipStage, tokenizer: Tokenizer, mark: str, device: torch.device
) -> Net:
    """A CLIP stage as a net. Raises UsageError where it lacks a tower."""
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

    return Net(name, mark, config.embed_dim, see, read, {"kind": "clip"}, device)


@dataclass(frozen=True)
class ClipScore:
    """Mean of 100 max(cos, 0) between pictures and captions, and its standard error."""

    value: float
    error: float


@torch.inference_mode()
def clip_score(net: Net, seen: Tensor, captions: Sequence[str]) -> ClipScore:
    """How well pictures suit captions (Hessel et al. 2021, arXiv 2104.08718, with a weight of 1).

    Args:
        net: one that reads.
        seen: (N, D) features of the pictures, as `features` gives them.
        captions: N of them.

    Raises:
        UsageError: the net cannot read, or there are fewer captions than pictures.
    """
    if net.read is None:
        raise UsageError(f"net '{net.name}' cannot read captions; a CLIP can")
    if len(captions) != len(seen):
        raise UsageError(f"{len(seen)} pictures want as many captions, got {len(captions)}")
    parts = [
        net.read(captions[at : at + 256]).double().cpu() for at in range(0, len(captions), 256)
    ]
    z_t = torch.cat(parts)
    score = 100 * (normalize(seen, dim=-1) * z_t).sum(1).clamp(min=0)
    return ClipScore(float(score.mean()), float(score.std() / max(len(score), 1) ** 0.5))
