"""Weights are read when they are first used, and let go of where memory is short."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any
from weakref import ReferenceType, ref

import pytest
import torch
from torch import Tensor, nn

from unclip.checkpoints.format import open_model
from unclip.facade import Pipeline
from unclip.stages import Stage


def test_weights_are_read_once_and_where_they_are_used(folder: Path) -> None:
    stages = open_model(folder).load(torch.float32).stages
    decoder = stages["decoder"]
    with torch.inference_mode():
        net = decoder.net
    assert decoder.net is net and not any(p.is_inference() for p in net.parameters())
    assert next(stages["prior"].net_at_rest.parameters()).is_meta, "nobody has asked for it"
    assert stages["prior"].consumes and stages["prior"].source, "what it is needs no weights"


def test_one_stage_at_a_time_has_its_weights(folder: Path) -> None:
    stages = open_model(folder).load(torch.float32, low_memory=True).stages
    seen: dict[str, ReferenceType[nn.Module]] = {}
    for name in ("clip", "decoder", "clip"):
        seen = {name: ref(stages[name].net), **{n: r for n, r in seen.items() if n != name}}
        assert not any(value.is_meta for value in stages[name].net.parameters())
        assert [n for n, one in seen.items() if one() is not None] == [name]


def test_who_is_at_work_with_a_network_keeps_it(folder: Path) -> None:
    stages = open_model(folder).load(torch.float32, low_memory=True).stages
    net = stages["decoder"].net
    before = [value.clone() for value in net.parameters()]
    assert stages["clip"].net is stages["clip"].net is not None
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize("low_memory", [False, True])
def test_threads_share_a_pipeline(folder: Path, low_memory: bool) -> None:
    pipe = Pipeline(open_model(folder).load(torch.float32))
    alone = [pipe.generate("a fox", seed=seed)[0].tobytes() for seed in range(4)]
    shared = Pipeline(open_model(folder).load(torch.float32, low_memory=low_memory))
    with ThreadPoolExecutor(4) as pool:
        drawn = pool.map(lambda seed: shared.generate("a fox", seed=seed)[0].tobytes(), range(4))
        assert list(drawn) == alone


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("way", [copy.deepcopy, lambda pipe: pickle.loads(pickle.dumps(pipe))])
def test_a_pipeline_can_be_copied_and_pickled(
    folder: Path, tmp_path: Path, low_memory: bool, way: Callable[[Pipeline], Pipeline]
) -> None:
    source = copytree(folder, tmp_path / "model")
    pipe = Pipeline(open_model(source).load(torch.float32, low_memory=low_memory))
    drawn = pipe.generate("a fox", seed=3)[0].tobytes()
    other = way(pipe)
    for stage in other.stages.values():
        assert stage.source is None and not next(stage.parameters()).is_meta
    rmtree(source)
    assert other.generate("a fox", seed=3)[0].tobytes() == drawn


LOOKS: dict[str, Callable[[Stage], Any]] = {
    "to": lambda stage: stage.to(torch.float64),
    "parameters": lambda stage: list(stage.parameters()),
    "state_dict": lambda stage: stage.state_dict(),
    "load_state_dict": lambda stage: stage.load_state_dict(stage.net.state_dict(prefix="net.")),
}


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("look", LOOKS)
def test_what_looks_at_weights_or_moves_them_reads_them(
    folder: Path, low_memory: bool, look: str
) -> None:
    stages = open_model(folder).load(torch.float32, low_memory=low_memory).stages
    LOOKS[look](stages["prior"])
    assert stages["decoder"].net, "which takes its place where memory is low"
    found = dict(stages["prior"].named_parameters())
    assert {value.dtype for value in found.values()} == {
        torch.float64 if look == "to" else torch.float32
    }
    truth = open_model(folder).load(torch.float32).stages["prior"].net
    for name, value in truth.named_parameters(prefix="net"):
        assert torch.equal(found[name].float(), value)


@pytest.mark.parametrize("guidance", [{}, {"clip_guidance_scale": 5.0}])
def test_low_memory_draws_the_same(folder: Path, guidance: dict[str, float]) -> None:
    def embed(low_memory: bool) -> Tensor:
        model = open_model(folder).load(torch.float32, low_memory=low_memory)
        pipe = Pipeline(model)
        return pipe.sample(pipe.read(["a fox"] * 2), [1, 2], settings=guidance)

    assert torch.equal(embed(False), embed(True))


@pytest.mark.parametrize("large", [True, False])
def test_only_large_models_let_go_of_weights_unasked(
    large: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.checkpoints.format.LARGE", 0 if large else 2**30)
    model = open_model(folder).load(torch.float32, low_memory=None)
    clip, prior = model.stages["clip"], model.stages["prior"]
    first = clip.net
    assert prior.net is prior.net
    assert (clip.net is first) != large
