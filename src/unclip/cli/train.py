"""`unclip train`."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Cancelled, UsageError, nearest
from ._options import Device
from ._progress import quiet, waiting
from ._signals import asked_to_stop
from ._terminal import complain, console, duration, say, si, size

if TYPE_CHECKING:
    import torch

    from ..train.budget import Stint
    from ..train.cost import Estimate
    from ..train.recipe import Recipe
    from ..train.run import Run

NOT_YET = 3
"""Exit code where time is up before the last step: --resume goes on."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe's TOML file, or a preset's name.")
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting of the recipe, such as stages.decoder.train.steps=5000; "
            "repeatable.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what it would cost, and touch nothing."),
    ] = False,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Train this stage only; repeatable.", show_default="all of them"
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            metavar="MINUTES", help="Stop after so long, ready to be resumed.", show_default="never"
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Time for the whole recipe on this machine, such as 3h or 45min: each stage "
            "takes as many steps as fit into its share.",
            show_default="the recipe's own steps",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder.", show_default="runs/ and its name"),
    ] = None,
    device: Device = None,
) -> None:
    """Train the stages of a recipe, one after the other.

    Ctrl-C, SIGTERM and SIGHUP stop after the step at hand and save everything; --resume goes on
    exactly there. One process at a time trains in a folder.
    The model so far is in the run's folder as `model`, usable at any time. The exit code is 3
    where --minutes are up before everything is trained. A run keeps its --budget.

    \b
    Examples:
      unclip train emoji-cpu --dry-run
      unclip train emoji-cpu --budget 3h
      unclip train emoji-cpu --resume --minutes 9
      unclip train my.toml --set stages.decoder.train.batch_size=32 --stage decoder
    """
    from ..device import pick_device
    from ..train.recipe import load_recipe
    from ..train.run import Run

    started = time.monotonic()
    loaded = load_recipe(recipe, [*(assignments or []), *_allowed(budget)])
    names = _chosen(loaded, stage or [])
    where = pick_device(device)
    trained = [name for name in names if not loaded.is_frozen(name)]
    _say_what_is_slow(loaded, trained, where)
    run = Run(loaded, out or Path("runs") / loaded.name, where)
    if dry_run:
        _dry_run(run, trained)
        return
    if minutes is not None and minutes <= 0:
        raise UsageError(f"--minutes must be above 0, got {minutes:g}")
    _check(run)
    run.begin(resume)
    again = _command(recipe, assignments or [], stage or [], out, device)
    deadline = None if minutes is None else started + 60 * minutes
    if not run.is_locked:
        say(f"{run.folder} is on a file system without locks: let no other process train there")
    try:
        with stop_on_signal() as stop:
            if not _Session(run, again, deadline, stop).train(names):
                raise typer.Exit(NOT_YET)
    finally:
        run.end()


def _allowed(budget: str | None) -> list[str]:
    """The assignment that --budget stands for. Raises UsageError."""
    from ..train.budget import minutes_of

    return [] if budget is None else [f"budget={minutes_of(budget)}"]


def _chosen(recipe: Recipe, wanted: Sequence[str]) -> list[str]:
    """The stages to train, in the recipe's order. Raises UsageError."""
    for name in wanted:
        if name not in recipe.stages:
            raise UsageError(
                f"the recipe has no stage '{name}'{nearest(name, recipe.stages)}; "
                f"it has: {', '.join(recipe.stages)}"
            )
    return [name for name in recipe.stages if not wanted or name in wanted]


def _command(
    recipe: str,
    assignments: Sequence[str],
    stages: Sequence[str],
    out: Path | None,
    device: str | None,
) -> str:
    """The command that goes on with this run."""
    words = ["unclip", "train", recipe, "--resume"]
    for assignment in assignments:
        words += ["--set", assignment]
    for stage in stages:
        words += ["--stage", stage]
    words += ["--out", str(out)] if out else []
    return shlex.join([*words, "--device", device] if device else words)


@dataclass
class _Session:
    """One call of the command: trains stages until they are done, time is up or a signal came."""

    run: Run
    again: str  # the command that resumes
    deadline: float | None  # on time.monotonic's clock
    stop: Stop

    def train(self, names: Sequence[str]) -> bool:
        """Train what is not finished, one step at the least, however short the time.

        Returns:
            Whether all of it is; not where time is up.

        Raises:
            Cancelled: a signal came.
        """
        trained = False
        for name in names:
            if self.run.recipe.is_frozen(name):
                if not self.run.finished(name):
                    self.run.take(name)
                say(f"{name}: taken as it is")
                continue
            if self.run.finished(name):
                say(f"{name}: finished, {self.run.recipe.train(name).steps} steps")
                continue
            if self.stop() or (trained and self._late()) or not self._stage(name):
                self._stopped(name)
                return False
            trained = True
        left = [name for name in self.run.recipe.stages if not self.run.finished(name)]
        if left:
            say(f"not trained yet: {', '.join(left)}")
            return True
        say("the model is ready; draw with it:")
        model = str(self.run.model)
        say(shlex.join(["unclip", "generate", self._prompt(), "--model", model]))
        return True

    def _stage(self, name: str) -> bool:
        """Train one stage; returns whether its last step is done."""
        from ..train.trainer import Limits
        from ..train.watch import RunWatcher

        fitting = self.run.recipe.budget is not None and not self.run.begun(name)
        if fitting:
            say(f"{name}: measuring how many steps fit into its share of the budget")
        try:
            with waiting(f"{name}: looking at the data"):
                trainer = self.run.trainer(name)
        except (Exception, KeyboardInterrupt):
            if self.stop():  # what fails after a signal came fails because of it
                return False
            raise
        say(f"{name}: steps {trainer.step + 1} to {trainer.config.steps}")
        left = None if self.deadline is None else (self.deadline - time.monotonic()) / 60
        shown = console()
        shown.quiet = quiet.get()
        warn = partial(complain, kind="warning")
        with self.stop.after_step(), RunWatcher(self.run, name, trainer, shown, warn) as watcher:
            return trainer.run(watcher, Limits(left, self.stop))

    def _stopped(self, name: str) -> None:
        """Say where it stopped and how to go on. Raises Cancelled where that was a signal."""
        done, steps = self.run.steps_done(name), self.run.recipe.train(name).steps
        where = f"and saved at step {done} of {steps} of" if done else "before"
        stopped = f"stopped {where} '{name}'; go on with: {self.again}"
        if self.stop():
            raise Cancelled(stopped)
        say(f"time is up, {stopped}")

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() > self.deadline

    def _prompt(self) -> str:
        prompts = self.run.recipe.prompts
        return prompts[0] if prompts else "a red car"


