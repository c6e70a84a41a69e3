"""`unclip train`."""
# Without `from __future__ import annotations`: see `_options`.

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Cancelled, UsageError, counted
from ._complete import PRESETS
from ._memory import say_memory
from ._options import Command, Device, flag, option
from ._plan import say_budget, say_cost, say_plan
from ._progress import quiet, stage_progress, waiting
from ._result import current, report
from ._settings import show_settings
from ._signals import Stop
from ._terminal import complain, console, say

if TYPE_CHECKING:
    import torch

    from ..data import Source
    from ..train.clock import Clock
    from ..train.recipe import Recipe
    from ..train.run import Run
    from ..train.world import World

NOT_YET = 3
"""Exit code where time is up before the last step: --resume goes on."""


A_SETTING = "Change a setting of the recipe, such as stages.decoder.train.steps=5000; repeatable."
A_BUDGET = (
    "Time for the whole recipe on this machine, such as 3h or 45min: each stage takes as many "
    "steps as fit into its share."
)
A_TEACHER = "Another model for the recipe's students to learn from, such as karlo."
A_TIMEOUT = (
    "Processes that torchrun started wait so long for each other; then the one that hangs is named."
)
GPUS = "With --dry-run: the memory that each of so many GPUs needs, such as 8,64,256."


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("train", cls=Command)(Train)


@dataclass(frozen=True)
class Train:
    """Train the stages of a recipe, one after the other.

    Ctrl-C, SIGTERM and SIGHUP stop after the step at hand and save everything; --resume goes on
    exactly there. SIGUSR1 (Ctrl-Break on Windows) saves after the step at hand and goes on.
    One process at a time trains in a folder.
    The model so far is in the run's folder as `model`, usable at any time. The exit code is 3
    where --minutes are up before everything is trained, 130 where a signal stopped it. A run keeps
    its --budget. Started by torchrun, several processes train together (docs/cluster.md).

    \b
    Examples:
      unclip train folder --data photos/ --budget 10m
      unclip train folder --settings
      unclip train emoji-cpu --dry-run
      unclip train emoji-cpu --budget 3h
      unclip train emoji-cpu --resume --minutes 9
      unclip train my.toml --best
      unclip train turbo --teacher karlo/
      unclip train my.toml --set stages.decoder.train.batch_size=32 --stage decoder
      unclip train dalle2 --stage decoder --dry-run --gpus 8,64,256
      torchrun --nproc-per-node 8 -m unclip train my.toml
    """

    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe's TOML file, or a preset's name.",
            show_default=False,
            autocompletion=PRESETS,
        ),
    ] = None
    data: Annotated[
        Path | None,
        option("--data", "DIR", "The pictures and captions to train on.", "the recipe's data.path"),
    ] = None
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=A_SETTING)
    ] = None
    resume: Annotated[bool, flag("--resume", "Go on with a run that was stopped.")] = False
    dry_run: Annotated[bool, flag("--dry-run", "Say what it would cost, and touch nothing.")] = (
        False
    )
    settings: Annotated[
        bool, flag("--settings", "Print every setting of RECIPE, or of any recipe.")
    ] = False
    best: Annotated[
        bool, flag("--best", "Put the states of lowest validation loss into the model.")
    ] = False
    stage: Annotated[
        list[str] | None,
        option("--stage", "NAME", "Train this stage only; repeatable.", "all of them"),
    ] = None
    minutes: Annotated[
        float | None,
        option("--minutes", "MINUTES", "Stop after so long, ready to be resumed.", "never"),
    ] = None
    budget: Annotated[
        str | None, option("--budget", "TIME", A_BUDGET, "the recipe's own steps")
    ] = None
    teacher: Annotated[str | None, option("--teacher", "MODEL", A_TEACHER, "the recipe's own")] = (
        None
    )
    out: Annotated[
        Path | None, option("--out", "DIR", "The run's folder.", "runs/ and the recipe's name")
    ] = None
    device: Device = None
    timeout: Annotated[float, option("--timeout", "MINUTES", A_TIMEOUT)] = 30.0
    gpus: Annotated[str | None, option("--gpus", "COUNT[,COUNT...]", GPUS)] = None

    def run(self) -> None:
        """Train, or what is asked for in its place."""
        from ..train.distributed.joining import join

        if self.settings:
            show_settings(self._loaded(None) if self.recipe else None)
            return
        self._check()
        world, place = join(self.device, self.timeout)
        stop = Stop(speaks=world.is_first)
        clock = self._clock(stop, world)  # which runs from now on
        with world.together(), _speaking(world):
            self._perform(self._run(place, clock), stop)

    def _check(self) -> None:
        """Raise UsageError where options do not go together."""
        if self.recipe is None:
            from ..train.recipe import presets

            raise UsageError(f"name a recipe: a TOML file, or a preset ({', '.join(presets())})")
        if self.gpus is not None and not self.dry_run:
            raise UsageError("--gpus is for --dry-run; torchrun says how many GPUs train")
        if self.minutes is not None and not self.minutes > 0:  # nor NaN
            raise UsageError(f"--minutes must be above 0, got {self.minutes:g}")

    def _clock(self, stop: Stop, world: "World") -> "Clock":
        from ..train.clock import Clock

        clock = Clock(stop=stop, save=stop.save, world=world)
        if self.minutes is not None:
            clock.deadline = clock.now() + 60 * self.minutes
        return clock

    def _loaded(self, budget: str | None) -> "Recipe":
        from ..train.recipe import load_recipe

        assert self.recipe is not None
        return load_recipe(self.recipe, self.assignments or [], budget, self.teacher, self.data)

    def _run(self, place: "torch.device", clock: "Clock") -> "Run":
        """The run that is asked for."""
        from ..train.run import Run

        recipe = self._loaded(self.budget)
        _say_what_is_slow(recipe, self._trained(recipe), place)
        run = Run(recipe, self.out or Path("runs") / recipe.settings.name, place, clock)
        if run.world.is_first:
            run.warn = partial(complain, kind="warning")
        return run

    def _names(self, recipe: "Recipe") -> list[str]:
        """The stages to train or to take. Raises UsageError for one that is unknown."""
        chosen = [name for name in self.stage or [] if recipe.stage(name)]  # knows all names
        return [name for name in recipe.stages if not chosen or name in chosen]

    def _trained(self, recipe: "Recipe") -> list[str]:
        return [name for name in self._names(recipe) if name in recipe.trained]

    def _perform(self, run: "Run", stop: Stop) -> None:
        """With a run, do what is asked for."""
        from ..train.distributed.joining import restarted

        trained, alone = self._trained(run.recipe), run.world.alone
        if self.gpus is not None:
            say_memory(run.recipe, trained, self.gpus)
        elif self.dry_run:
            if self.resume:
                run.check_states()
            times = [*_typed("--budget", self.budget), *_typed("--minutes", self.minutes)]
            _dry_run(run, trained, self._command(run.exists(), alone, times))
        elif self.best:
            _take_best(run, trained)
        else:
            session = _Session(run, self._command(True, alone), stop)
            _train(session, self._names(run.recipe), self.resume or restarted())

    def _command(self, resume: bool, alone: bool, times: Sequence[str] = ()) -> str:
        """What to type, to train with these options."""
        start = ["unclip"] if alone else ["torchrun", "...", "-m", "unclip"]
        words = [*start, "train", str(self.recipe), *(["--resume"] if resume else [])]
        words += _typed("--data", self.data)
        words += _typed("--set", *self.assignments or [])
        words += _typed("--stage", *self.stage or [])
        words += _typed("--teacher", self.teacher)
        words += _typed("--out", self.out)
        words += _typed("--device", self.device)
        return shlex.join([*words, *times])


