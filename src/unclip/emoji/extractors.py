"""The corpus' own feature extractors: two small networks that take no part in drawing.

The classifier knows which object a picture of one object shows; the evaluation CLIP brings
pictures and captions together. Both are convolutional, where the CLIP that draws is a
transformer, and were trained on other scenes. `scripts/features.py` trains them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..checkpoints.archive import open_tensors
from ..checkpoints.tensors import cast, save_tensors
from ..checkpoints.tokenizers import load_tokenizer
from ..config import Config
from ..errors import CheckpointError, UsageError
from ..evaluate.features import FeatureExtractor
from ..files import atomic_folder, write_json
from ..nn.text import TextConfig, TextEncoder
from ..nn.tokenizer import Tokenizer
from ..plain import read_json

HASH_DIGITS = 12

NAMES = ("classifier", "clip")
"""Of a corpus' extractors, in folders of these names. Results of others are other numbers: a
report names their hashes."""


class ExtractorConfig(Config):
    """All of an extractor that is no weight."""

    kind: Literal["classifier", "clip"]
    size: int = Field(64, ge=16, description="side of the pictures that it looks at")
    dims: int = Field(64, ge=1, description="numbers in a feature (D)")
    channels: tuple[int, ...] = Field((64, 128, 160), min_length=1)
    nouns: tuple[str, ...] = Field((), description="what a classifier tells apart")
    text: TextConfig | None = Field(None, description="a CLIP's text encoder")
    scale: float = Field(1.0, gt=0, description="root mean square of a feature's numbers")
    seed: int = 0
    trained: dict[str, Any] = Field({}, description="on what, how long, and how well it did")


class Block(nn.Module):
    """Two 3×3 convolutions around a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        out = F.relu(self.norm1(self.first(x)))
        return F.relu(x + self.norm2(self.second(out)))


class Tower(nn.Module):
    """(B, 3, H, W) in [-1, 1], of any size -> (B, C, h, w): a quarter of it, then halved.

    The first step of 4 saves most of the time that a CPU would spend on large maps.
    """

    def __init__(self, config: ExtractorConfig) -> None:
        super().__init__()
        self.size = config.size
        layers: list[nn.Module] = []
        for before, width in pairwise((0, *config.channels)):
            if before:
                down = nn.Conv2d(before, width, 4, stride=2, padding=1, bias=False)
            else:
                down = nn.Conv2d(3, width, 8, stride=4, padding=2, bias=False)
            layers += [down, nn.BatchNorm2d(width), nn.ReLU(), Block(width)]
        self.layers = nn.Sequential(*layers)
        self.side = config.size >> (len(config.channels) + 1)
        self.width = config.channels[-1]

    def forward(self, image: Tensor) -> Tensor:
        """Look."""
        if image.shape[-1] != self.size or image.shape[-2] != self.size:
            image = F.interpolate(image.float(), (self.size,) * 2, mode="bicubic", antialias=True)
        out: Tensor = self.layers(image.clamp(-1, 1))
        return out


class Classifier(nn.Module):
    """Which of `nouns` a picture shows; its features are what it decides from."""

    def __init__(self, config: ExtractorConfig) -> None:
        super().__init__()
        self.config = config
        self.tower = Tower(config)
        self.feature = nn.Linear(self.tower.width, config.dims)
        self.head = nn.Linear(config.dims, len(config.nouns))

    def encode_image(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, D)."""
        out: Tensor = self.feature(self.tower(image).mean((2, 3)))
        return out

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, nouns) logits."""
        out: Tensor = self.head(F.relu(self.encode_image(image)))
        return out


class EvalClip(nn.Module):
    """Pictures and captions in one space, where things stand included: nothing is pooled away."""

    def __init__(self, config: ExtractorConfig) -> None:
        super().__init__()
        assert config.text is not None
        self.config = config
        self.tower = Tower(config)
        self.squeeze = nn.Conv2d(self.tower.width, 64, 1)
        self.feature = nn.Linear(64 * self.tower.side**2, config.dims)
        self.text = TextEncoder(config.text, causal=False)
        self.text_feature = nn.Linear(config.text.width, config.dims)
        self.log_scale = nn.Parameter(torch.tensor(2.66))  # log(1 / 0.07)

    def encode_image(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, D) of norm 1."""
        seen = F.relu(self.squeeze(self.tower(image))).flatten(1)
        return F.normalize(self.feature(seen), dim=-1)

    def encode_text(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, N) ids and mask -> (B, D) of norm 1."""
        read = self.text(tokens, mask) * mask[..., None]  # (B, N, W')
        return F.normalize(self.text_feature(read.sum(1) / mask.sum(1, keepdim=True)), dim=-1)


