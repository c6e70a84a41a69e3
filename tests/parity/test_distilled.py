"""A tiny Karlo is distilled by `unclip train turbo --teacher`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from unclip.errors import UsageError
from unclip.loading import load
from unclip.rng import BatchRng, Rng
from unclip.train.config import TrainConfig
from unclip.train.ema import Ema
from unclip.train.optim import Learner
from unclip.train.recipe import load_recipe
from unclip.train.run import Run
from unclip.train.teaching import taught_by

CPU = torch.device("cpu")
STEPS = 250
SHAPES = ["data={source='shapes'}", "stages.turbo.train.workers=0", "prompts=[]"]
SHAPES += [
    "stages.turbo.objective.guidance_scale=1.5",
    "stages.turbo.train.batch_size=8",
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
    return folder


def test_the_student_of_a_foreign_teacher(karlo: Path, tmp_path: Path) -> None:
    recipe = load_recipe("turbo", SHAPES, teacher=str(karlo))
    names = list(recipe.stages)
    assert names.index("turbo") == names.index("decoder") + 1
    sampling = [recipe.stage(one).config.sampling for one in ("decoder", "turbo")]  # type: ignore[attr-defined]
    assert sampling[0].threshold == sampling[1].threshold and sampling[1].steps == 2
    run = Run(recipe, tmp_path / "run", CPU)
    run.begin(resume=False)
    for name in names:
        if name not in recipe.trained:
            run.export_frozen(name)
    trainer = run.trainer("turbo")
    for _ in range(2):
        trainer.advance()
    run.export("turbo", trainer.averaged())
    pipe = load(run.model)
    assert pipe.model.decoders == ["turbo", "decoder"]
    few = {"steps": 2, "prior_steps": 2, "upsampler_steps": 2}
    picture, other = (pipe.generate("a cat", decoder=one, **few) for one in ("turbo", "decoder"))
    assert picture[0].size == other[0].size
    assert picture[0].tobytes() != other[0].tobytes()


@pytest.mark.slow
def test_it_comes_closer_than_as_few_steps_of_its_teacher(karlo: Path, tmp_path: Path) -> None:
    """The teacher is trained first: at pure noise random weights say nothing of a picture."""
    recipe = load_recipe("turbo", SHAPES, teacher=str(karlo))
    run = Run(recipe, tmp_path / "run", CPU)
    run.begin(resume=False)
    for name in recipe.stages:
        if name not in recipe.trained:
            run.export_frozen(name)
    trainer = run.trainer("turbo")
    task: Any = trainer.task
    teacher, student = task.teacher[0], task.stage
    cond = task.cond(trainer.feed.next(), BatchRng("given", 8))
    cond = cond.replace(image_embed=cond.predicted_embed)
    learn(teacher, lambda step: teacher.loss(cond, BatchRng(f"teacher {step}", 8))[0])
    teacher.requires_grad_(False)
    student.net.load_state_dict(teacher.net.state_dict())
    ema = Ema(student.net, 0.95)

    def loss(step: int) -> torch.Tensor:
        ema.update(student.net, step)
        task.begin(step / STEPS, ema.average)
        said: torch.Tensor = task.loss(cond, BatchRng(step, 8))[0]
        return said

    losses = learn(student, loss)
    assert sum(losses[-20:]) < 0.7 * sum(losses[:20])
    shown = task.training_example(cond, BatchRng(0, 8))[0].replace(
        keep_text=None, known=None, mask=None
    )

    def drawn(stage: Any, **sampling: Any) -> torch.Tensor:
        image = stage.sample(shown, Rng(list(range(8))), sampling).image
        assert image is not None
        return image

    guided = {"sampler": "ddim", "eta": 0.0, "guidance_scale": 1.5}
    few, path = (drawn(teacher, steps=steps, **guided) for steps in (2, 25))
    averaged = student.with_net(ema.average)
    own = drawn(averaged, steps=2)
    assert float((own - path).abs().mean()) < 0.9 * float((few - path).abs().mean())


def learn(stage: Any, loss: Callable[[int], torch.Tensor]) -> list[float]:
    """Losses of training a stage."""
    stage.requires_grad_(True)
    config = {"steps": STEPS, "optimizer": "muon", "learning_rate": 3e-3, "warmup": 5, "decay": 0.5}
    learner, losses = Learner(stage.net, TrainConfig.parse(config)), []
    for step in range(STEPS):
        mean = loss(step).mean()
        mean.backward()
        learner.clip()
        learner.update(step)
        losses.append(float(mean.detach()))
    return losses


def test_the_student_draws_whoever_the_teacher_is(karlo: Path) -> None:
    for recipe in (load_recipe("turbo"), load_recipe("turbo", SHAPES, teacher=str(karlo))):
        assert recipe.settings.decoder == "turbo" and "decoder" in recipe.stages


def test_a_teacher_without_the_stage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--teacher is for a recipe with a stage whose"):
        load_recipe("tiny", teacher="emoji-cpu")


def test_a_teacher_has_priors_that_draw_at_once() -> None:
    """They do not diffuse, and no student learns from them."""
    recipe = load_recipe("turbo", teacher="emoji-cpu")
    assert list(recipe.trained) == ["turbo"]
    assert {"prior", "ar_prior", "eclipse_prior", "linear_prior"} <= set(recipe.stages)


def test_a_model_with_a_student_teaches_another_in_its_place() -> None:
    student = {"kind": "decoder", "objective": {"kind": "consistency"}}
    stages = taught_by({"stages": {"turbo": student}}, "emoji-cpu")["stages"]
    names = list(stages)
    assert names.count("turbo") == 1 and names.index("turbo") == names.index("decoder") + 1
    assert stages["turbo"] == {**student, "from": "emoji-cpu", "from_stage": "decoder"}
    other = taught_by({"stages": {"quick": student}}, "emoji-cpu")["stages"]
    own = {"objective": {"kind": "consistency"}}
    named = taught_by({"stages": {"decoder": own}}, "emoji-cpu")["stages"]
    assert named["decoder"]["from_stage"] == "decoder" and named["turbo"] == {"from": "emoji-cpu"}
    assert other["quick"]["from_stage"] == "decoder" and other["turbo"] == {"from": "emoji-cpu"}