def _typed(flag: str, *values: str | float | Path | None) -> list[str]:
    """An option as it is typed, as often as it has a value."""
    texts = (f"{one:g}" if isinstance(one, float) else str(one) for one in values if one)
    return [word for text in texts for word in (flag, text)]


@contextmanager
def _speaking(world: "World") -> Iterator[None]:
    """Within, only the first of several processes says anything, errors apart."""
    if world.is_first:
        yield
        return
    quiet.set(True)
    current().wanted = False
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def _train(session: "_Session", names: Sequence[str], resume: bool) -> None:
    """Hold the run's folder while its stages are trained."""
    run = session.run
    source = _check(run)
    if resume and not run.exists():
        say(f"nothing to resume in {run.folder}: it starts from the beginning")
    run.begin(resume)
    _say_data(run, source)
    if not run.is_locked:
        say(f"{run.folder} is on a file system without locks: let no other process train there")
    try:
        with session.stop.on_signal():
            waits = [name for name in run.recipe.trained if not run.saved.begun(name)]
            if run.recipe.settings.budget is not None and waits:
                session.plan([name for name in names if name in waits])
            if not session.train(names) and run.world.alone:
                raise typer.Exit(NOT_YET)  # which torchrun would take for a failure
    finally:
        stages = {name: _so_far(run, name) for name in names}
        report(run=run.folder, model=run.model, stages=stages)
        run.end()


def _take_best(run: "Run", names: Sequence[str]) -> None:
    """Put the best states into the model."""
    run.begin(resume=True)
    try:
        for name in names:
            step, loss = run.world.first(partial(_best, run, name))
            say(f"{name}: step {step}, validation loss {loss:.4f}")
    finally:
        run.end()
    report(run=run.folder, model=run.model)


def _best(run: "Run", name: str) -> tuple[int, float]:
    found = run.export_best(name)
    return found.step, found.loss


def _so_far(run: "Run", name: str) -> dict[str, Any]:
    """How far a stage is."""
    steps = run.recipe.trained[name].steps if name in run.recipe.trained else 0
    finished = run.finished(name)
    done = run.saved.steps_done(name) if steps else 0
    return {"finished": finished, "done": done, "steps": steps}


