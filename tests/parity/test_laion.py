"""DALLE2-pytorch 0.15.4, 1.1.0 and 1.15.6 against ours: networks, single steps, whole samplings.

The peer's weights come in through the format's own reader, from the layout that the peer writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unclip.checkpoints.format import Options, open_model
from unclip.diffusion.samplers import SAMPLERS
from unclip.diffusion.samplers.ancestral import posterior
from unclip.stages import DiffusionStage
from unclip.types import Cond, Level

FIXTURES = Path(__file__).parent / "fixtures"
VERSIONS = ("0.15.4", "1.1.0", "1.15.6")
PRIORS = [
    (version, name)
    for version in VERSIONS
    for name in ("prior", "prior_plain")
    if (version, name) != ("0.15.4", "prior_plain")
]
LATER = VERSIONS[1:]  # those with an upsampler
STEPS = 100


@dataclass
class Peer:
    """A version's tensors, and its models as ours."""

    version: str
    given: dict[str, Tensor]
    stages: dict[str, dict[str, DiffusionStage]] = field(default_factory=dict)

    def of(self, name: str) -> dict[str, Tensor]:
        """Inputs and outputs of one of its models."""
        size = len(name) + 1
        return {k[size:]: v for k, v in self.given.items() if k.startswith(f"{name}/")}


def state_dict(name: str, given: dict[str, Tensor], shapes: dict[str, list[int]]) -> dict[str, Any]:
    """The peer's own: the weights are stored as multiples of 1/64, its buffers by shape."""
    prefix = f"{name}/weights/"
    weights = {k.removeprefix(prefix): v / 64 for k, v in given.items() if k.startswith(prefix)}
    return weights | {key: torch.zeros(shape) for key, shape in shapes.items()}


@cache
def facts(version: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((FIXTURES / f"laion_{version}.json").read_text())
    return values


@pytest.fixture(scope="session")
def peers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Peer]:
    return {version: load(version, tmp_path_factory) for version in VERSIONS}


