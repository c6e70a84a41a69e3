"""Several processes, as torchrun starts them: the same training, divided anew, restarted."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import unclip
from unclip.train.state import load_state, saved_states

WORKER = Path(__file__).with_name("_worker.py")
TRAIN = {"steps": 15, "batch_size": 8, "log_every": 1, "workers": 0, "warmup": 1}
TRAIN |= {"precision": "float32", "decay": 0.0}
UNET = {"channels": 32, "multipliers": [1, 2], "depth": 1, "head_dim": 32}
TEXT = {"width": 16, "depth": 1, "heads": 2, "vocab_size": 320, "context": 8}
CAPTIONS = {
    "tokenizer.captions": 200,
    "stages.clip.network.text": TEXT,
    "stages.decoder.network": {**UNET, "attention": [4], "text": TEXT, "embed_dim": None},
}
MEASURED = {"validation": {"share": 0.2, "every": 1, "pairs": 4}}
LATENT = {
    "stages.latent.kind": "latent_unclip",
    "stages.latent.autoencoder": {
        "channels": [32, 32],
        "depth": 1,
        "output": "latents",
        "codes": 8,
        "spatial": True,
    },
    "stages.latent.parameterization": {"kind": "v", "learned_variance": True},
    "stages.latent.sampling": {"sampler": "ddpm", "steps": 2, "eta": 1.0},
    "stages.latent.network": {
        **UNET,
        "image_size": 4,
        "in_channels": 4,
        "out_channels": 8,
        "attention": [2],
        "embed_dim": 16,
    },
}

CONSISTENT = {"kind": "consistency", "teacher": "decoder", "levels": 8, "guidance_scale": 2.0}
CONSISTENT |= {"own_share": 0.5}
JUDGED = {**CONSISTENT, "kind": "adversarial", "mismatch": 0.0}
"""Other captions are those of a process' own pictures."""

LATER = {**JUDGED, "critic_from": 0.5}
"""Until then no process has a gradient of the critic."""

STUDENT = {
    "stages.student.kind": "decoder",
    "stages.student.parameterization.kind": "v",
    "stages.student.sampling.steps": 2,
    "stages.student.network": {**UNET, "image_size": 8, "attention": [4], "text": TEXT},
}
"""Another decoder, which learns from the first."""

TUNED = """
name = "tuned"
data = { source = "shapes" }
tokenizer = { model = "base/model", vocab_size = 320, context = 8 }
[stages.decoder]
from = "base/model"
[stages.decoder.train]
batch_size = 8
log_every = 1
workers = 0
warmup = 1
precision = "float32"
decay = 0.0
lora = { rank = 2 }
"""

Losses = dict[int, float]


@pytest.fixture
def recipe(
    request: pytest.FixtureRequest,
    little: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A recipe's file, with what a test's parameter changes in it."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "little.toml"
    file.write_text(little({**CAPTIONS, **getattr(request, "param", {})}, **TRAIN))
    return file


def started(
    processes: int, *words: str, restarts: int = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """What torchrun ended with."""
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    run += [str(processes), "--max-restarts", str(restarts), *words]
    found = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(unclip.__file__).parents[1])}
    environment = {**os.environ, **found, **variables}
    return subprocess.run(run, capture_output=True, text=True, env=environment)


def train(
    processes: int,
    recipe: Path,
    out: str,
    stage: str,
    settings: dict[str, Any],
    steps: int,
    until: int | None = None,
) -> Losses:
    """Losses of a stage's steps up to the last, or `until`, from where a state was saved."""
    words = [str(recipe), out, stage, "losses.json", f"stages.{stage}.train.steps={steps}"]
    words += [f"stages.{stage}.{key}={value}" for key, value in settings.items()]
    if processes == 1:
        runpy.run_path(str(WORKER))["main"](*words)
    else:
        done = started(processes, str(WORKER), *words, UNTIL=str(until or steps))
        assert done.returncode == 0, done.stderr
    told = json.loads(Path("losses.json").read_text())
    return {int(step): loss for step, loss in told.items() if step != "begun"}