@dataclass
class _Session:
    """One call of the command: trains stages until they are done, time is up or a signal came."""

    run: "Run"
    again: str  # the command that resumes
    stop: Stop

    def plan(self, names: Sequence[str]) -> None:
        """Say what the budget gives. Raises Cancelled, or Exit where time is up."""
        from ..train.budget import TimeIsUp

        try:
            say_plan(self.run, names)
        except TimeIsUp as error:
            stopped = f"{error}; go on with: {self.again}"
            if self.stop() or self.run.clock.is_stopped():
                raise Cancelled(stopped) from None
            say(stopped)
            raise typer.Exit(NOT_YET) from None

    def train(self, names: Sequence[str]) -> bool:
        """Train what is not finished, one step at the least, however short the time.

        Returns:
            Whether all of it is; not where time is up.

        Raises:
            Cancelled: a signal came.
        """
        begun = False
        for name in names:
            if name not in self.run.recipe.trained:
                if not self.run.finished(name):
                    self.run.export_frozen(name)
                say(f"{name}: taken as it is")
                continue
            if self.run.finished(name):
                say(f"{name}: finished, {counted(self.run.recipe.trained[name].steps, 'step')}")
                continue
            clock = self.run.clock  # which all processes ask, so that they stop together
            if clock.is_stopped() or (begun and clock.is_over()) or not self._stage(name):
                self._stopped(name)
                return False
            begun = True
        left = [name for name in self.run.recipe.stages if not self.run.finished(name)]
        if left:
            say(f"not trained yet: {', '.join(left)}")
            return True
        say("the model is ready; draw with it:")
        prompt, *_ = (*self.run.recipe.settings.prompts, "a red car")
        say(shlex.join(["unclip", "generate", prompt, "--model", str(self.run.model)]))
        return True

    def _stage(self, name: str) -> bool:
        """Train one stage; returns whether its last step is done."""
        from ..train.watch import Bystander, RunWatcher

        try:
            with waiting(f"{name}: looking at the data"), stage_progress() as self.run.on_progress:
                trainer = self.run.trainer(name)
        except (Exception, KeyboardInterrupt):
            if self.stop():  # what fails after a signal came fails because of it
                raise Cancelled(self._where(name)) from None
            raise
        say(f"{name}: steps {trainer.step + 1} to {trainer.config.steps}")
        if not trainer.world.is_first:
            with self.stop.after_step():
                return trainer.run(Bystander(trainer))
        shown = console()
        shown.quiet = quiet.get()
        warn = partial(complain, kind="warning")
        watching = RunWatcher(self.run, name, trainer, shown, warn, self.again)
        with self.stop.after_step(), watching as watcher:
            return trainer.run(watcher)

    def _stopped(self, name: str) -> None:
        """Say where it stopped and how to go on. Raises Cancelled where that was a signal."""
        if self.run.clock.is_stopped():
            raise Cancelled(self._where(name))
        say(f"time is up, {self._where(name)}")

    def _where(self, name: str) -> str:
        done, steps = self.run.saved.steps_done(name), self.run.recipe.trained[name].steps
        where = f"and saved at step {done} of {steps} of" if done else "before"
        return f"stopped {where} '{name}'; go on with: {self.again}"


def _say_what_is_slow(recipe: "Recipe", names: Sequence[str], device: "torch.device") -> None:
    """Name the stages whose precision this device is slow in."""
    from ..device import describe, fast_dtype

    fast = fast_dtype(device)
    for name in names:
        if recipe.trained[name].precision == "bfloat16" != str(fast).removeprefix("torch."):
            say(
                f"stages.{name}.train.precision is bfloat16, which {describe(device)} multiplies "
                "slowly; float32 is faster here, and auto chooses it"
            )


def _check(run: "Run") -> "Source":
    """Find faults before any work, and say what of the data will not be used."""
    source = run.check()
    for note in source.notes() if run.world.is_first else []:
        complain(note, "warning")
    return source


def _say_data(run: "Run", source: "Source") -> None:
    """What is read, before hours are spent on it."""
    where = getattr(run.recipe.data, "path", None) or run.recipe.settings.data["source"]
    count = "" if source.count is None else f" ({counted(source.count, 'picture')})"
    say(f"data: {where}{count}")


def _dry_run(run: "Run", names: Sequence[str], command: str) -> None:
    """Say what training these stages would cost, or what a budget would give them.

    Args:
        command: what begins the training.

    Raises:
        UnclipError: training could not begin. What needs no data has been said by then.
    """
    if run.recipe.settings.budget is None:
        say_cost(run, names)
        _check(run)
    else:
        _check(run)
        say_budget(run, run.recipe.settings.budget, names)
    report(run=run.folder)
    say(f"nothing was written; to train into {run.folder}: {command}")
