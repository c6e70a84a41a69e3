"""Foreign models are trained on, whole or by LoRA, and draw; what others load has their names."""

from __future__ import annotations

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
from unclip.checkpoints.convert import convert
from unclip.checkpoints.format import Options, open_model
from unclip.loading import plan
from unclip.nn.lora import merged
from unclip.train.recipe import Recipe
from unclip.train.run import Run
from unclip.train.trainer import Trainer
from unclip.train.watch import RunWatcher

CPU = torch.device("cpu")
TRAIN = {"steps": 2, "batch_size": 2, "warmup": 0, "workers": 0, "precision": "float32"}
TRAIN |= {"learning_rate": 1e-2}

BASES: dict[str, Callable[[Any], Path]] = {
    "karlo": lambda f: f.karlo(images=False),
    "kandinsky": lambda f: f.kandinsky("both"),
    "laion": lambda f: f.laion("prior", "decoder"),
    "sd": lambda f: f.stable_diffusion(),
}


@pytest.fixture(scope="module")
def bases(
    folders: Callable[[Path], Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """`bases(name)`: a foreign model; where it lacks half of CLIP, written anew with it."""
    root, made = tmp_path_factory.mktemp("bases"), dict[str, Path]()

    def base(name: str) -> Path:
        if name not in made:
            files = folders(root / name)
            files.root.mkdir()
            made[name] = BASES[name](files)
            if name in ("karlo", "laion"):
                whole = open_model(made[name], Options(clip=files.clip(16)))
                made[name] = root / f"{name}-whole"
                convert(whole, made[name])
        return made[name]

    return base


def recipe(base: Path, name: str, **train: Any) -> Recipe:
    found = plan(base)
    stages: dict[str, Any] = {one: {"from": str(base)} for one in found.parts}
    stages[name]["train"] = {**TRAIN, **train}
    context = found.read_tokenizer().context
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
    run.check()
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
    bases: Callable[[str], Path], fixture: Any, tmp_path: Path
) -> None:
    """diffusers' and peft's names, whose lora_B has alpha/r in it; our reader reads both files."""
    base, shapes = bases("sd"), fixture("stable_diffusion_1").said["shapes"]
    run = Run(recipe(base, "decoder", lora={"rank": 2, "alpha": 6.0}), tmp_path / "run", CPU)
    trainer = train(run, "decoder")
    files = [run.folder / f"decoder.{kind}.safetensors" for kind in ("diffusers", "lora")]
    plain, want = weights(base, "decoder"), merged(trainer.averaged().net).state_dict()
    for file in files:
        found = weights(base, "decoder", file)
        assert all(torch.allclose(found[key], want[key], atol=1e-6) for key in want)
    moved = {key for key in want if not torch.equal(plain[key], want[key])}
    assert moved and not any("autoencoder" in key for key in moved)
    tensors = load_file(files[0])
    for key, down in tensors.items():
        if key.endswith("lora_A.weight"):
            up = tensors[key.replace("lora_A", "lora_B")]
            component, _, name = key.removesuffix(".lora_A.weight").partition(".")
            weight = shapes[component][f"{name}.weight"]
            assert [len(up), *down.shape[1:]] == weight and down.ndim == up.ndim == len(weight)
    to_q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    assert {f"{to_q}.lora_A.weight", f"{to_q}.lora_B.weight"} <= tensors.keys()
    assert any(key.startswith("text_encoder.text_model.encoder.layers.0") for key in tensors)


@pytest.mark.parametrize(
    ("name", "stage", "lora"),
    [
        ("karlo", "decoder", None),
        ("karlo", "prior", {"rank": 2}),
        ("kandinsky", "decoder", {"rank": 2}),
        pytest.param("laion", "prior", None, marks=pytest.mark.slow),
        pytest.param("laion", "decoder", {"rank": 2}, marks=pytest.mark.slow),
    ],
)
def test_the_runs_model_draws_by_the_weights_that_were_trained(
    name: str, stage: str, lora: Any, bases: Callable[[str], Path], tmp_path: Path
) -> None:
    """It has all that the base has: the base with those weights draws the same picture."""
    base = bases(name)
    run = Run(recipe(base, stage, lora=lora), tmp_path / "run", CPU)
    trainer = train(run, stage)
    few = {f"{one}_steps": 2 for one in run.recipe.stages if one in ("prior", "upsampler")}
    few |= {"seed": 3, "steps": 2}
    want = unclip.load(base, "cpu", torch.float32)
    assert want.stages.keys() == run.recipe.stages.keys()
    before = want.stages[stage].net.state_dict()
    trained = merged(trainer.averaged().net).state_dict()
    assert any(not torch.equal(before[key], trained[key]) for key in before)
    want.stages[stage].net.load_state_dict(trained)
    for one in want.stages.values():
        one.half().float()  # as models are written
    found = unclip.load(run.model, "cpu", torch.float32)
    one, two = (np.asarray(pipe.generate("a fox", **few)[0]) for pipe in (want, found))
    assert one.std() > 0 and np.array_equal(one, two)
    if lora:
        adapted = unclip.load(base, "cpu", lora=[run.folder / f"{stage}.lora.safetensors"])
        assert np.asarray(adapted.generate("a fox", **few)[0]).shape == one.shape
