"""Training a LoRA: what learns, what is saved, and that `--lora` gives what was trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

import unclip
from unclip.checkpoints.native import (
    load_stage,
    read_manifest,
    save_stage,
    verify,
    write_manifest,
)
from unclip.errors import TrainingError, UsageError
from unclip.nn.layers import parameter_count
from unclip.nn.lora import adapted, merged
from unclip.nn.tokenizer import Tokenizer
from unclip.rng import BatchRng
from unclip.stages import Stage
from unclip.train.cost import state_bytes, task_on_meta
from unclip.train.recipe import Recipe
from unclip.train.run import Run
from unclip.train.state import load_state, saved_states
from unclip.train.trainer import Trainer
from unclip.train.watch import RunWatcher

CPU = torch.device("cpu")
TRAIN = {"steps": 4, "batch_size": 4, "warmup": 1, "workers": 0, "precision": "float32"}


@pytest.fixture(scope="module")
def base(
    make_stage: Callable[..., Stage],
    tokenizer: Tokenizer,
    save_model: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("base") / "small"
    stages = {name: make_stage(name) for name in ("clip", "prior", "decoder")}
    save_model(folder, "small", tokenizer, stages, dtype=torch.float32)
    return folder


def recipe(base: Path, name: str = "decoder", **train: Any) -> Recipe:
    stages: dict[str, Any] = {one: {"from": str(base)} for one in ("clip", "prior", "decoder")}
    stages[name]["train"] = {**TRAIN, "lora": {"rank": 2, "alpha": 4.0}, **train}
    return Recipe.parse(
        {
            "name": "mine",
            "data": {"source": "shapes"},
            "tokenizer": {"model": str(base), "context": 8, "vocab_size": 300},
            "stages": stages,
        }
    )


def train(run: Run, name: str, until: int | None = None) -> Trainer:
    trainer = run.trainer(name)
    trainer.clock.stop = lambda: until is not None and trainer.step >= until
    with RunWatcher(run, name, trainer, Console(quiet=True)) as watcher:
        trainer.run(watcher)
    return trainer


def weights(model: Path, stage: str, *loras: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = (
        unclip.load(model, "cpu", torch.float32, lora=loras).stages[stage].net.state_dict()
    )
    return found


@pytest.mark.parametrize("name", ["decoder", "prior", "clip"])
def test_the_file_makes_the_base_what_was_trained(name: str, base: Path, tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in base.rglob("*") if file.is_file()}
    run = Run(recipe(base, name), tmp_path / "run", CPU)
    run.begin(resume=False)
    for other in run.recipe.stages:
        if other != name:
            run.export_frozen(other)
    trainer = train(run, name)
    run.end()
    assert all(file.read_bytes() == data for file, data in before.items())
    file = run.folder / f"{name}.lora.safetensors"
    want = merged(trainer.averaged().net).state_dict()
    found, plain = weights(base, name, file), weights(base, name)
    assert found.keys() == want.keys()
    assert all(torch.allclose(found[key], want[key], atol=1e-6) for key in want)
    moved = [key for key in plain if not torch.equal(found[key], plain[key])]
    assert {f"{one}.weight" for one in adapted(trainer.net)} == set(moved)
    assert verify(run.model) == []
    written = load_stage(run.model, name).net.state_dict()
    assert all(torch.equal(written[key], want[key].half().float()) for key in want)


def test_only_the_low_rank_matrices_are_learnt_averaged_and_saved(
    base: Path, tmp_path: Path
) -> None:
    run = Run(recipe(base), tmp_path / "run", CPU)
    trainer = train(run, "decoder")
    layers = adapted(trainer.net)
    names = {f"{name}.{part}" for name in layers for part in ("lora_down", "lora_up")}
    state = load_state(saved_states(trainer.folder)[-1]).tensors
    assert state["net"].keys() == state["ema"].keys() == names
    assert {key.partition("/")[2] for key in state["optimizer"]} == names
    average = trainer.ema.average
    for name, one in trainer.net.named_parameters():
        assert (average.get_parameter(name) is one) == (name not in names)
    sizes = sum(one.lora_down.numel() + one.lora_up.numel() for one in layers.values())
    file = run.folder / "decoder.lora.safetensors"
    tensors = load_file(file)
    assert sum(v.numel() for v in tensors.values()) == sizes + len(layers)
    whole = sum(one.numel() for one in weights(base, "decoder").values())
    assert sizes < whole / 3


def test_stopped_and_resumed_it_is_the_same_bit_for_bit(base: Path, tmp_path: Path) -> None:
    whole = train(Run(recipe(base), tmp_path / "whole", CPU), "decoder")
    halves = Run(recipe(base), tmp_path / "halves", CPU)
    assert train(halves, "decoder", until=2).step == 2
    again = train(Run(recipe(base), tmp_path / "halves", CPU), "decoder")
    one, two = (load_state(saved_states(t.folder)[-1]).tensors for t in (whole, again))
    for group, tensors in one.items():
        assert tensors.keys() == two[group].keys()
        assert all(torch.equal(value, two[group][key]) for key, value in tensors.items())


def test_another_rank_does_not_fit_a_saved_state(base: Path, tmp_path: Path) -> None:
    run = Run(recipe(base), tmp_path / "run", CPU)
    run.begin(resume=False)
    train(run, "decoder", until=1)
    run.end()
    other = Run(recipe(base, lora={"rank": 3}), tmp_path / "run", CPU)
    with pytest.raises(TrainingError, match=r"begun with stages\.decoder\.train\.lora = .*rank=2"):
        other.begin(resume=True)


def other(base: Path, folder: Path, name: str = "decoder") -> Path:
    """A copy of a model in which the weights of a stage are others."""
    shutil.copytree(base, folder)
    stage = load_stage(folder, name)
    with torch.no_grad():
        next(stage.net.parameters()).add_(1.0)
    save_stage(folder / name, stage, torch.float32)
    manifest = read_manifest(folder)
    write_manifest(folder, manifest.name, list(manifest.stages), manifest.tokenizer.context)
    return folder


def test_a_lora_goes_on_from_its_own_base_alone(base: Path, tmp_path: Path) -> None:
    """Not from another model, and not from one that has come to stand in its place."""
    home = Path(shutil.copytree(base, tmp_path / "home"))
    run = Run(recipe(home), tmp_path / "run", CPU)
    run.begin(resume=False)
    train(run, "decoder", until=1)
    run.end()
    elsewhere = other(base, tmp_path / "other")
    told = rf"begun with stages\.decoder\.from = {home} \(\w+\), and now it is {elsewhere} \(\w+\)"
    with pytest.raises(TrainingError, match=told):
        Run(recipe(elsewhere), run.folder, CPU).begin(resume=True)
    Run(recipe(base), run.folder, CPU).check_states()  # the same weights, moved
    Run(recipe(other(base, tmp_path / "third", "prior")), run.folder, CPU).check_states()
    shutil.rmtree(home)
    with pytest.raises(TrainingError, match=told):
        Run(recipe(elsewhere), run.folder, CPU).check_states()
    other(base, home)
    with pytest.raises(TrainingError, match=rf"{home} \(\w+\), and now it is {home} \(\w+\)"):
        Run(recipe(home), run.folder, CPU).check_states()


def test_a_state_that_holds_all_weights_needs_no_base(base: Path, tmp_path: Path) -> None:
    """Its model may have been trained on since; one of another name is another recipe's."""
    home = Path(shutil.copytree(base, tmp_path / "home"))
    run = Run(recipe(home, lora=None), tmp_path / "run", CPU)
    run.begin(resume=False)
    train(run, "decoder", until=1)
    run.end()
    elsewhere = other(base, tmp_path / "other")
    with pytest.raises(TrainingError, match=r"begun with stages\.decoder\.from = "):
        Run(recipe(elsewhere, lora=None), run.folder, CPU).check_states()
    shutil.rmtree(home)
    other(base, home)
    Run(recipe(home, lora=None), run.folder, CPU).check_states()