def load(version: str, tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """Every model of a version, from the files that it would be published in."""
    found = Peer(version, load_file(FIXTURES / f"laion_{version}.safetensors"))
    for name in sorted(facts(version).keys() - {"version"}):
        told = dict(facts(version)[name])
        folder = tmp_path_factory.mktemp(name)
        torch.save(state_dict(name, found.given, told.pop("buffers")), folder / "latest.pth")
        (folder / "config.json").write_text(json.dumps(told))
        plan = open_model(folder, Options())
        stages = {n: part.build() for n, part in plan.parts.items()}
        for n, part in plan.parts.items():
            part.fill(stages[n], plan.place_of(n), torch.float32, torch.device("cpu"))
        found.stages[name] = stages  # type: ignore[assignment]
    return found


def same(ours: Tensor, theirs: Tensor, tolerance: float = 1e-4) -> bool:
    """Whether the largest difference, relative to the largest number, is small enough."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max()) <= tolerance


def prior_cond(given: dict[str, Tensor]) -> Cond:
    fields = {k: given[k].float() for k in ("text_embed", "text_encodings") if k in given}
    return Cond(**fields, text_mask=given.get("mask"))  # type: ignore[arg-type]


def decoder_cond(given: dict[str, Tensor]) -> Cond:
    return Cond(
        image_embed=given["image_embed"],
        text_encodings=given["text_encodings"],
        text_mask=given["mask"],
    )


def stepped(stage: DiffusionStage, cond: Cond, x: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of one step of DDPM from each sample's own timestep, without guidance."""
    schedule = stage.config.schedule
    now = schedule.level(times)
    options = stage.config.sampling.merge({"guidance_scale": 1.0})
    return posterior(x, stage.denoiser(cond, options)(x, now), now, schedule.before(now))


class Replay:
    """Stands in for Rng: the numbers that the peer was given in place of noise, in its order."""

    def __init__(self, base: Tensor, first: int = 0) -> None:
        self.base, self.count, self.device = base, first, torch.device("cpu")

    def randn(self, *_: int) -> Tensor:
        self.count += 1
        return self.base.flatten().roll(13 * (self.count - 1)).view(self.base.shape)


def sampled(stage: DiffusionStage, cond: Cond, rng: Any) -> Tensor:
    """All steps, free-running, without guidance."""
    options = stage.config.sampling.merge({"guidance_scale": 1.0})
    assert (options.sampler, options.steps) == ("ddpm", STEPS)
    levels = stage.config.schedule.grid(STEPS)
    with torch.inference_mode():
        x = SAMPLERS["ddpm"](stage.denoiser(cond, options), rng.randn(), levels, rng)
        return stage.space.decode(x)


@pytest.mark.parametrize(("version", "name"), PRIORS)
def test_the_prior_computes_what_the_peer_computes(
    peers: dict[str, Peer], version: str, name: str
) -> None:
    peer = peers[version]
    given, stage = peer.of(name), peer.stages[name]["prior"]
    cond, x, times = prior_cond(given), given["x"], given["times"]
    with torch.inference_mode():
        assert same(stage.bind(cond)(x, times.float()), given["out"])
        both = stage.bind(cond.dropped((True, True), (False, False)))
        shown, hidden = both(x.repeat(2, 1), times.repeat(2).float()).chunk(2)
    assert same(hidden + 2.5 * (shown - hidden), given["guided"])
    # a fault of the old version, which its weights have learnt: nothing is ever hidden
    assert same(hidden, shown, 1e-6) == (peer.version == "1.1.0")


@pytest.mark.parametrize(("version", "name"), PRIORS)
def test_a_step_of_the_prior_is_the_peers(peers: dict[str, Peer], version: str, name: str) -> None:
    given, stage = peers[version].of(name), peers[version].stages[name]["prior"]
    with torch.inference_mode():
        mean, variance = stepped(stage, prior_cond(given), given["x"], given["times"])
    assert same(mean, given["mean"])
    assert same(variance[1:], given["variance"][1:])  # the peer's own is not used at timestep 0


@pytest.mark.parametrize(("version", "name"), PRIORS)
def test_a_whole_sampling_of_the_prior_is_the_peers(
    peers: dict[str, Peer], version: str, name: str
) -> None:
    given, stage = peers[version].of(name), peers[version].stages[name]["prior"]
    assert same(sampled(stage, prior_cond(given), Replay(given["noise"])), given["sampled"])


@pytest.mark.parametrize("version", LATER)
def test_the_schedules_are_the_peers(peers: dict[str, Peer], version: str) -> None:
    peer = peers[version]
    decoder = peer.of("decoder")
    for stage, betas in (
        (peer.stages["prior"]["prior"], peer.of("prior")["betas"]),
        (peer.stages["decoder"]["decoder"], decoder["betas0"]),
        (peer.stages["decoder"]["upsampler"], decoder["betas1"]),
    ):
        assert (stage.config.schedule.betas() - betas).abs().max() <= 1e-6  # type: ignore[union-attr]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_decoder_computes_what_the_peer_computes(peers: dict[str, Peer], version: str) -> None:
    peer = peers[version]
    given, stage = peer.of("decoder"), peer.stages["decoder"]["decoder"]
    cond, x, times = decoder_cond(given), given["x"], given["times"].float()
    with torch.inference_mode():
        assert same(stage.bind(cond)(x, times), given["out"])
        both = stage.bind(cond.dropped((True, True), (False, False)))
        shown, hidden = both(x.repeat(2, 1, 1, 1), times.repeat(2)).chunk(2)
    assert same(hidden + 2.5 * (shown - hidden), given["guided"])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_step_of_the_decoder_is_the_peers(peers: dict[str, Peer], version: str) -> None:
    peer = peers[version]
    given, stage = peer.of("decoder"), peer.stages["decoder"]["decoder"]
    with torch.inference_mode():
        mean, variance = stepped(stage, decoder_cond(given), given["x"], given["times"])
    assert same(mean, given["mean"])
    assert same(variance.log(), given["variance"].log())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_sampling_of_the_decoder_is_the_peers(peers: dict[str, Peer], version: str) -> None:
    peer = peers[version]
    given, stage = peer.of("decoder"), peer.stages["decoder"]["decoder"]
    assert same(sampled(stage, decoder_cond(given), Replay(given["noise"])), given["sampled"])


def upsampler_cond(stage: Any, given: dict[str, Tensor], rng: Any) -> Cond:
    level = torch.full((2,), 0.2)
    low_res = stage.shown(given["small"], level, rng)
    return Cond(image=given["small"], low_res=low_res, low_res_level=level)


@pytest.mark.parametrize("version", LATER)
def test_the_upsampler_computes_what_the_peer_computes(
    peers: dict[str, Peer], version: str
) -> None:
    peer = peers[version]
    given, stage = peer.of("decoder"), peer.stages["decoder"]["upsampler"]
    cond = upsampler_cond(stage, given, Replay(given["large_noise"]))
    assert cond.low_res is not None
    assert same(cond.low_res, given["low_res"])
    x, times = given["large_x"], given["times"]
    with torch.inference_mode():
        assert same(stage.bind(cond)(x, times.float()), given["large_out"])
        mean, variance = stepped(stage, cond, x, times)
    assert same(mean, given["large_mean"])
    assert same(variance.log(), given["large_variance"].log())


@pytest.mark.parametrize("version", LATER)
def test_a_whole_sampling_of_the_upsampler_is_the_peers(
    peers: dict[str, Peer], version: str
) -> None:
    peer = peers[version]
    given, stage = peer.of("decoder"), peer.stages["decoder"]["upsampler"]
    rng = Replay(given["large_noise"])
    cond = upsampler_cond(stage, given, rng)
    assert same(sampled(stage, cond, rng), given["large_sampled"])


@pytest.mark.parametrize(("version", "other"), [LATER, LATER[::-1]])
def test_the_other_dialect_fits_and_makes_something_else(
    peers: dict[str, Peer], version: str, other: str
) -> None:
    """Where every name matches, only the result tells: so the dialect has to be known."""
    peer = peers[version]
    given, stage = peer.of("decoder"), peer.stages["decoder"]["decoder"]
    network = stage.config.network  # type: ignore[attr-defined]
    changes = {"dialect": other, "down_kernels": network.halving}
    config = stage.config.model_copy(update={"network": network.model_copy(update=changes)})
    twin = type(stage)(config).eval()  # type: ignore[call-arg]
    twin.net.load_state_dict(stage.net.state_dict())
    cond, x, times = decoder_cond(given), given["x"], given["times"].float()
    with torch.inference_mode():
        assert not same(twin.bind(cond)(x, times), given["out"], 1e-2)


def test_levels_of_the_step_are_what_a_grid_of_all_steps_has(peers: dict[str, Peer]) -> None:
    schedule = peers["1.1.0"].stages["prior"]["prior"].config.schedule
    grid = schedule.grid(STEPS)
    before: Level = schedule.before(grid[-2])
    assert (float(grid[0].t), float(before.alpha)) == (STEPS - 1, 1.0)
