"""Trains a stage of a small recipe in one life after the other, each killed at a given moment.

`python killed.py PLAN`, a JSON file: `folder` of the run, `stage`, `settings` of `tiny`, the stages
that are `given` untrained, and `kills`, each a moment: ["never"], ["seconds", s] after the life
began, or ["event", n]: at the n-th time that something in the folder of states is opened, made,
renamed, removed or brought to the disk.

Prints a line of JSON a life: what was to kill it, the step of the newest state, whose hashes hold,
and how many events there were. Losses are written to `FOLDER.losses`, a line a step, every bit of
them. All lives are forks of this process, which has imported everything and computed nothing.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from unclip.train.recipe import load_recipe
from unclip.train.run import Run
from unclip.train.state import newest_state, step_of
from unclip.train.watch import RunWatcher

WATCHED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


class Losses:
    """A watcher that writes down every loss, and does nothing else."""

    file = -1

    def scalars(self, step: int, values: dict[str, float]) -> None:
        os.write(self.file, f"{step} {values['loss'].hex()}\n".encode())

    def validated(self, step: int, values: dict[str, float]) -> None:
        pass

    def saving(self, step: int) -> None:
        pass

    def note(self, line: str) -> None:
        raise AssertionError(line)

    def preview(self, step: int, stage: Any) -> None:
        pass


class Watcher(Losses, RunWatcher):
    """What a run's own watcher does at a save is done too."""

    saving, preview = RunWatcher.saving, RunWatcher.preview  # type: ignore[assignment]
    note, validated = RunWatcher.note, RunWatcher.validated  # type: ignore[assignment]


class Events:
    """Counts what happens in a folder, and kills this process at event number `last`."""

    def __init__(self, folder: Path, last: float) -> None:
        self.folder, self.last, self.count = str(folder), last, 0
        sys.addaudithook(self.hear)
        fsync = os.fsync

        def syncing(handle: int) -> None:
            here = os.readlink(f"/proc/self/fd/{handle}").startswith(self.folder)
            self.happened(here)
            fsync(handle)
            self.happened(here)

        os.fsync = syncing

    def hear(self, event: str, given: Any) -> None:
        self.happened(event in WATCHED and str(given[0]).startswith(self.folder))

    def happened(self, here: bool) -> None:
        self.count += here
        if self.count >= self.last:
            self.last = float("inf")  # a kill is heard of too
            os.kill(os.getpid(), signal.SIGKILL)


def begun(plan: dict[str, Any]) -> tuple[Run, Any]:
    """A run and its trainer, gone on with where there is a state."""
    folder = Path(plan["folder"])
    run = Run(load_recipe("tiny", plan["settings"]), folder, torch.device("cpu"))
    run.begin(resume=True)
    for name in plan["given"]:
        if not (run.model / name).is_dir():
            torch.manual_seed(0)
            run.export_frozen(name)
    Losses.file = os.open(f"{folder}.losses", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return run, run.trainer(plan["stage"])


def train(plan: dict[str, Any], until: float = float("inf")) -> None:
    """Train to the end, or stop with a saved state after that step: nobody looks on."""
    run, trainer = begun(plan)
    trainer.clock.stop = lambda: trainer.step >= until
    trainer.run(Losses())
    os.close(Losses.file)
    run.end()


def live(plan: dict[str, Any], last: float) -> int:
    """Train to the end, or until killed; returns the number of events."""
    events = Events((Path(plan["folder"]) / plan["stage"] / "states").absolute(), last)
    run, trainer = begun(plan)
    with Watcher(run, plan["stage"], trainer, Console(file=io.StringIO())) as watcher:
        trainer.run(watcher)
    return events.count


def one_life(plan: dict[str, Any], kind: str, when: float = 0.0) -> int:
    """Fork, and kill it as planned; returns the events of a life that ended by itself."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        count = live(plan, when if kind == "event" else float("inf"))
        os.write(writing, str(count).encode())
        os._exit(0)
    os.close(writing)
    if kind == "seconds":
        time.sleep(when)
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading) as told:
        return int(told.read() or 0)


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    states = Path(plan["folder"]) / plan["stage"] / "states"
    for kill in plan["kills"]:
        started = time.monotonic()
        events = one_life(plan, *kill)
        faults: list[str] = []
        found = newest_state(states, faults.append)
        newest = step_of(found[0]) if found else 0
        told = {"kill": kill, "newest": newest, "faults": faults, "events": events}
        line = json.dumps({**told, "seconds": time.monotonic() - started})
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
