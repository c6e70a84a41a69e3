"""A tiny Karlo is distilled by `unclip train turbo --teacher`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from unclip.errors import UsageError
from unclip.loading import load
from unclip.rng import BatchRng, Rng
from unclip.train.ema import Ema
from unclip.train.optim import Learner
from unclip.train.recipe import load_recipe
from unclip.train.run import Run

CPU = torch.device("cpu")
SHAPES = ["data={source='shapes'}", "stages.turbo.train.workers=0", "prompts=[]"]
SHAPES += [
    "stages.turbo.objective.guidance_scale=1.5",
    "stages.turbo.train.batch_size=4",
    "stages.turbo.train.precision='float32'",
]


@pytest.fixture
def karlo(tmp_path: Path, fixture: Callable[[str], Any], alphabet: Callable[[Path], None]) -> Path:
    said, folder = fixture("karlo"), tmp_path / "karlo"
    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "UnCLIPPipeline"}))
    for name in (
        "text_encoder",
        "text_proj",
        "decoder",
        "super_res_first",
        "super_res_last",
        "prior",
    ):
        stem = "model" if name.endswith("encoder") else "diffusion_pytorch_model"
        said.write(folder, name, f"{stem}.safetensors")
    for name in ("decoder_scheduler", "super_res_scheduler", "prior_scheduler"):
        (folder / name).mkdir()
        config = json.dumps(said.said["configs"][name])
        (folder / name / "scheduler_config.json").write_text(config)
    alphabet(folder / "tokenizer")
    file = folder / "decoder" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)  # a path that is smoother than random weights draw it
    save_file({k: 0.3 * v if k == "conv_out.weight" else v for k, v in weights.items()}, file)
    return folder


def test_the_student_of_a_foreign_teacher(karlo: Path, tmp_path: Path) -> None:
    recipe = load_recipe("turbo", SHAPES, teacher=str(karlo))
    names = list(recipe.stages)
    assert names.index("turbo") == names.index("decoder") + 1
    run = Run(recipe, tmp_path / "run", CPU)
    run.begin(resume=False)
    for name in names:
        if name not in recipe.trained:
            run.export_frozen(name)
    trainer = run.trainer("turbo")
    for _ in range(2):
        trainer._step()
    run.export("turbo", trainer.averaged())
    pipe = load(run.model)
    assert pipe.model.decoders == ["turbo", "decoder"]
    few = {"steps": 2, "prior_steps": 2, "upsampler_steps": 2}
    picture, other = (pipe.generate("a cat", decoder=one, **few) for one in ("turbo", "decoder"))
    assert picture[0].size == other[0].size
    assert picture[0].tobytes() != other[0].tobytes()


def test_it_comes_closer_than_as_few_steps_of_its_teacher(karlo: Path, tmp_path: Path) -> None:
    recipe = load_recipe("turbo", SHAPES, teacher=str(karlo))
    run = Run(recipe, tmp_path / "run", CPU)
    run.begin(resume=False)
    for name in recipe.stages:
        if name not in recipe.trained:
            run.export_frozen(name)
    trainer = run.trainer("turbo")
    task: Any = trainer.task
    cond = task.cond(trainer._next(), BatchRng("given", 4))
    steps, learner, ema = 150, Learner(task.stage.net, trainer.config), Ema(task.stage.net, 0.9)
    losses = []
    for step in range(steps):
        task.begin(step / steps, ema.average)
        loss = task.loss(cond, BatchRng(step, 4))[0].mean()
        loss.backward()
        learner.update(20 + step)
        ema.update(task.stage.net, step)
        losses.append(float(loss.detach()))
    shown = task.lesson(cond, BatchRng(0, 4))[0].replace(keep_text=None, known=None, mask=None)

    def drawn(stage: Any, **sampling: Any) -> torch.Tensor:
        image = stage.sample(shown, Rng([0, 1, 2, 3]), sampling).image
        assert image is not None
        return image

    few, path = (
        drawn(task.teacher[0], sampler="ddim", eta=0.0, guidance_scale=1.5, steps=n)
        for n in (2, 25)
    )
    student = drawn(task.stage.with_net(ema.average), steps=1)
    assert sum(losses[-10:]) < sum(losses[:10])
    assert float((student - path).abs().mean()) < float((few - path).abs().mean())


def test_a_teacher_without_the_stage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--teacher is for a recipe with a stage that has an"):
        load_recipe("tiny", teacher="emoji-cpu")
