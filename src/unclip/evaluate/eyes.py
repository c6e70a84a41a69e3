"""Two small networks that look at pictures and take no part in drawing them.

The classifier knows which object a picture of one object shows; the evaluation CLIP brings
pictures and captions together. Both are convolutional, where the CLIP that draws is a
transformer, and were trained on other scenes. `scripts/eyes.py` trains them.
"""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..checkpoints.archive import open_tensors
from ..checkpoints.tensors import cast, save_tensors
from ..config import Config
from ..errors import CheckpointError
from ..files import atomic_folder, write_json
from ..nn.text import TextConfig, TextEncoder
from ..nn.tokenizer import Tokenizer
from ..plain import read_json

HASH_DIGITS = 12


class EyeConfig(Config):
    """All of an eye that is no weight."""

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

    def __init__(self, config: EyeConfig) -> None:
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

    def __init__(self, config: EyeConfig) -> None:
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


class EyeClip(nn.Module):
    """Pictures and captions in one space, where things stand included: nothing is pooled away."""

    def __init__(self, config: EyeConfig) -> None:
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


Eye = Classifier | EyeClip


def build(config: EyeConfig) -> Eye:
    """With fresh weights drawn from the configuration's seed."""
    torch.manual_seed(config.seed)
    return Classifier(config) if config.kind == "classifier" else EyeClip(config)


def save(folder: Path, eye: Eye, tokenizer: Tokenizer | None = None) -> str:
    """Write a folder whole: config.json, weights, tokenizer.json. Returns its hash."""
    with atomic_folder(folder) as beside:
        write_json(beside / "config.json", eye.config.dump())
        save_tensors(beside, "weights", cast(eye, torch.float16))
        if tokenizer is not None:
            tokenizer.save(beside / "tokenizer.json")
    return digest(folder)


def load(folder: Path) -> tuple[Eye, Tokenizer | None]:
    """What `save` wrote, in float32 and evaluation mode.

    Raises:
        CheckpointError: something is missing, damaged or does not fit.
    """
    file = folder / "config.json"
    try:
        config = EyeConfig.parse(read_json(file), str(file))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is no eye for evaluation: {error}") from None
    with torch.random.fork_rng(devices=[]):
        eye = build(config)
    tensors = dict(open_tensors(folder / "weights.safetensors"))
    wanted = {name: value.shape for name, value in eye.state_dict().items()}
    for name in [*wanted, *tensors]:
        if name not in tensors or name not in wanted or tensors[name].shape != wanted[name]:
            raise CheckpointError(f"{folder / 'weights.safetensors'}: '{name}' does not fit")
    eye.load_state_dict({name: value.to(eye.state_dict()[name]) for name, value in tensors.items()})
    tokenizer = None
    if config.text is not None:
        tokenizer = Tokenizer.load(folder / "tokenizer.json", config.text.context)
    return eye.eval().requires_grad_(False), tokenizer


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