def test_it_learns_the_data(base: Path, tmp_path: Path) -> None:
    """What a hundred other samples cost falls, and the file alone makes it fall."""
    some = recipe(base, steps=30, batch_size=16, learning_rate=2e-2, ema=0.8)
    run = Run(some, tmp_path / "run", CPU)
    trainer = train(run, "decoder")
    source = some.source(trainer.task.source_size)
    samples = [source.sample(5000 + i) for i in range(96)]  # type: ignore[attr-defined]
    cond = trainer.task.cond(trainer.loader.collate(samples), BatchRng("x", 96, CPU, 0))

    def cost(*loras: Path) -> float:
        stage = unclip.load(base, "cpu", torch.float32, lora=loras).stages["decoder"]
        with torch.no_grad():
            return float(stage.loss(cond, BatchRng("y", 96, CPU, 0))[0].mean())

    assert cost(run.folder / "decoder.lora.safetensors") < 0.7 * cost()


def test_named_layers_alone(base: Path, tmp_path: Path) -> None:
    lora = {"rank": 2, "targets": ["attention.qkv", "down.*.conv1"]}
    run = Run(recipe(base, lora=lora), tmp_path / "run", CPU)
    run.check()
    names = [*adapted(run.trainer("decoder").net)]
    assert names and all(
        name.endswith("attention.qkv") or (name.startswith("down.") and name.endswith("conv1"))
        for name in names
    )
    assert any("qkv" in name for name in names) and any("conv1" in name for name in names)


