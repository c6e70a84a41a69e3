"""GLIDE against openai/glide-text2im: its four networks, and its sampler's steps."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unclip.checkpoints.archive import Tensors
from unclip.checkpoints.format import open_model
from unclip.diffusion.guidance import cfg, clamp, map_x0
from unclip.diffusion.samplers import SAMPLERS, posterior
from unclip.families.glide import glide
from unclip.rng import Rng
from unclip.stages import DiffusionStage
from unclip.types import Cond, Level, Prediction

HERE = Path(__file__).parent
NAMES = ("base", "base-inpaint", "upsample", "upsample-inpaint")
PARAMETERS = {"base": 385_030_726, "upsample": 398_361_286}
"""base.pt and upsample.pt; inpainting needs a wider first convolution."""


@pytest.fixture(scope="module")
def peer(fixture: Any) -> Any:
    return fixture("glide")


@pytest.fixture(scope="module")
def stages(peer: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, DiffusionStage]:
    """Each network by itself, out of a file as they are published."""
    made = {}
    for name in NAMES:
        file = tmp_path_factory.mktemp("glide") / "network.pt"
        torch.save(peer.weights(name), file)
        plan = open_model(file)
        assert plan.family == "GLIDE"
        (stage,) = (part.build() for part in plan.parts.values())
        (part,) = plan.parts.values()
        part.fill(stage, name, torch.float32, torch.device("cpu"))
        made[name] = stage
    return made  # type: ignore[return-value]


def condition(peer: Any, name: str) -> Cond:
    """What the peer gave its network, the part that is known among it."""
    given = {n.split("/")[1]: v for n, v in peer.tensors.items() if n.startswith(f"{name}/")}
    cond = Cond(text_tokens=given["tokens"], text_mask=given["mask"])
    if "inpaint_mask" in given:
        cond = cond.replace(known=given["known"], mask=1 - given["inpaint_mask"])
    return cond


@pytest.mark.parametrize("name", NAMES)
def test_each_network(
    name: str, peer: Any, stages: dict[str, DiffusionStage], off: Callable[[Tensor, Tensor], float]
) -> None:
    stage, cond = stages[name], condition(peer, name)
    if name.startswith("upsample"):
        small = peer[f"{name}/low_res"]
        cond = cond.replace(image=small, low_res=stage.enlarged(small))  # type: ignore[attr-defined]
    out = stage.bind(cond)(peer[f"{name}/x"], peer[f"{name}/t"])
    assert off(out, peer[f"{name}/out"]) < 1e-4


@pytest.mark.parametrize("name", ["base-inpaint", "upsample-inpaint"])
def test_what_is_known_is_seen(
    name: str, peer: Any, stages: dict[str, DiffusionStage], off: Callable[[Tensor, Tensor], float]
) -> None:
    """The comparison above is one of something: without it the output is another."""
    stage, cond = stages[name], condition(peer, name).replace(known=None, mask=None)
    if name.startswith("upsample"):
        small = peer[f"{name}/low_res"]
        cond = cond.replace(image=small, low_res=stage.enlarged(small))  # type: ignore[attr-defined]
    out = stage.bind(cond)(peer[f"{name}/x"], peer[f"{name}/t"])
    assert off(out, peer[f"{name}/out"]) > 1e-2


@pytest.mark.parametrize("index", [99, 50, 1, 0])
def test_a_guided_step(
    index: int,
    peer: Any,
    stages: dict[str, DiffusionStage],
    off: Callable[[Tensor, Tensor], float],
) -> None:
    """The first of the two captions, and no caption, which is one that is all padding."""
    stage = stages["base"]
    options = stage.config.sampling
    assert options.guidance_scale == 3.0 and options.sampler == "ddpm"
    levels = stage.config.schedule.grid(options.steps, options.spacing)
    assert [int(level.t) for level in levels[:-1]][::-1] == peer["step/timesteps"].tolist()
    cond = condition(peer, "base").map(lambda value: value[:1])
    wrap = stage.config.parameterization.denoiser
    denoise = cfg(wrap(stage.bind(cond.dropped((True, True), (False, False)))), 3.0)
    now, then = levels[99 - index], levels[100 - index]
    x, noise, after = (peer[f"step/{index}/{one}"] for one in ("x", "noise", "after"))
    said = map_x0(denoise, clamp(options.limit))(x, now)
    assert off(said.x0, peer[f"step/{index}/x0"]) < 1e-4
    mean, variance = posterior(x, replace(said), now, then)
    assert off(mean + variance.sqrt() * noise * (index > 0), after) < 1e-4


def test_the_published_steps_of_the_upsampler(
    peer: Any, stages: dict[str, DiffusionStage], off: Callable[[Tensor, Tensor], float]
) -> None:
    """`fast27`, 27 steps of DDIM from noise to the end; a function stands for the network."""
    stage = stages["upsample"]
    options, config = stage.config.sampling, stage.config
    levels = config.schedule.grid(options.steps, options.spacing)
    assert [int(level.t) for level in levels[:-1]][::-1] == peer["fast27/timesteps"].tolist()

    def slope(x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([x - 0.3 * torch.tanh(x + t.view(-1, 1, 1, 1) / 500), 0 * x], dim=1)

    inner = map_x0(config.parameterization.denoiser(slope), clamp(options.limit))
    assert options.threshold == "clamp" and options.guidance_scale == 1.0
    states = peer["fast27/states"].split(1)
    seen: list[Tensor] = []

    def denoise(x: Tensor, level: Level) -> Prediction:
        seen.append(x)
        return inner(x, level)

    eta = {} if options.eta is None else {"eta": options.eta}
    end = SAMPLERS[options.sampler](denoise, states[0], levels, Rng([0]), **eta)
    assert len(seen) == 27
    for ours, theirs in zip([*seen, end], states, strict=True):
        assert off(ours, theirs) < 1e-4
    assert stages["upsample-inpaint"].config.sampling.spacing == options.spacing == "fast27"


@pytest.mark.parametrize("name", NAMES)
def test_the_published_sizes(name: str) -> None:
    """Every name and shape of the full-size network finds its place, and no other is wanted."""
    text = gzip.decompress((HERE / "fixtures" / "glide_published.json.gz").read_bytes())
    shapes = json.loads(text)[name]
    with torch.device("meta"):
        tensors = Tensors({key: torch.empty(shape) for key, shape in shapes.items()})
    part = glide.part_of(tensors, Path(name))
    stage = part.build()
    part.check(stage.net, name)
    config: Any = part.config
    assert config.network.image_size == (64 if name.startswith("base") else 256)
    assert config.network.attention == (32, 16, 8)
    assert (config.network.text.heads, config.network.text.context) == (8, 128)
    count = sum(math.prod(shape) for shape in shapes.values())
    extra = (4 if "inpaint" in name else 0) * 192 * 9
    assert count == PARAMETERS[name.split("-")[0]] + extra
    assert sum(p.numel() for p in stage.net.parameters()) == count
