"""Whole trajectories against diffusers 0.33.1's schedulers, on Stable Diffusion's tiny networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import unclip
from unclip.diffusion.samplers import SAMPLERS
from unclip.facade import Pipeline
from unclip.rng import Rng
from unclip.stages import DiffusionStage
from unclip.types import Level, Prediction

RUNS = {
    "pndm": ("pndm", "leading_after"),
    "pndm-clean": ("pndm", "leading_after"),
    "euler_ancestral": ("euler_ancestral", "leading_after"),
    "euler_ancestral-linspace": ("euler_ancestral", "linspace"),
    "euler_ancestral-trailing": ("euler_ancestral", "trailing"),
}
"""What each scheduler's configuration is followed with."""


@pytest.fixture(scope="module")
def networks(fixture: Any) -> Any:
    return fixture("stable_diffusion_1")


@pytest.fixture(scope="module")
def peer(fixture: Any) -> Any:
    return fixture("samplers")


@pytest.fixture(scope="module", params=RUNS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pipe(
    name: str, networks: Any, peer: Any, alphabet: Any, tmp_path_factory: pytest.TempPathFactory
) -> Pipeline:
    folder = tmp_path_factory.mktemp("it")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    for part in ("unet", "vae"):
        networks.write(folder, part, "diffusion_pytorch_model.safetensors")
    networks.write(folder, "text_encoder", "model.safetensors")
    (folder / "scheduler").mkdir()
    config = json.dumps(peer.said[name]["scheduler"])
    (folder / "scheduler" / "scheduler_config.json").write_text(config)
    alphabet(folder / "tokenizer")
    pad = json.dumps({"pad_token": networks.said["pad"]})
    (folder / "tokenizer" / "tokenizer_config.json").write_text(pad)
    return unclip.load(folder, "cpu", torch.float32)


def test_its_configuration_is_the_default(name: str, pipe: Pipeline) -> None:
    stage = pipe.stages["decoder"]
    assert isinstance(stage, DiffusionStage)
    sampling = stage.config.sampling
    assert (sampling.sampler, sampling.spacing, sampling.eta) == (*RUNS[name], None)


def test_every_step_of_the_way(
    name: str,
    pipe: Pipeline,
    networks: Any,
    peer: Any,
    off: Callable[[Tensor, Tensor], float],
    replayed: Callable[[list[Tensor]], list[Tensor]],
) -> None:
    """From the peer's x_T, with its noise: what the U-Net sees at each call, and where it ends."""
    stage = pipe.stages["decoder"]
    assert isinstance(stage, DiffusionStage)
    cond = pipe.read([networks.said["prompt"]], networks.said["negative"])
    options = stage.config.sampling.merge({"steps": peer.said[name]["steps"]})
    levels = stage.config.schedule.grid(options.steps, options.spacing)
    inner, seen, times = stage.denoiser(cond, options), list[Tensor](), list[float]()

    def denoise(x: Tensor, level: Level) -> Prediction:
        seen.append(x)
        times.append(float(level.t))
        return inner(x, level)

    theirs, noises = peer[f"{name}/x"], peer.tensors.get(f"{name}/noise", torch.zeros(0))
    left = replayed(list(noises.split(1)))
    with torch.inference_mode():
        end = SAMPLERS[options.sampler](denoise, theirs[:1], levels, Rng([0]))
    assert times == pytest.approx(peer[f"{name}/t"].tolist(), abs=1e-3)
    assert off(torch.cat([*seen, end]), theirs) < 1e-4
    assert len(left) <= 1, "the peer draws noise of strength 0 on the last step too"