@pytest.mark.parametrize(
    ("train", "fault"),
    [
        (
            {"lora": {"targets": ["attn1.to_q"]}},
            r"has 'attn1\.to_q', which is the name of no layer",
        ),
        ({"optimizer": "muon"}, "optimizer must be adamw with lora, got muon"),
        ({"lora": {"rank": 0}}, r"stages\.decoder\.train\.lora\.rank"),
        ({"lora": {"rang": 4}}, r"rang.*did you mean.*rank"),
    ],
)
def test_what_is_wrong_is_said_before_it_begins(
    train: dict[str, Any], fault: str, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=fault):
        Run(recipe(base, **train), tmp_path / "run", CPU).check()


def test_there_has_to_be_something_to_change(tiny: dict[str, Any]) -> None:
    stages = {"clip": {**tiny["clip"], "train": {"lora": {"rank": 2}}}}
    tokenizer = {"vocab_size": 320, "context": 8}
    with pytest.raises(UsageError, match=r"stages\.clip\.train\.lora' learns a change of another"):
        Recipe.parse(
            {"name": "x", "data": {"source": "shapes"}, "tokenizer": tokenizer, "stages": stages}
        )


def test_memory_is_that_of_the_base_once_and_five_times_the_matrices(base: Path) -> None:
    """Weights, gradients, average, AdamW's two moments."""
    some = recipe(base)
    net = task_on_meta(some, "decoder", torch.float32).stage.net
    small = sum(one.lora_down.numel() + one.lora_up.numel() for one in adapted(net).values())
    whole = parameter_count(net) - small
    assert state_bytes(net, some.trained["decoder"]) == 4 * (whole + 5 * small)


def test_the_file_says_what_it_is_of(base: Path, tmp_path: Path) -> None:
    run = Run(recipe(base), tmp_path / "run", CPU)
    train(run, "decoder")
    with safe_open(run.folder / "decoder.lora.safetensors", "pt") as file:
        said = file.metadata()
    assert said["format"] == "unclip.lora" and said["stage"] == "decoder"
    assert said["model"] == "small" and said["model_hash"] == unclip.load(base, "cpu").hash
