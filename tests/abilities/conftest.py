"""What tests of abilities share: a small trained model, few steps, pictures of any size."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import unclip
from unclip import Pipeline
from unclip.stages.model import Model
from unclip.train.run import Run
from unclip.types import Denoiser, Level, Prediction


@pytest.fixture(scope="session")
def pipe(trained: Run) -> Pipeline:
    """8-pixel decoder, 16-pixel upsampler."""
    return unclip.load(trained.model, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="session")
def few() -> dict[str, int]:
    """Settings under which everything is quick."""
    return {"steps": 3, "prior_steps": 2, "upsampler_steps": 2}


@pytest.fixture(scope="session")
def brief() -> dict[str, int]:
    """`few` of what runs no prior."""
    return {"steps": 3, "upsampler_steps": 2}


@pytest.fixture(scope="session")
def short(pipe: Pipeline) -> Callable[..., Pipeline]:
    """`short("clip", "decoder")`: a model of these stages alone."""

    def chain(*names: str) -> Pipeline:
        return Pipeline(Model(pipe.tokenizer, {name: pipe.stages[name] for name in names}, "short"))

    return chain


@pytest.fixture(scope="session")
def noise() -> Callable[..., Image.Image]:
    """`noise(width, height)`: a picture in which no pixel follows from another."""

    def make(width: int, height: int, seed: int = 0) -> Image.Image:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    return make


@pytest.fixture(scope="session")
def gaussian() -> Callable[[int], Image.Image]:
    """`gaussian(seed)`: an 8-pixel picture as the network of `exact` knows them."""

    def make(seed: int = 0) -> Image.Image:
        pixels = np.random.default_rng(seed).normal(127.5, 64, (8, 8, 3))
        return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))

    return make


@pytest.fixture(scope="session")
def off() -> Callable[[Image.Image, Image.Image], int]:
    """By how many of 255 levels two pictures differ at most."""

    def measure(a: Image.Image, b: Image.Image) -> int:
        assert a.size == b.size
        return int(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max())

    return measure


@pytest.fixture(scope="session")
def exact(pipe: Pipeline) -> Pipeline:
    """CLIP and a decoder whose network is the exact one for pixels ~ N(0, 0.5²)."""

    def denoise(x: Tensor, level: Level) -> Prediction:
        alpha, sigma = level.like(x)
        total = (alpha * 0.5) ** 2 + sigma**2
        return Prediction(alpha * 0.25 / total * x, sigma / total * x)

    def denoiser(*_: Any) -> Denoiser:
        return denoise

    decoder = copy.copy(pipe.stages["decoder"])
    object.__setattr__(decoder, "denoiser", denoiser)
    return Pipeline(
        Model(pipe.tokenizer, {"clip": pipe.stages["clip"], "decoder": decoder}, "exact")
    )
