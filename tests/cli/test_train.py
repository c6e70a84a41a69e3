"""`unclip train`: from pictures to a model that draws, stopped and resumed, and what it costs."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from unclip.train.clock import Clock
from unclip.train.trainer import Trainer
from unclip.train.watch import RunWatcher

RunCli = Callable[..., Any]

TRAIN = {"steps": 4, "batch_size": 4, "log_every": 1, "workers": 0}
DECODER = {"network": {"multipliers": [1]}, "train": {"steps": 3, "batch_size": 2}}
TOWER = {"depth": 1}


@pytest.fixture
def recipe(
    dataset: Path, little: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setattr("unclip.train.watch._board", lambda _: None)  # slow to import
    changes = {
        "prompts": ["a red square"],
        "data": {"source": "folder", "path": str(dataset)},
        "stages.clip.network": {"vision": TOWER, "text": TOWER},
        "stages.decoder": DECODER,
    }
    file = tmp_path / "little.toml"
    file.write_text(little(changes, **TRAIN))
    return file


def step_of(stage: Path) -> int:
    """The step of the newest saved state."""
    return int(json.loads((sorted(stage.glob("states/*"))[-1] / "state.json").read_text())["step"])


def test_from_pictures_to_a_model_that_draws(unclip: RunCli, recipe: Path) -> None:
    done = unclip("train", recipe)
    assert done.code == 0, done.err
    assert "clip 4/4" in done.out
    assert done.out.endswith("unclip generate 'a red square' --model runs/little/model\n")
    assert re.match(r"data: \S+/pictures \(4 pictures\)\n", done.out)
    model = "runs/little/model"
    wanted = ["generate", "a red square", "--model", model, "-o", "o.png"]
    unclip(*wanted).fails(2, "has no prior", "none")
    assert unclip(*wanted, "--prior", "none").code == 0
    assert Path("o.png").is_file()


def test_what_is_finished_is_skipped(unclip: RunCli, recipe: Path) -> None:
    assert "not trained yet: decoder" in unclip("train", recipe, "--stage", "clip").out
    before = (Path("runs/little/model/clip/weights.safetensors")).read_bytes()
    done = unclip("train", recipe, "--resume")
    assert "\nclip: finished, 4 steps\n" in done.out
    assert (Path("runs/little/model/clip/weights.safetensors")).read_bytes() == before
    unclip("train", recipe).fails(2, "runs/little", "--resume")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_resuming_gives_the_same_weights(
    number: signal.Signals, unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scalars = RunWatcher.scalars

    def interrupted(self: RunWatcher, step: int, values: dict[str, float]) -> None:
        scalars(self, step, values)
        if step == 2:
            signal.raise_signal(number)

    with monkeypatch.context() as patch:
        patch.setattr(RunWatcher, "scalars", interrupted)
        done = unclip("train", recipe, "--out", "cut", "--stage", "clip")
    assert done.code == 130
    assert done.err.splitlines()[-1] == (
        "unclip: stopped and saved at step 2 of 4 of 'clip'; go on with: "
        f"unclip train {recipe} --resume --stage clip --out cut"
    )
    assert step_of(Path("cut/clip")) == 2
    assert unclip("train", recipe, "--resume", "--stage", "clip", "--out", "cut").code == 0
    assert unclip("train", recipe, "--stage", "clip", "--out", "whole").code == 0
    cut, whole = (load_file(f"{run}/model/clip/weights.safetensors") for run in ("cut", "whole"))
    assert cut.keys() == whole.keys()
    assert all(cut[key].equal(whole[key]) for key in cut)


def test_a_second_signal_ends_at_once(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # ignored, where a shell runs this in the background
    monkeypatch.setattr(RunWatcher, "scalars", interrupted)
    done = unclip("train", recipe)
    assert (done.code, done.err.splitlines()[-1]) == (130, "unclip: cancelled")
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_twice_is_sigterm_once(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`timeout` sends its signal to the process, and then to the group that the process is in."""

    def ended(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(RunWatcher, "scalars", ended)
    done = unclip("train", recipe)
    assert done.code == 130
    assert "stopped and saved at step 1 of 4 of 'clip'" in done.err


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="has no such signal")
def test_a_signal_saves_and_goes_on(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []

    def asked(self: RunWatcher, step: int, values: dict[str, float]) -> None:
        if step == 2:
            signal.raise_signal(signal.SIGUSR1)

    before = signal.getsignal(signal.SIGUSR1)
    monkeypatch.setattr(RunWatcher, "scalars", asked)
    monkeypatch.setattr(RunWatcher, "saving", lambda self, step: saved.append(step))
    assert unclip("train", recipe, "--stage", "clip").code == 0
    assert saved == [2, 4]
    assert signal.getsignal(signal.SIGUSR1) is before


def test_the_best_state_becomes_the_model(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of four: what is measured is made up."""
    losses, held = iter([0.5, 0.25, 0.75, 1.0]), list[Any]()

    def measure(self: Any, stage: Any) -> dict[str, float]:
        held.append({k: v.clone() for k, v in stage.net.state_dict().items()})
        return {"validation": next(losses)}

    monkeypatch.setattr("unclip.train.validation.Validation.measure", measure)
    wanted = ["--stage", "clip", "--set", "validation={share=0.5,every=1,pairs=1}"]
    done = unclip("train", recipe, *wanted)
    assert done.code == 0, done.err
    assert "clip 2  validation loss 0.2500" in done.out
    done = unclip("train", recipe, *wanted, "--best")
    assert (done.code, done.out) == (0, "clip: step 2, validation loss 0.2500\n")
    taken = load_file("runs/little/model/clip/weights.safetensors")
    near = [
        sum(float((taken[key].float() - one[key]).abs().sum()) for key in taken) for one in held
    ]
    assert near.index(min(near)) == 1
    unclip("train", recipe, "--stage", "decoder", "--best").fails(1, "no best state", "validation")


def test_a_run_writes_its_page(unclip: RunCli, recipe: Path) -> None:
    assert unclip("train", recipe, "--stage", "clip").code == 0
    page = Path("runs/little/report.html").read_text("utf-8")
    assert f"unclip train {recipe} --resume --stage clip" in page
    lines = [
        json.loads(line) for line in Path("runs/little/clip/log.jsonl").read_text().splitlines()
    ]
    lines = [line for line in lines if "loss" in line]  # the others are of sample grids
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert lines[0].keys() >= {"loss", "images_per_second", "data_wait", "memory_mb"}


def test_quiet_keeps_warnings(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunWatcher, "saving", lambda self, _: self.note("a worker was killed"))
    done = unclip("-q", "train", recipe, "--stage", "clip")
    assert "unclip: warning: clip: a worker was killed\n" in done.err
    assert "clip 4/4" not in done.out


def test_a_signal_that_another_process_got_stops_this_one_between_stages(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.train.world.World.any", lambda self, flag: True)
    done = unclip("train", recipe)
    assert done.code == 130
    assert done.err.splitlines()[-1] == (
        f"unclip: stopped before 'clip'; go on with: unclip train {recipe} --resume"
    )


def test_the_first_of_several_processes_alone_puts_the_best_into_the_model(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.train.world.World.first", lambda self, make: [3, 0.5])
    done = unclip("train", recipe, "--best", "--stage", "clip")
    assert done.code == 0
    assert "clip: step 3, validation loss 0.5000" in done.out
    assert not Path("runs/little").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_step_ends_at_once(
    number: signal.Signals, unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a tokenizer learns, say; SIGTERM may come twice."""
    after: list[str] = []

    def tokenizer(*_: object) -> None:
        try:
            signal.raise_signal(number)
            after.append("went on")
        finally:
            if number == signal.SIGTERM:
                signal.raise_signal(number)

    monkeypatch.setattr("unclip.train.run.Run.tokenizer", tokenizer)
    done = unclip("train", recipe)
    assert (done.code, after) == (130, [])
    assert done.err.splitlines()[-1] == (
        f"unclip: stopped before 'clip'; go on with: unclip train {recipe} --resume"
    )
    assert not list(Path("runs/little").glob("clip/states/*"))


@contextmanager
def training(*more: str) -> Iterator[subprocess.Popen[str]]:
    """A run of `tiny`, in a session of its own, that has done a few steps and goes on for long."""
    settings = ["stages.clip.train.steps=1000000", "stages.clip.train.checkpoint_minutes=0.005"]
    words = ["train", "tiny", "--out", "run", *more]
    for one in (*settings, "stages.clip.train.workers=2"):
        words += ["--set", one]
    start = "import sys; from unclip.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", start, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while not list(Path("run/clip/states").glob("step-*")) and process.poll() is None:
            time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The numbers of a process' children."""
    file = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(number) for number in file.read_text().split()]


linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")


@linux
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_a_signal_to_the_whole_group_saves(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `timeout`, a terminal that closes, docker and Slurm send it: to the workers too."""
    monkeypatch.chdir(tmp_path)
    with training() as process:
        assert len(workers_of(process)) == 2
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "stopped and saved at step" in err.splitlines()[-1]
    assert step_of(Path("run/clip")) >= 1


@linux
@pytest.mark.slow
def test_a_killed_worker_is_said_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with training() as process:
        os.kill(workers_of(process)[0], signal.SIGKILL)
        assert process.stdout is not None
        assert process.stderr is not None
        said = next(line for line in process.stderr if "was killed" in line)
        assert said.startswith("unclip: warning: clip: a process that makes batches was killed")
        next(line for line in process.stdout if line.startswith("clip "))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err


@linux
def test_one_process_at_a_time_trains_in_a_folder(
    unclip: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, with workers that live on for a moment, it leaves the folder to the next at once."""
    monkeypatch.chdir(tmp_path)
    with training() as process:
        other = unclip("train", "tiny", "--out", "run", "--resume")
        other.fails(2, "run is in use by process", str(process.pid), " since ", "wait for it")
        orphans = workers_of(process)
        process.kill()
        process.wait()
        assert any(Path(f"/proc/{number}").exists() for number in orphans)
        left = Path("run/clip/states/.step-00000009.abcd1234.part")
        left.mkdir(parents=True)
        done = unclip("train", "tiny", "--out", "run", "--resume", "--minutes", "1e-6")
    assert done.code == 3, done.err
    assert not left.exists()


def test_minutes_are_those_of_the_whole_command(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first stage takes is gone for the second."""
    now, left = [100.0], []
    train = Trainer.run

    def spy(self: Trainer, watcher: Any) -> bool:
        left.append(self.clock.deadline - now[0])
        now[0] += 120
        return train(self, watcher)

    monkeypatch.setattr(Trainer, "run", spy)
    monkeypatch.setattr(Clock, "now", lambda _: now[0])
    assert unclip("train", recipe, "--minutes", 7).code == 0
    assert left == pytest.approx([7 * 60, 5 * 60])


def test_minutes_that_are_none(unclip: RunCli, recipe: Path) -> None:
    unclip("train", recipe, "--minutes", 0).fails(2, "--minutes", "got 0")


def test_minutes_end_measuring_with_the_step_at_hand(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes two minutes, and one is there."""
    now, made, advance = [100.0], list[str](), Trainer.advance

    def slowly(self: Trainer) -> Any:
        now[0] += 120
        made.append(self.task.name)
        return advance(self)

    monkeypatch.setattr("unclip.train.clock.Clock.now", lambda _: now[0])
    monkeypatch.setattr(Trainer, "advance", slowly)
    done = unclip("train", recipe, "--budget", "10m", "--minutes", "1")
    assert (done.code, made) == (3, ["clip"])
    assert done.out.splitlines()[-1] == (
        "stopped before the steps of 'clip' were measured; go on with: "
        f"unclip train {recipe} --resume"
    )


def test_a_recipe_in_pieces_is_the_recipe_at_once(unclip: RunCli, recipe: Path) -> None:
    """Every call does a step; each but the last ends with 3 and the command that goes on."""
    stops = []
    while (done := unclip("train", recipe, "--minutes", "1e-6", "--resume")).code == 3:
        where, _, command = done.out.splitlines()[-1].partition("; go on with: unclip ")
        assert command == f"train {recipe} --resume"
        stops.append(where.removeprefix("time is up, stopped "))
    assert done.code == 0, done.err
    assert "the model is ready" in done.out
    assert stops == [
        *(f"and saved at step {step} of 4 of 'clip'" for step in (1, 2, 3)),
        "before 'decoder'",
        *(f"and saved at step {step} of 3 of 'decoder'" for step in (1, 2)),
    ]
    assert unclip("train", recipe, "--out", "whole").code == 0
    for stage in ("clip", "decoder"):
        one, other = (
            load_file(f"{run}/model/{stage}/weights.safetensors")
            for run in ("runs/little", "whole")
        )
        assert all(one[key].equal(other[key]) for key in one)


def test_a_budget_is_spent_and_kept(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.train.run.seconds_per_step", lambda *_: 10.0)
    shares = ["--set", "stages.clip.train.share=1", "--set", "stages.decoder.train.share=1"]
    done = unclip("train", recipe, *shares, "--budget", "2min", "--stage", "clip")
    assert done.code == 0, done.err
    assert done.out.index("s/step  steps  pictures  minutes") < done.out.index("clip: steps 1")
    assert done.out.index("time left over goes to later stages") < done.out.index("clip: steps 1")
    assert "\nclip: steps 1 to 5\n" in done.out
    assert "clip 5/5" in done.out
    done = unclip("train", recipe, "--resume")
    assert "clip: finished, 5 steps" in done.out
    left = int(step_of(Path("runs/little/decoder")))
    assert f"decoder: steps 1 to {left}\n" in done.out
    assert 8 <= left <= 11, "clip left most of its minute"
    recorded = json.loads(Path("runs/little/recipe.json").read_text())
    assert recorded["budget"] == 2.0
    assert [recorded["stages"][n]["train"]["steps"] for n in ("clip", "decoder")] == [5, left]


def test_a_stage_that_will_hardly_learn_is_warned_of(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes 10 s; a tenth of 100 and of 200 steps, and 3 % more, takes 51.5 minutes."""
    monkeypatch.setattr("unclip.train.run.seconds_per_step", lambda *_: 10.0)
    steps = {"clip": 100, "decoder": 200}
    settings = [
        f"stages.{n}.train.{k}" for n, s in steps.items() for k in ("share=1", f"steps={s}")
    ]
    given = [word for one in settings for word in ("--set", one)]
    done = unclip("train", recipe, "--dry-run", "--budget", "3m", *given)
    assert done.code == 0, done.err
    for name, count in (("clip", "5 steps"), ("decoder", "11 steps")):
        assert f"{count} of '{name}' are few, the recipe has {steps[name]}" in done.err
    assert "a budget of 5 min gives every stage a tenth of the recipe's steps, 69 min" in done.out


def test_dry_run_of_a_budget_shows_the_plan_and_touches_nothing(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unclip.train.run.seconds_per_step", lambda *_: 0.01)
    shares = ["--set", "stages.clip.train.share=1", "--set", "stages.decoder.train.share=3"]
    done = unclip("train", recipe, "--dry-run", "--budget", "40m", *shares)
    assert done.code == 0, done.err
    table = done.out[: done.out.index("would train 2 stages for 40 min on cpu")]
    rows = {line.split()[0]: line.split() for line in table.splitlines() if line.split()}
    assert rows["stage"] == ["stage", "s/step", "steps", "pictures", "minutes"]
    for name, minutes, batch in (("clip", 10, 4), ("decoder", 30, 2)):
        each, steps, samples, taken = (float(x.replace(",", "")) for x in rows[name][1:])
        assert each == 0.01
        assert steps == pytest.approx(0.97 * minutes * 6000, rel=0.02)  # building takes time too
        assert samples == steps * batch
        assert taken == pytest.approx(steps / 6000, abs=0.06)
    assert not list(Path().iterdir())
    data = ["--set", "data.path=nowhere"]
    unclip("train", recipe, "--dry-run", "--budget", "1h", *data).fails(1, "nowhere")


def test_dry_run_says_what_it_costs_and_touches_nothing(unclip: RunCli, recipe: Path) -> None:
    done = unclip("train", recipe, "--dry-run")
    assert done.code == 0, done.err
    rows = {line.split()[0]: line for line in done.out.splitlines() if line.split()}
    assert {"stage", "clip", "decoder", "all"} <= rows.keys()
    assert "FLOP" in rows["clip"]
    assert "iB" in rows["decoder"]
    assert not list(Path().iterdir())


def test_dry_run_ends_with_what_it_would_do_and_what_to_type(
    unclip: RunCli, recipe: Path, dataset: Path
) -> None:
    wanted = ["--stage", "clip", "--set", "prompts=['a fox']", "--out", "mine"]
    for again in ("", "--resume "):
        *_, said, _, _, command = unclip("train", recipe, *wanted, "--dry-run").out.splitlines()
        assert re.fullmatch(
            r"would train 1 stage in about [\d.]+ \w+ on cpu, 1 thread, in \w+", said
        )
        start, _, typed = command.partition(": ")
        assert start == "nothing was written; to train into mine"
        assert typed.startswith(f"unclip train {recipe} {again}--set ")
        assert Path("mine").exists() is bool(again)
        assert unclip(*shlex.split(typed)[1:]).code == 0


def test_a_network_that_was_changed_is_refused_before_any_work(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unclip("train", recipe, "--stage", "clip").code == 0
    monkeypatch.setattr(Trainer, "run", lambda *_: pytest.fail("it must not begin"))
    before = {file: file.read_bytes() for file in Path().rglob("*") if file.is_file()}
    changed = ["--resume", "--set", "stages.clip.network.vision.width=32"]
    for more in ([], ["--dry-run"]):
        unclip("train", recipe, *changed, *more).fails(
            1,
            "stage 'clip' in runs/little",
            "vision.width = 16",
            "it is 32",
            "set it back",
            "--out",
        )
    after = {file: file.read_bytes() for file in Path().rglob("*") if file.is_file()}
    assert before == after


def test_a_precision_that_this_machine_is_slow_in_is_said(
    unclip: RunCli, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ["--dry-run", "--set", "stages.decoder.train.precision=bfloat16"]
    line = "stages.decoder.train.precision is bfloat16, which cpu"
    for has, said in ((False, True), (True, False)):
        monkeypatch.setattr("unclip.device.cpu_has_bf16", lambda has=has: has)
        done = unclip("train", recipe, *wanted)
        assert (line in done.out) is said
        assert "stages.clip" not in done.out


def test_dry_run_of_the_paper_says_what_it_costs_and_that_its_data_are_not_here(
    unclip: RunCli,
) -> None:
    done = unclip("train", "dalle2", "--dry-run", "--stage", "upsampler_1024")
    done.fails(1, "no dataset folder at")
    assert "283 M" in done.out
    assert not list(Path().iterdir())


def test_dry_run_fails_as_training_would_where_the_data_are_not_there(
    unclip: RunCli, recipe: Path, dataset: Path
) -> None:
    missing = ["--set", "data.path=nowhere"]
    unclip("train", recipe, "--dry-run", *missing).fails(1, "no dataset folder at nowhere")


def test_an_empty_picture_is_named_before_training(
    unclip: RunCli, recipe: Path, dataset: Path
) -> None:
    (dataset / "red.png").write_bytes(b"")
    done = unclip("train", recipe, "--dry-run")
    assert done.code == 0, done.err
    named = f"unclip: warning: 1 picture is empty or gone: {dataset / 'red.png'}\n"
    assert done.err == named


def test_what_of_the_data_is_not_used_is_said(unclip: RunCli, recipe: Path, dataset: Path) -> None:
    (dataset / "red.txt").rename(dataset / "rde.txt")
    (dataset / "grey.txt").unlink()
    said = [
        "unclip: warning: 2 pictures have no caption: "
        f"{dataset / 'grey.png'}, {dataset / 'red.png'}",
        f"unclip: warning: 1 text file has no picture: {dataset / 'rde.txt'}",
    ]
    assert unclip("train", recipe, "--dry-run").err.splitlines() == said
    assert unclip("train", recipe, "--stage", "clip").err.splitlines() == said


def test_a_recipe_s_home_and_its_byte_order_mark(
    unclip: RunCli, recipe: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(dataset.parent))
    text = recipe.read_text().replace(str(dataset), f"~/{dataset.name}")
    assert "~/" in text
    recipe.write_text(text, encoding="utf-8-sig")
    assert unclip("train", recipe, "--stage", "clip").code == 0
    written = json.loads(Path("runs/little/recipe.json").read_text())
    assert written["data"]["path"] == f"~/{dataset.name}"
    again = ["--set", "stages.clip.from=~/here/runs/little/model", "--out", "again"]
    assert unclip("train", recipe, *again, "--stage", "clip").code == 0


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--set", "stages.clip.train.step=5"], ["stages.clip.train.step", "'steps'"]),
        (["--set", "stages.clip.train.steps=no"], ["stages.clip.train.steps", "'no'"]),
        (["--set", "nam=x"], ["'nam'", "'name'"]),
        (["--set", "data.pth=x"], ["data.pth", "'path'"]),
        (["--set", "data.path=~nobody-of-this-name/x"], ["data", "~nobody-of-this-name"]),
        (["--set", "data.source=foldr"], ["foldr", "'folder'"]),
        (["--set", "tokenizer.context=9"], ["context", "tokenizer.context, 9", "got 8"]),
        (
            ["--set", "tokenizer.vocab_size=999"],
            ["tokenizer.vocab_size, 999", "got 320"],
        ),
        (["--stage", "decodr"], ["decodr", "'decoder'"]),
        (["--set", "stages.decoder.network.out_channels=6"], ["out_channels", "3"]),
        (["--dry-run", "--set", "stages.decoder.network.out_channels=6"], ["out_channels", "3"]),
        (["--device", "tpu"], ["tpu"]),
        (["--minutes", "nan"], ["--minutes must be above 0, got nan"]),
        (["--minutes", "0", "--dry-run"], ["--minutes must be above 0, got 0"]),
        (
            ["--budget", "1h", "--set", "budget=2h"],
            ["--budget 1h and --set budget=2h set the same"],
        ),
        (["--set", "seed=1", "--set", "seed=2"], ["--set seed=1 and --set seed=2 set the same"]),
        (["--budget", "3d"], ["a budget is a time such as 3h, 90m, 45min", "'3d'"]),
        (["--budget", "0"], ["a budget is a time", "'0'"]),
        (["--set", "budget=soon"], ["'budget'", "such as 3h", "'soon'"]),
        (
            ["--budget", "3h", "--set", "stages.decoder.train.share=3"],
            ["stages.clip.train.share", "missing"],
        ),
    ],
)
def test_bad_usage(arguments: list[str], parts: list[str], unclip: RunCli, recipe: Path) -> None:
    unclip("train", recipe, *arguments).fails(2, *parts)
    assert not list(Path().iterdir())


def test_an_unknown_recipe(unclip: RunCli) -> None:
    unclip("train", "emojy").fails(2, "emojy", "emoji-cpu", "dalle2")


def test_a_recipe_that_is_no_toml(unclip: RunCli, recipe: Path) -> None:
    recipe.write_text("name = ")
    unclip("train", recipe).fails(2, str(recipe), "not valid TOML")


def test_pictures_without_captions(unclip: RunCli, recipe: Path, dataset: Path) -> None:
    for file in dataset.glob("*.txt"):
        file.unlink()
    unclip("train", recipe).fails(1, str(dataset), "no captions", "blue.txt")
    assert not list(Path().iterdir())


def test_no_data(unclip: RunCli, recipe: Path) -> None:
    unclip("train", recipe, "--set", "data.path=nowhere").fails(1, "nowhere")
    assert not list(Path().iterdir())


@pytest.mark.parametrize("out", ["file", "file/run", "/proc/run"])
def test_a_run_that_cannot_be_written(out: str, unclip: RunCli, recipe: Path) -> None:
    Path("file").write_text("in the way")
    unclip("train", recipe, "--out", out).fails(1, "cannot write", out)


def test_stages_and_tokenizer_of_another_model(
    unclip: RunCli, recipe: Path, tmp_path: Path
) -> None:
    """CLIP as it is, the decoder to go on with: a fine-tuning that changes one of the two."""
    assert unclip("train", recipe, "--out", "first").code == 0
    model = Path("first/model").resolve()
    kept = ("name", "prompts", "data", "stages.decoder.train")
    lines = [line for line in recipe.read_text().splitlines() if line.startswith(kept)]
    tuned = tmp_path / "tuned.toml"
    tuned.write_text(
        f"stages.clip.from = '{model}'\n"
        f"stages.decoder.from = '{model}'\nstages.decoder.sampling.steps = 3\n"
        + "\n".join(lines)
        + f"\n[tokenizer]\nmodel = '{model}'\nvocab_size = 320\ncontext = 8\n"
    )
    done = unclip("train", tuned, "--out", "second")
    assert done.code == 0, done.err
    assert "clip: taken as it is" in done.out
    first, second = Path("first/model"), Path("second/model")
    assert (second / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    clip, decoders = (
        [load_file(run / name / "weights.safetensors") for run in (first, second)]
        for name in ("clip", "decoder")
    )
    assert all(clip[0][key].equal(clip[1][key]) for key in clip[0])
    gaps = [
        float((decoders[0][k].float() - decoders[1][k].float()).abs().max()) for k in decoders[0]
    ]
    assert 0 < max(gaps) < 0.1, "three steps from where it was"
    assert json.loads((second / "decoder" / "config.json").read_text())["sampling"]["steps"] == 3
    assert "\n clip" not in unclip("train", tuned, "--dry-run").out
    assert unclip("train", tuned, "--out", "second", "--resume").code == 0


def test_a_stage_that_the_other_model_lacks(unclip: RunCli, recipe: Path, tmp_path: Path) -> None:
    assert unclip("train", recipe, "--out", "first", "--stage", "clip").code == 0
    other = tmp_path / "other.toml"
    model = Path("first/model").resolve()
    other.write_text(recipe.read_text() + f"[stages.upsampler]\nfrom = '{model}'\n")
    unclip("train", other).fails(2, "stages.upsampler.from", "has no stage 'upsampler'", "clip")


def test_the_memory_of_each_of_many_gpus_is_told(unclip: RunCli) -> None:
    words = ["train", "tiny", "--stage", "prior", "--dry-run", "--gpus", "2,64"]
    done = unclip(*words)
    assert done.code == 0, done.err
    rows = [line.split() for line in done.out.splitlines() if line.strip()[:4] in ("ddp ", "fsdp")]
    assert [row[:3] for row in rows] == [
        [engine, gpus, batch]
        for gpus, batch in (("2", "32"), ("64", "1"))
        for engine in ("ddp", "fsdp")
    ]
    told = json.loads(unclip(*words, "--json").out)["memory"]
    assert [round(one["total"] / 2**30, 6) for one in told] == pytest.approx(
        [float(row[-2]) for row in rows], rel=0.01
    )
    unclip("train", "tiny", "--gpus", "2").fails(2, "--gpus is for --dry-run")
    unclip(*words[:-1], "many").fails(2, "--gpus must be counts such as 8 or 8,64,256", "many")
    unclip(*words[:-1], "3").fails(2, "a batch of 64 cannot be divided among 3 processes")
