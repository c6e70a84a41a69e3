"""Watching a run: a progress line with images/s and time left, loggers, sample grids, a report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import UnclipError, UnclipWarning
from ..files import atomic_file
from ..stages import Stage
from . import previews
from .loggers import Place, open_loggers
from .progress import Meter
from .report import write_report
from .run import Run
from .trainer import Trainer

LINE_SECONDS = 10.0
"""At least so long between two lines where no bar can be drawn."""


class RunWatcher:
    """Tells a person how one stage's training goes, and keeps the model folder up to date."""

    def __init__(
        self,
        run: Run,
        name: str,
        trainer: Trainer,
        console: Console,
        warn: Callable[[str], None] | None = None,
        again: str = "",
    ) -> None:
        """Where things are shown.

        Args:
            run: the run.
            name: the stage's.
            trainer: which trains it.
            console: for progress.
            warn: shows what a person should know even where `console` is quiet.
            again: the command that goes on, for the report.
        """
        self.again = again
        self.run, self.name, self.trainer, self.console = run, name, trainer, console
        self.warn = warn or partial(console.print, markup=False, highlight=False)
        self.due = 0.0  # when a log gets its next line, on the trainer's clock
        place = Place(run.folder, run.recipe.settings.name, name, trainer.step, run.recipe.dump())
        self.loggers = open_loggers(_board(run) or (), place)
        self.meter = Meter(run, name, trainer)
        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=120,
            # not a terminal: its numbers are printed as lines; quiet: it would swallow stderr
            disable=console.quiet or not console.is_terminal,
        )
        self.bar = self.progress.add_task(
            name, total=trainer.config.steps, completed=trainer.step, text=""
        )

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.progress.stop()
        for logger in self.loggers:
            logger.close()
        write_report(self.run, self.again)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Show the loss and the speed; give everything to the loggers."""
        text = f"loss {values['loss']:.4f}  {values['images_per_second']:.0f} images/s"
        self.progress.update(self.bar, completed=step, total=self.trainer.config.steps, text=text)
        now, steps = self.trainer.clock.now(), self.trainer.config.steps
        if not self.console.is_terminal and (now >= self.due or step >= steps):
            self.due = now + LINE_SECONDS
            left = self.progress.tasks[self.bar].time_remaining
            rest = "" if left is None else f"  {left / 60:.0f} min left"
            self.console.print(f"{self.name} {step}/{steps}  {text}{rest}")
        self._log(step, self.meter.read(step, values))

    def _log(self, step: int, values: dict[str, float]) -> None:
        for logger in self.loggers:
            logger.scalars(step, values)

    def validated(self, step: int, values: dict[str, float]) -> None:
        """Show the mean, and a picture's distance in dB; give everything to the loggers."""
        text = f"{self.name} {step}  validation loss {values['validation']:.4f}"
        if (psnr := values.get("validation_psnr")) is not None:
            text += f", PSNR {psnr:.2f} dB"
        self.console.print(text, markup=False, highlight=False)
        self._log(step, values)

    def saving(self, step: int) -> None:
        """Refresh the model folder with the averaged weights, the LoRA's files and the report."""
        self.run.export(self.name, self.trainer.averaged())
        write_report(self.run, self.again)

    def note(self, line: str) -> None:
        """Warn of it, and log it."""
        self.warn(f"{self.name}: {line}")
        for logger in self.loggers:
            logger.note(self.trainer.step, line)

    def preview(self, step: int, stage: Stage) -> None:
        """Draw a sample grid, once the stage can show something: see `previews`."""
        # the average begins as the weights do; of several processes each may hold a part of them
        raw = (self.trainer.task.stage if step else stage) if self.run.world.alone else None
        try:
            drawn = previews.sheet(self.run, self.name, stage, raw)
        except UnclipError as error:  # a stage at its beginning may do so, and learn yet
            self.warn(f"no preview at step {step}: {error}")
            return
        if drawn is None:
            return
        path = self.run.folder / self.name / "previews" / f"step-{step:08d}.png"
        with atomic_file(path) as file:
            drawn.save(file, format="PNG")
        for logger in self.loggers:
            logger.picture(step, path)


class Bystander:
    """A process that is not the first: it follows in silence, and gives its part of weights."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """The first process tells them."""

    def validated(self, step: int, values: dict[str, float]) -> None:
        """The first process tells them."""

    def saving(self, step: int) -> None:
        """The first process gathers the averaged weights."""
        self.trainer.averaged()

    def note(self, line: str) -> None:
        """Warn of it: it may be of this process alone."""
        complaint = f"process {self.trainer.world.rank}: {line}"
        warnings.warn(complaint, UnclipWarning, stacklevel=2)

    def preview(self, step: int, stage: Stage) -> None:
        """The first process draws it."""


def _board(run: Run) -> Sequence[str] | None:
    """The loggers beside the run's own log: the recipe's, or TensorBoard where it is installed."""
    named = run.recipe.settings.loggers
    return named if named is not None else ["tensorboard"] if find_spec("tensorboard") else []