@pytest.mark.parametrize("recipe", [MEASURED], indirect=True)
def test_two_processes_train_as_one_does(recipe: Path) -> None:
    """Sharded, with weights that are never computed with whole and activations computed again.

    One of them measures what is held out in between.
    """
    settings = {"train.engine": "fsdp", "train.activation_checkpointing": "true"}
    two = train(2, recipe, "two", "decoder", settings, 3)
    one = train(1, recipe, "one", "decoder", {}, 3)
    assert two == pytest.approx(one, rel=1e-6)
    states = [load_state(saved_states(Path(out) / "decoder/states")[-1]) for out in ("one", "two")]
    assert states[0].tensors.keys() == states[1].tensors.keys()
    for group, tensors in states[0].tensors.items():
        for name, tensor in tensors.items():
            error = (tensor - states[1].tensors[group][name]).abs().max()
            assert error < 5e-5, (group, name)
    assert train(1, recipe, "two", "decoder", {}, 4) == pytest.approx(
        train(1, recipe, "one", "decoder", {}, 4), rel=1e-6
    )


DIVIDED = [
    ("ddp", "decoder", {}),
    ("ddp", "decoder", {"train.optimizer": "muon"}),
    ("fsdp", "decoder", {}),
    ("fsdp", "decoder", {"train.optimizer": "muon"}),
    ("ddp", "decoder", {"train.micro_batch": "1", "train.sam": "0.05"}),
    ("ddp", "clip", {}),
    ("ddp", "clip", {"train.micro_batch": "1"}),
    ("fsdp", "clip", {}),
]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("engine", "stage", "settings"), DIVIDED)
def test_processes_come_and_go_and_the_losses_stay(
    engine: str, stage: str, settings: dict[str, str], recipe: Path
) -> None:
    """2, then 4, then 1: the next loss to 1e-6, ten further ones to 1e-4."""
    whole = train(1, recipe, "whole", stage, settings, 26)
    settings = {**settings, "train.engine": engine}
    for processes, end in ((2, 4), (4, 15), (1, 26)):
        losses = train(processes, recipe, "parts", stage, settings, 26, until=end)
        first = min(losses)
        assert len(losses) == (4 if end == 4 else 11)
        assert losses[first] == pytest.approx(whole[first], rel=1e-6)
        assert losses == pytest.approx({step: whole[step] for step in losses}, rel=1e-4)


