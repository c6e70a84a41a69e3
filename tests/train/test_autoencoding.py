"""An autoencoder and a decoder of its latents, in one recipe, from the first step to a picture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import unclip
from unclip.errors import TrainingError, UsageError
from unclip.nn.latents import InLatents
from unclip.rng import BatchRng
from unclip.stages import Stage
from unclip.stages.clip import ClipStage
from unclip.train.autoencoding import AutoencoderTask
from unclip.train.caching import encoders
from unclip.train.recipe import load_recipe
from unclip.train.run import Run
from unclip.train.task import Task
from unclip.train.watch import RunWatcher
from unclip.types import Cond

MakeStage = Callable[..., Stage]
NAMES = ("clip", "prior", "autoencoder", "decoder")
SHORT = [
    *(f"stages.{name}.train.steps={40 if name == 'autoencoder' else 2}" for name in NAMES),
    *(f"stages.{name}.train.batch_size=8" for name in NAMES),
    "stages.autoencoder.network.channels=[16,32]",
    "stages.autoencoder.train.learning_rate=5e-3",
    "stages.decoder.sampling.steps=2",
    "stages.autoencoder.train.preview_every=40",
    "validation.every=20",
    "loggers=[]",  # TensorBoard is slow to import
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The preset `tiny-latent`, its autoencoder trained for two seconds, the rest hardly."""
    run = Run(
        load_recipe("tiny-latent", SHORT), tmp_path_factory.mktemp("run"), torch.device("cpu")
    )
    run.check()
    run.begin(resume=False)
    for name in run.recipe.stages:
        trainer = run.trainer(name)
        with RunWatcher(run, name, trainer, Console(quiet=True)) as watcher:
            trainer.run(watcher)
    run.end()
    return run