@dataclass
class Stop:
    """Says whether a signal asked to stop."""

    came: list[int] = field(default_factory=list)
    stepping: bool = False

    def __call__(self) -> bool:
        """Whether one did."""
        return bool(self.came)

    @contextmanager
    def after_step(self) -> Iterator[None]:
        """Within, somebody asks after each step, and nothing need be interrupted."""
        self.stepping = True
        try:
            yield
        finally:
            self.stepping = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """A signal: the first outside steps is a KeyboardInterrupt, and so is a second Ctrl-C."""
        first = not self.came
        self.came.append(number)
        if (first and not self.stepping) or (not first and number == signal.SIGINT):
            raise KeyboardInterrupt
        if first:
            # os.write, because a handler may interrupt a print and must not print itself
            with suppress(OSError):  # the terminal may be gone
                os.write(2, b"\nunclip: stopping after this step; Ctrl-C to stop at once\n")


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Yield what says whether a signal asked to stop; a second Ctrl-C ends at once.

    The others may come twice without anybody having asked twice: `timeout` sends its signal to
    the process and then to its group.
    """
    stop = Stop()
    old = {number: signal.signal(number, stop.handle) for number in asked_to_stop()}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _say_what_is_slow(recipe: Recipe, names: Sequence[str], device: torch.device) -> None:
    """Name the stages whose precision this device is slow in."""
    from ..device import describe, fast_dtype

    fast = fast_dtype(device)
    for name in names:
        if recipe.train(name).precision == "bfloat16" != str(fast).removeprefix("torch."):
            say(
                f"stages.{name}.train.precision is bfloat16, which {describe(device)} multiplies "
                "slowly; float32 is faster here, and auto chooses it"
            )


def _check(run: Run) -> None:
    """Find faults before any work, and say what of the data will not be used."""
    for note in run.check().notes():
        complain(note, "warning")


def _dry_run(run: Run, names: Sequence[str]) -> None:
    """Say what training these stages would cost, or what a budget would give them.

    Raises:
        UnclipError: training could not begin. What needs no data has been said by then.
    """
    from ..device import describe
    from ..train import budget
    from ..train.cost import estimate
    from ..train.run import Run

    recipe, device = run.recipe, run.device
    if recipe.budget is None:
        with waiting("measuring this machine"):
            costs = estimate(recipe, names, device)
        _print(costs)
        _check(run)
        return
    _check(run)
    with TemporaryDirectory() as folder:
        with waiting("measuring each stage's steps"):
            stints = budget.plan(Run(recipe, Path(folder), device), names)
        _print_plan(stints)
    say(f"Of {duration(60 * recipe.budget)} on {describe(device)}, measured just now. A stage is")
    say("measured again when it begins; what it leaves or overruns is shared by those after it.")


def _print_plan(stints: Sequence[Stint]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True, show_footer=True)
    table.add_column("stage", "all", no_wrap=True)
    for heading, foot in (
        ("s/step", ""),
        ("steps", f"{sum(one.steps for one in stints):,}"),
        ("pictures", f"{sum(one.samples for one in stints):,}"),
        ("minutes", f"{sum(one.seconds for one in stints) / 60:.1f}"),
    ):
        table.add_column(heading, foot, justify="right", no_wrap=True)
    for one in stints:
        each, minutes = one.seconds / one.steps, one.seconds / 60
        table.add_row(
            one.name, f"{each:.3g}", f"{one.steps:,}", f"{one.samples:,}", f"{minutes:.1f}"
        )
    console().print(table)


def _print(estimate: Estimate) -> None:
    from rich import box
    from rich.table import Table

    costs = estimate.stages
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True, show_footer=True)
    table.add_column("stage", "all", no_wrap=True)
    for heading, foot in (
        ("parameters", si(sum(cost.parameters for cost in costs))),
        ("batch", ""),
        ("steps", f"{sum(cost.steps for cost in costs):,}"),
        ("a step", ""),
        ("memory", size(max(cost.memory_bytes for cost in costs))),
        ("arithmetic", si(sum(cost.total_flops for cost in costs), "FLOP")),
        ("time", duration(sum(cost.seconds for cost in costs))),
    ):
        table.add_column(heading, foot, justify="right", no_wrap=True)
    for cost in costs:
        table.add_row(
            cost.name,
            si(cost.parameters),
            f"{cost.batch_size:,}",
            f"{cost.steps:,}",
            si(cost.step_flops + cost.update_flops, "FLOP"),
            size(cost.memory_bytes),
            si(cost.total_flops, "FLOP"),
            duration(cost.seconds),
        )
    console().print(table)
    say(f"On {estimate.device}, in {estimate.precision}, the whole batch on the one device.")
    say("A step, the optimizer's part included, and its memory are at the largest batch. The time")
    say("follows from what such blocks reach on this device right now; previews, and data that")
    say("come too late, are extra.")