def check(recipe: Path, stage: str, settings: dict[str, Any], rel: float) -> None:
    """Two processes train as one does, and one goes on from them."""
    whole = train(1, recipe, "one", stage, settings, 5)
    two = train(2, recipe, "two", stage, settings, 5, until=3)
    assert two == pytest.approx({step: whole[step] for step in (1, 2, 3)}, rel=rel)
    on = train(1, recipe, "two", stage, settings, 5)
    assert on == pytest.approx({step: whole[step] for step in (4, 5)}, rel=rel)
    states = [load_state(saved_states(Path(out) / stage / "states")[-1]) for out in ("one", "two")]
    assert {k: set(v) for k, v in states[0].tensors.items()} == {
        k: set(v) for k, v in states[1].tensors.items()
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("stage", "settings"),
    [("decoder", {"train.sam": "0.05"}), ("clip", {"train.micro_batch": "1"})],
)
def test_what_takes_more_than_a_forward_pass_is_sharded_too(
    stage: str, settings: dict[str, str], recipe: Path
) -> None:
    check(recipe, stage, {**settings, "train.engine": "fsdp"}, rel=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
@pytest.mark.parametrize(
    "recipe",
    [{**STUDENT, "stages.student.objective": one} for one in (CONSISTENT, JUDGED, LATER)],
    ids=["consistency", "adversarial", "later"],
    indirect=True,
)
def test_students_learn_in_two_processes_as_in_one(engine: str, recipe: Path) -> None:
    """From a teacher, from their own average, and with a critic."""
    for out in ("one", "two"):
        train(1, recipe, out, "clip", {}, 1)
        train(1, recipe, out, "decoder", {}, 1)
    check(recipe, "student", {"train.engine": engine}, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", [{**STUDENT, "stages.student.objective": CONSISTENT}], indirect=True
)
def test_processes_see_a_failure_alike_and_stop_together(recipe: Path) -> None:
    """The second draws one picture for all seeds: the mean diversity halves, at the same step."""
    for stage in ("clip", "decoder"):
        train(1, recipe, "two", stage, {}, 1)
    patience = "stages.student.objective.limits.patience=3"
    words = [str(WORKER), str(recipe), "two", "student", "losses.json", patience]
    done = started(2, *words, BAD="collapses")
    assert done.returncode != 0
    assert done.stderr.count("TrainingError: seed collapse: diversity is 0.50") == 1
    assert "3 looks in a row" in done.stderr and "has not answered" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
def test_a_lora_is_learnt_in_two_processes_as_in_one(engine: str, recipe: Path) -> None:
    """Its file too is that of one process."""
    train(1, recipe, "base", "decoder", {}, 1)
    recipe.write_text(TUNED)
    check(recipe, "decoder", {"train.engine": engine}, rel=1e-5)
    one, two = (load_file(f"{out}/decoder.lora.safetensors") for out in ("one", "two"))
    assert one.keys() == two.keys()
    assert all(torch.allclose(value, two[name], atol=1e-5) for name, value in one.items())
    assert any(float(value.abs().max()) > 1e-4 for key, value in one.items() if "up" in key)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [MEASURED], indirect=True)
@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
def test_one_process_measures_a_loss_with_weights_of_its_own(engine: str, recipe: Path) -> None:
    settings = {"objective": "{simsiam={}}"}
    two = train(2, recipe, "two", "clip", {**settings, "train.engine": engine}, 3)
    assert two == pytest.approx(train(1, recipe, "one", "clip", settings, 3), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [{**LATENT, **MEASURED}], indirect=True)
@pytest.mark.parametrize("engine", ["ddp", "fsdp"])
def test_one_process_measures_in_an_autoencoder_s_latents(engine: str, recipe: Path) -> None:
    for out in ("one", "two"):
        train(1, recipe, out, "clip", {}, 1)
    two = train(2, recipe, "two", "latent", {"train.engine": engine}, 3)
    assert two == pytest.approx(train(1, recipe, "one", "latent", {}, 3), rel=1e-4)


@pytest.mark.slow
def test_all_go_on_from_the_last_state_where_one_was_killed(recipe: Path) -> None:
    often = "stages.decoder.train.checkpoint_minutes=0.00001"
    words = [str(WORKER), str(recipe), "out", "decoder", "losses.json", often]
    again = started(2, *words, restarts=1, BAD="killed")
    assert again.returncode == 0, again.stderr
    assert "Signal 9 (SIGKILL)" in again.stderr or "exitcode: -9" in again.stderr
    losses = json.loads(Path("losses.json").read_text())
    assert losses.pop("begun") == 15
    whole = train(1, recipe, "whole", "decoder", {}, 15)
    assert {int(key): value for key, value in losses.items()} == pytest.approx(
        {step: whole[step] for step in map(int, losses)}, rel=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("hangs", "has not answered for 0.1 minutes: it hangs"),
        ("fails", "ValueError: the moon is down"),
    ],
)
def test_one_that_hangs_or_fails_is_named_once(bad: str, said: str, recipe: Path) -> None:
    done = started(
        2, str(WORKER), str(recipe), "out", "decoder", "losses.json", BAD=bad, MINUTES="0.1"
    )
    assert done.returncode != 0
    assert done.stderr.count(said) == 1