def test_psnr_of_held_out_pictures_rises_and_is_in_the_report(run: Run) -> None:
    log = (run.folder / "autoencoder" / "log.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in log]
    measured = [one["validation_psnr"] for one in lines if "validation_psnr" in one]
    assert len(measured) == 2 and measured[1] > measured[0] + 0.5
    assert all(
        {"psnr", "checkerboard", "latent_std_least"} <= one.keys() for one in lines if "l1" in one
    )
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "PSNR of held out pictures" in page
    assert list((run.folder / "autoencoder" / "previews").glob("*.png"))


def test_the_decoder_has_the_autoencoder_of_its_recipe(run: Run) -> None:
    stage = run.trainer("decoder").task.stage
    assert isinstance(stage.net, InLatents)
    model = unclip.load(run.model, dtype=torch.float32)
    ready: Any = model.stages["autoencoder"]
    for name, value in ready.net.state_dict().items():
        assert torch.equal(stage.net.autoencoder.state_dict()[name], value), name
    assert not any(one.requires_grad for one in stage.net.autoencoder.parameters())
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.no_grad():
        own: Any = model.stages["decoder"]
        assert torch.equal(own.space.encode(image), ready.net.encode(image))


def test_a_model_of_latents_does_what_others_do(run: Run) -> None:
    """Drawn, in little memory too, varied, and edited, what is known being kept."""
    model, lean = (unclip.load(run.model, low_memory=low) for low in (False, True))
    settings: Any = {"steps": 2}
    (picture,) = model.generate("a red circle", seed=3, **settings)
    assert picture.size == (32, 32)
    assert lean.generate("a red circle", seed=3, **settings)[0].tobytes() == picture.tobytes()
    assert model.variations(picture, **settings)[0].size == (32, 32)
    (edited,) = model.edit(picture, prompt="a blue square", box=(0, 0, 16, 32), **settings)
    kept = (20, 0, 32, 32)
    assert edited.crop(kept).tobytes() == picture.crop(kept).tobytes()
    assert edited.tobytes() != picture.tobytes()


def task_of(make_stage: MakeStage, progress: float, **critic: Any) -> AutoencoderTask:
    clip = make_stage("clip")
    assert isinstance(clip, ClipStage)
    task = AutoencoderTask(make_stage("autoencoder", critic=critic), clip, name="it")
    task.begin(progress, task.stage.net)
    return task


def test_the_critic_moves_the_decoders_head_and_nothing_before_it(make_stage: MakeStage) -> None:
    image = Cond(image=torch.rand(4, 3, 8, 8) * 2 - 1)

    def gradients(progress: float) -> dict[str, torch.Tensor | None]:
        task = task_of(make_stage, progress, share=0.2, weight=1.0)
        task.loss(image, BatchRng(0, 4))[0].mean().backward()
        return {name: one.grad for name, one in task.named_parameters()}

    before, judged = gradients(0.79), gradients(0.8)
    moved = {n for n, one in judged.items() if not _same(before[n], one)}
    heads = (
        "stage.net.decoder.last_blocks",
        "stage.net.decoder.norm_out",
        "stage.net.decoder.conv_out",
    )
    assert all(name.startswith((*heads, "critic.")) for name in moved)
    assert {"stage.net.decoder.conv_out.weight"} <= moved
    critics = {name for name in judged if name.startswith("critic.")}
    assert critics <= moved and all(before[name] is None for name in critics)


def _same(one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.allclose(one, other, rtol=1e-4, atol=1e-7)


def test_a_critic_is_not_divided(make_stage: MakeStage) -> None:
    task = task_of(make_stage, 1.0)
    assert task.whole == [task.critic]
    latent = Task(make_stage("latent_unclip"), make_stage("clip"))
    assert latent.whole == [latent.stage.net.autoencoder]


def test_a_critic_that_wins_stops_training(make_stage: MakeStage) -> None:
    task = task_of(make_stage, 1.0)
    task.check({"gap": 3.9})
    with pytest.raises(TrainingError, match=r"the critic wins: .* 4\.1 apart"):
        task.check({"gap": 4.1})


def test_what_the_cache_keeps_of_a_picture_is_its_latents(run: Run) -> None:
    task = run.trainer("decoder").task
    found = {one.kind: one for one in encoders(task)}
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    kept = found["latents"].encode(Cond(image=image))["latents"]
    ready: Any = unclip.load(run.model, dtype=torch.float32).stages["autoencoder"]
    with torch.no_grad():
        torch.testing.assert_close(kept, ready.net.encode(image))


def test_a_decoder_goes_on_with_the_autoencoder_that_it_began_with(
    run: Run, tmp_path: Path
) -> None:
    """Whatever became of that one: the latents of before and of now are of one kind."""
    shutil.copytree(run.folder, tmp_path / "run")
    again = Run(run.recipe, tmp_path / "run", torch.device("cpu"))
    said: list[str] = []
    again.warn = said.append
    began = again.trainer("decoder").task.stage.net.autoencoder.state_dict()
    assert said == []
    later: Any = again.build("autoencoder")
    again.export("autoencoder", later.eval())  # other weights
    stage = again._trainer("decoder").task.stage  # as it is while its source is made
    assert all(
        torch.equal(one, began[name]) for name, one in stage.net.autoencoder.state_dict().items()
    )
    assert said == ["'decoder' goes on with the autoencoder that it began with, an older one"]
    new = again.build("decoder", trained=True).net.autoencoder.state_dict()
    assert not torch.equal(new["encoder.conv_in.weight"], began["encoder.conv_in.weight"])


def test_what_does_not_fit_is_one_line(make_stage: MakeStage) -> None:
    with pytest.raises(
        UsageError, match="compares what CLIP says of patches, and the recipe has no"
    ):
        AutoencoderTask(make_stage("autoencoder"), None, name="it")
    for changes, words in (
        ("stages.decoder.autoencoder=prior", "must be an autoencoder before it, got 'prior'"),
        ("stages.decoder.autoencoder={}", "must be the name of a stage of the recipe"),
        ("stages.decoder.network.in_channels=3", "in_channels 3 are not the autoencoder's 4"),
    ):
        with pytest.raises(UsageError, match=words):
            load_recipe("tiny-latent", [changes])


def test_a_critic_that_a_saved_state_lacks_is_found_before_training_goes_on(run: Run) -> None:
    judged = load_recipe("tiny-latent", [*SHORT, "stages.autoencoder.critic={}"])
    with pytest.raises(TrainingError, match=r"begun with .*critic = None, and now it is given"):
        Run(judged, run.folder, torch.device("cpu")).check_states()
