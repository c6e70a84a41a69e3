"""Where numbers go: every logger is told the same, and what is done again is read once."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from unclip.errors import UsageError
from unclip.train.loggers import LOGGERS, Place, open_loggers
from unclip.train.loggers.jsonl import FILE, JsonLines, read_log


def place(folder: Path, step: int = 0) -> Place:
    return Place(folder, "tiny", "clip", step, {"name": "tiny"})


class FakeRun:
    """A run of W&B that writes down what it is given."""

    def __init__(self, **options: Any) -> None:
        self.options, self.logged, self.alerts = options, list[dict[str, Any]](), list[str]()
        self.finished = False

    def define_metric(self, name: str, step_metric: str) -> None:
        assert (name, step_metric) == ("*", "step")

    def log(self, values: dict[str, Any]) -> None:
        self.logged.append(values)

    def alert(self, title: str, text: str) -> None:
        self.alerts.append(text)

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[FakeRun]:
    runs: list[FakeRun] = []

    def init(**options: Any) -> FakeRun:
        runs.append(FakeRun(**options))
        return runs[-1]

    module: Any = ModuleType("wandb")
    module.init, module.Image = init, lambda path: SimpleNamespace(path=path)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return runs


@pytest.mark.parametrize("name", LOGGERS.names())
def test_every_logger_takes_everything(name: str, tmp_path: Path, wandb: Any) -> None:
    *_, logger = open_loggers([name], place(tmp_path))
    picture = tmp_path / "step-00000002.png"
    Image.new("RGB", (5, 4)).save(picture)
    logger.scalars(1, {"loss": 1.0, "grad_norm": math.nan})
    logger.note(1, "1 step skipped")
    logger.picture(2, picture)
    logger.close()
    again = LOGGERS[name](place(tmp_path, 1))
    again.scalars(2, {"loss": 0.5})
    again.close()


def test_a_line_of_json_is_there_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    logger = JsonLines(place(tmp_path))
    logger.scalars(3, {"loss": 0.1 + 0.2, "grad_norm": math.inf})
    (line,) = (tmp_path / "clip" / FILE).read_text().splitlines()
    assert json.loads(line) == {"step": 3, "loss": 0.1 + 0.2, "grad_norm": None}
    logger.close()


def test_what_is_done_again_counts_once_and_notes_stay(tmp_path: Path) -> None:
    """Killed after step 4, gone on with after step 2; a line was torn."""
    logger = JsonLines(place(tmp_path))
    for step in (1, 2):
        logger.scalars(step, {"loss": 10.0 * step})
    logger.scalars(2, {"validation": 7.0})
    logger.note(3, "skipped")
    for step in (3, 4):
        logger.scalars(step, {"loss": 99.0})
    logger.close()
    file = tmp_path / "clip" / FILE
    with file.open("a") as opened:
        opened.write('{"step": 5, "lo')
    logger = JsonLines(place(tmp_path, 2))
    for step in (3, 4):
        logger.scalars(step, {"loss": 10.0 * step})
    logger.close()
    lines = read_log(tmp_path / "clip")
    assert [(line["step"], line["loss"]) for line in lines if "loss" in line] == [
        (1, 10.0),
        (2, 20.0),
        (3, 30.0),
        (4, 40.0),
    ]
    assert [line for line in lines if "loss" not in line] == [
        {"step": 2, "validation": 7.0},
        {"step": 3, "note": "skipped"},
    ]
    assert read_log(tmp_path / "nowhere") == []


def test_a_run_of_wandb_is_gone_on_with(tmp_path: Path, wandb: list[FakeRun]) -> None:
    for step in (0, 4):
        *_, logger = open_loggers(["wandb"], place(tmp_path, step))
        logger.scalars(step + 1, {"loss": 1.5})
        logger.note(step + 1, "a worker was killed")
        logger.close()
    first, second = wandb
    assert first.options["id"] == second.options["id"]
    assert first.options["resume"] == "allow"
    assert (first.options["name"], first.options["config"]) == ("tiny/clip", {"name": "tiny"})
    assert second.logged == [{"loss": 1.5, "step": 5}]
    assert second.alerts == ["step 5: a worker was killed"]
    assert first.finished and second.finished


def test_what_is_missing_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"needs W&B: pip install 'unclip\[wandb\]'"):
        open_loggers(["wandb"], place(tmp_path))
    with pytest.raises(UsageError, match=r"needs TensorBoard: pip install 'unclip\[train\]'"):
        open_loggers(["tensorboard"], place(tmp_path))
    with pytest.raises(UsageError, match=r"unknown logger 'wandbb'.*did you mean 'wandb'"):
        open_loggers(["wandbb"], place(tmp_path))


def test_no_logger_is_imported_that_is_not_asked_for() -> None:
    code = (
        "import sys, unclip.train.loggers as l; l.LOGGERS['jsonl'];"
        "print([m for m in ('wandb', 'tensorboard') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_tensorboard_leaves_out_what_is_done_again(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step, losses in ((0, (10.0, 20.0, 99.0)), (2, (30.0,))):
        *_, logger = open_loggers(["tensorboard"], place(tmp_path, step))
        for number, loss in enumerate(losses, start=step + 1):
            logger.scalars(number, {"loss": loss})
        logger.close()
    found = EventAccumulator(str(tmp_path / "clip" / "events"))
    found.Reload()
    events = found.Scalars("clip/loss")
    assert [(event.step, event.value) for event in events] == [(1, 10.0), (2, 20.0), (3, 30.0)]
