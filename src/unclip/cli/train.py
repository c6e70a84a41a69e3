"""`unclip train`."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Cancelled, UsageError, nearest
from ._options import Device
from ._terminal import console, duration, say, si, size

if TYPE_CHECKING:
    from ..train.cost import Estimate
    from ..train.recipe import Recipe
    from ..train.run import Run


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
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run's folder.", show_default="runs/ and its name"),
    ] = None,
    device: Device = None,
) -> None:
    """Train the stages of a recipe, one after the other.

    Ctrl-C stops after the step at hand and saves everything; --resume goes on exactly there.
    The model so far is in the run's folder as `model`, usable at any time.

    \b
    Examples:
      unclip train emoji-cpu --dry-run
      unclip train emoji-cpu
      unclip train emoji-cpu --resume --minutes 30
      unclip train my.toml --set stages.decoder.train.batch_size=32 --stage decoder
    """
    from ..device import pick_device
    from ..train.recipe import load_recipe
    from ..train.run import Run

    started = time.monotonic()
    loaded = load_recipe(recipe, assignments or [])
    names = _chosen(loaded, stage or [])
    where = pick_device(device)
    if dry_run:
        from ..train.cost import estimate

        _print(estimate(loaded, [n for n in names if not loaded.is_frozen(n)], where))
        return
    if minutes is not None and minutes <= 0:
        raise UsageError(f"--minutes must be above 0, got {minutes:g}")
    run = Run(loaded, out or Path("runs") / loaded.name, where)
    run.check()
    run.begin(resume)
    again = _command(recipe, assignments or [], stage or [], out, device)
    deadline = None if minutes is None else started + 60 * minutes
    with stop_on_signal() as stop:
        _Session(run, again, deadline, stop).train(names)


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
    stop: Callable[[], bool]

    def train(self, names: Sequence[str]) -> None:
        """Train what is not finished. Raises Cancelled on a signal."""
        for name in names:
            if self.run.recipe.is_frozen(name):
                if not self.run.finished(name):
                    self.run.take(name)
                say(f"{name}: taken as it is")
                continue
            steps = self.run.recipe.train(name).steps
            if self.run.finished(name):
                say(f"{name}: finished, {steps} steps")
                continue
            done = self.run.steps_done(name) if self._over() else self._stage(name)
            if done >= steps:
                continue
            stopped = f"stopped and saved at step {done} of {steps} of '{name}'"
            if self.stop():
                raise Cancelled(f"{stopped}; go on with: {self.again}")
            say(f"time is up, {stopped}; go on with: {self.again}")
            return
        left = [name for name in self.run.recipe.stages if not self.run.finished(name)]
        if left:
            say(f"not trained yet: {', '.join(left)}")
            return
        say("the model is ready; draw with it:")
        model = str(self.run.model)
        say(shlex.join(["unclip", "generate", self._prompt(), "--model", model]))

    def _stage(self, name: str) -> int:
        """Train one stage; returns the steps done so far."""
        from ..train.trainer import Limits
        from ..train.watch import RunWatcher

        trainer = self.run.trainer(name)
        left = None if self.deadline is None else (self.deadline - time.monotonic()) / 60
        with RunWatcher(self.run, name, trainer, console()) as watcher:
            trainer.run(watcher, Limits(left, self.stop))
        return trainer.step

    def _over(self) -> bool:
        late = self.deadline is not None and time.monotonic() > self.deadline
        return late or self.stop()

    def _prompt(self) -> str:
        prompts = self.run.recipe.prompts
        return prompts[0] if prompts else "a red car"


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether SIGINT or SIGTERM came; a second one ends at once."""
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)
        # os.write, because a handler may interrupt a print and must not print itself
        os.write(2, b"\nunclip: stopping after this step; once more to stop at once\n")

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


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
            si(cost.step_flops, "FLOP"),
            size(cost.memory_bytes),
            si(cost.total_flops, "FLOP"),
            duration(cost.seconds),
        )
    console().print(table)
    say(f"On {estimate.device}, in {estimate.precision}, the whole batch on the one device.")
    say("A step and its memory are at the largest batch. The time follows from what such blocks")
    say("reach on this device right now; previews, and data that come too late, are extra.")
