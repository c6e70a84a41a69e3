"""Foreign models are trained on, whole or by LoRA, and draw; what others load has their names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

import unclip
from unclip.train.recipe import Recipe
from unclip.train.run import Run
from unclip.train.trainer import Trainer
from unclip.train.watch import RunWatcher

CPU = torch.device("cpu")
TRAIN = {"steps": 2, "batch_size": 2, "warmup": 0, "workers": 0, "precision": "float32"}


def folder_of(fixture: Any, root: Path, peer: str, kind: str, names: str, schedulers: str) -> Path:
    """A folder of diffusers. In `names` and `schedulers`: FOLDER or FOLDER=NAME_OF_THE_PEERS."""
    said, folder = fixture(peer), root / kind
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    for name in names.split():
        stem = "model" if name.endswith("encoder") else "diffusion_pytorch_model"
        said.write(folder, name, f"{stem}.safetensors")
    for one in schedulers.split():
        name, _, theirs = one.partition("=")
        (folder / name).mkdir()
        config = json.dumps(said.said["configs"][theirs or name])
        (folder / name / "scheduler_config.json").write_text(config)
    return folder


@pytest.fixture(scope="module")
def bases(
    fixture: Any, alphabet: Callable[[Path], None], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    three = "prior_scheduler decoder_scheduler super_res_scheduler"
    networks = "text_encoder text_proj prior decoder super_res_first super_res_last"
    found = {
        "karlo": folder_of(fixture, root, "karlo", "UnCLIPPipeline", networks, three),
        "sd": folder_of(
            fixture, root, "stable_diffusion_1", "StableDiffusionPipeline",
            "unet vae text_encoder", "scheduler",
        ),
        "kandinsky": folder_of(
            fixture, root, "kandinsky", "KandinskyV22Pipeline", "unet movq", "scheduler=ddim"
        ),
    }  # fmt: skip
    for folder in found.values():
        alphabet(folder / "tokenizer")
    return found


def recipe(base: Path, name: str, **train: Any) -> Recipe:
    plan = unclip.loading.plan(base)
    stages: dict[str, Any] = {one: {"from": str(base)} for one in plan.parts}
    stages[name]["train"] = {**TRAIN, **train}
    context = plan.read_tokenizer().context
    return Recipe.parse(
        {
            "name": "mine",
            "data": {"source": "shapes"},
            "tokenizer": {"model": str(base), "context": context, "vocab_size": 300},
            "stages": stages,
        }
    )


def train(run: Run, name: str) -> Trainer:
    run.begin(resume=False)
    for one in run.recipe.stages:
        if one != name:
            run.export_frozen(one)
    trainer = run.trainer(name)
    with RunWatcher(run, name, trainer, Console(quiet=True)) as watcher:
        trainer.run(watcher)
    run.end()
    return trainer


def weights(model: Path, stage: str, *loras: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = (
        unclip.load(model, "cpu", torch.float32, lora=loras).stages[stage].net.state_dict()
    )
    return found


def test_stable_diffusions_lora_in_the_layout_that_others_load(
    bases: dict[str, Path], fixture: Any, tmp_path: Path
) -> None:
    """diffusers' and peft's names, whose lora_B has alpha/r in it; our reader reads both files."""
    base, shapes = bases["sd"], fixture("stable_diffusion_1").said["shapes"]
    some = recipe(base, "decoder", lora={"rank": 2, "alpha": 6.0}, learning_rate=1e-2)
    run = Run(some, tmp_path / "run", CPU)
    trainer = train(run, "decoder")
    files = [run.folder / f"decoder.{kind}.safetensors" for kind in ("diffusers", "lora")]
    plain, want = weights(base, "decoder"), trainer.averaged().net.state_dict()
    for file in files:
        found = weights(base, "decoder", file)
        assert all(torch.allclose(found[key], want[key], atol=1e-6) for key in want)
    moved = {key for key in want if not torch.equal(plain[key], want[key])}
    assert moved and not any("autoencoder" in key for key in moved)
    tensors = load_file(files[0])
    for key, down in tensors.items():
        if not key.endswith("lora_A.weight"):
            continue
        up = tensors[key.replace("lora_A", "lora_B")]
        component, _, name = key.removesuffix(".lora_A.weight").partition(".")
        weight = shapes[component][f"{name}.weight"]
        assert [len(up), *down.shape[1:]] == weight and down.ndim == up.ndim == len(weight)
    to_q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    assert {f"{to_q}.lora_A.weight", f"{to_q}.lora_B.weight"} <= tensors.keys()
    assert any(key.startswith("text_encoder.text_model.encoder.layers.0") for key in tensors)


@pytest.mark.parametrize(("base", "name"), [("karlo", "decoder"), ("karlo", "prior")])
@pytest.mark.parametrize("lora", [None, {"rank": 2}], ids=["whole", "lora"])
def test_a_fine_tuned_karlo_draws_almost_what_it_drew(
    lora: Any, base: str, name: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    """All that it needs is in the run's model: two steps change little."""
    run = Run(recipe(bases[base], name, lora=lora, learning_rate=1e-5), tmp_path / "run", CPU)
    train(run, name)
    few = {"seed": 3, "prior_steps": 2, "steps": 2, "upsampler_steps": 2}
    before = unclip.load(bases[base], "cpu", torch.float32).generate("a fox", **few)[0]
    after = unclip.load(run.model, "cpu", torch.float32).generate("a fox", **few)[0]
    one, two = (np.asarray(image).astype(float) for image in (before, after))
    assert 0 < np.abs(one - two).mean() < 2 < one.std()