Network = Classifier | EvalClip


def build(config: ExtractorConfig) -> Network:
    """With fresh weights drawn from the configuration's seed."""
    torch.manual_seed(config.seed)
    return Classifier(config) if config.kind == "classifier" else EvalClip(config)


def save(folder: Path, net: Network, tokenizer: Tokenizer | None = None) -> str:
    """Write a folder whole: config.json, weights, tokenizer.json. Returns its hash."""
    with atomic_folder(folder) as beside:
        write_json(beside / "config.json", net.config.dump())
        save_tensors(beside, "weights", cast(net, torch.float16))
        if tokenizer is not None:
            tokenizer.save(beside / "tokenizer.json")
    return digest(folder)


def load(folder: Path) -> tuple[Network, Tokenizer | None]:
    """What `save` wrote, in float32 and evaluation mode.

    Raises:
        CheckpointError: something is missing, damaged or does not fit.
    """
    file = folder / "config.json"
    try:
        config = ExtractorConfig.parse(read_json(file), str(file))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is no feature extractor: {error}") from None
    with torch.random.fork_rng(devices=[]):
        net = build(config)
    tensors, wanted = dict(open_tensors(folder / "weights.safetensors")), net.state_dict()
    for name in [*wanted, *tensors]:
        if name not in tensors or name not in wanted or tensors[name].shape != wanted[name].shape:
            raise CheckpointError(f"{folder / 'weights.safetensors'}: '{name}' does not fit")
    net.load_state_dict({name: value.to(wanted[name]) for name, value in tensors.items()})
    tokenizer = None
    if config.text is not None:
        tokenizer = load_tokenizer(folder / "tokenizer.json", config.text.context)
    return net.eval().requires_grad_(False), tokenizer


def digest(folder: Path) -> str:
    """Twelve hex digits that name these very weights and settings. Raises CheckpointError."""
    total = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "weights.safetensors"):
        try:
            content = (folder / name).read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError as error:
            raise CheckpointError(f"cannot read {folder / name}: {error.strerror}") from None
        total.update(f"{name}:{len(content)}:".encode() + content)
    return total.hexdigest()[:HASH_DIGITS]


def folder_of(corpus: Path, named: Path | None) -> Path:
    """Where the extractors of a corpus lie: its folder `features`, or `eyes` as it was called."""
    older = corpus / "eyes"
    return named or (older if older.is_dir() else corpus / "features")


def of_corpus(folder: Path, name: str) -> FeatureExtractor:
    """One of `NAMES`.

    Raises:
        UsageError: there is none; says how it is made.
        CheckpointError: it is damaged.
    """
    if not (folder / name).is_dir():
        raise UsageError(
            f"{folder} has no feature extractor '{name}': train it with `python "
            f"scripts/features.py --data {folder.parent}` (--features names another folder)"
        )
    return open_extractor(name, folder / name)


def open_extractor(name: str, folder: Path) -> FeatureExtractor:
    """The extractor in any folder, under a name. Raises CheckpointError."""
    net, tokenizer = load(folder)
    config = net.config
    facts = {"kind": config.kind, "seed": config.seed, **config.trained}
    mark = digest(folder)
    if isinstance(net, Classifier):
        classifier, size = net, config.scale
        see = lambda x: classifier.encode_image(x) / size  # noqa: E731
        return FeatureExtractor(name, mark, config.dims, see, facts=facts)
    assert tokenizer is not None
    clip, words = net, tokenizer

    def read(captions: Sequence[str]) -> Tensor:
        return clip.encode_text(*words.encode(captions))

    scale = config.dims**0.5  # numbers with a mean square of 1, as a kernel wants them
    look = lambda x: clip.encode_image(x) * scale  # noqa: E731
    return FeatureExtractor(name, mark, config.dims, look, read, facts)
