"""Watching a run: a progress line with images/s and time left, TensorBoard, sample grids."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import UnclipError, UnclipWarning
from ..files import atomic_file
from ..stages import Stage
from . import previews
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
    ) -> None:
        """`warn` shows what a person should know even where `console` is quiet."""
        self.run, self.name, self.trainer, self.console = run, name, trainer, console
        self.warn = warn or partial(console.print, markup=False, highlight=False)
        self.due = 0.0  # when a log gets its next line, on the trainer's clock
        self.board = _board(run.folder / name / "events")
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
        if self.board is not None:
            self.board.close()

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Show the loss and the speed; give everything to TensorBoard."""
        text = f"loss {values['loss']:.4f}  {values['images_per_second']:.0f} images/s"
        self.progress.update(self.bar, completed=step, total=self.trainer.config.steps, text=text)
        now, steps = self.trainer.clock.now(), self.trainer.config.steps
        if not self.console.is_terminal and (now >= self.due or step >= steps):
            self.due = now + LINE_SECONDS
            left = self.progress.tasks[self.bar].time_remaining
            rest = "" if left is None else f"  {left / 60:.0f} min left"
            self.console.print(f"{self.name} {step}/{steps}  {text}{rest}")
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{self.name}/{name}", value, step)

    def saving(self, step: int) -> None:
        """Refresh the model folder with the averaged weights, and the files of a LoRA."""
        self.run.export(self.name, self.trainer.averaged())
        self.run.export_lora(self.name, self.trainer.ema.average)

    def note(self, line: str) -> None:
        """Warn of it."""
        self.warn(f"{self.name}: {line}")

    def preview(self, step: int, stage: Stage) -> None:
        """Draw a sample grid, once the stage can show something: see `previews`."""
        # the average begins as the weights do; of several processes each may hold a part of them
        raw = self.trainer.task.stage if step and self.run.world.alone else None
        try:
            drawn = previews.sheet(self.run, self.name, stage, raw)
        except UnclipError as error:  # a stage at its beginning may do so, and learn yet
            self.warn(f"no preview at step {step}: {error}")
            return
        if drawn is None:
            return
        with atomic_file(self.run.folder / self.name / "previews" / f"step-{step:08d}.png") as file:
            drawn.save(file, format="PNG")


class Bystander:
    """A process that is not the first: it follows in silence, and gives its part of weights."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def scalars(self, step: int, values: dict[str, float]) -> None:
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


def _board(folder: Path) -> Any:
    """A TensorBoard writer, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))
