"""What commands that draw do: some pictures at once, or many in a job that can be resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..bulk.drawing import checked, draw_places, note_template
from ..bulk.jobs import Job
from ..bulk.layout import Layout, called
from ..bulk.names import shortened, slug
from ..bulk.places import Place, places_of
from ..errors import UsageError, about, counted
from ._draw import deliver, drawing
from ._jobs import Jobs
from ._output import SEVERAL, Target, check_room
from ._progress import stage_progress
from ._terminal import complain, duration, say

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..bulk.manifest import Manifest
    from ..cost import Cost
    from ..facade import Pipeline
    from ..media.grid import Grid
    from ..types import Step


def draw(command: Any) -> None:
    """Draw what a command asks for, write it, say so.

    Args:
        command: a `DrawCommand`, whose file imports this one.
    """
    jobs = Jobs(command)
    target = _target(command, jobs)
    if jobs.are_many or (command.combinatorial and target is not None and target.is_folder):
        _draw_long(command, jobs, target)
    else:
        _draw_at_once(command, jobs, target)


@about("output")
def _target(command: Any, jobs: Jobs) -> Target | None:
    """Where pictures go; None where a name is still to be made. Raises UsageError."""
    from ..media.film import FILM_FORMATS
    from ..media.writing import format_of

    if command.output is None:
        return Target(Path("."), True, grid=True) if command.grid else None
    if jobs.template is None:
        target = Target.of(command.output, command.fps)
        if command.grid and (target.is_stdout or target.fps is not None):
            text = f"--grid writes several pictures, and -o {command.output} holds one"
            raise UsageError(text).about("grid")
        return replace(target, grid=command.grid)
    suffix = Path(jobs.template.text).suffix
    if command.fps is not None and suffix.lower() in FILM_FORMATS:
        raise UsageError(f"-o {command.output}: a film has a name without fields in braces")
    format_of(Path(jobs.template.text))
    return Target(jobs.template.folder, True, suffix=suffix, grid=command.grid)


@dataclass(frozen=True)
class Several:
    """The sheet of several prompts that are written as one."""

    layouts: Sequence[Layout]
    counts: Sequence[int]
    written: str

    def names(self, count: int) -> list[str]:
        """Those of each request."""
        pairs = zip(self.layouts, self.counts, strict=True)
        return [name for layout, own in pairs for name in layout.names(own)]

    def _grid(self, count: int, size: tuple[int, int]) -> Grid:
        from ..media.grid import Grid

        return Grid(count, size)

    def size(self, cost: Cost) -> tuple[int, int]:
        """(height, width) of the sheet."""
        return self._grid(cost.pictures, cost.size).whole

    def make(self, pictures: Sequence[Image]) -> Image:
        """With a record that says of which prompt it is."""
        from ..media.grid import make_grid
        from ..record import Record

        if len(pictures) == 1:
            return pictures[0]
        sheet, first = make_grid(pictures), Record.of(pictures[0])
        made = replace(first, prompt=self.written, n=len(pictures), ability=SEVERAL)
        sheet.info["unclip"] = made.to_json()
        return sheet


def _draw_at_once(command: Any, jobs: Jobs, target: Target | None) -> None:
    """All pictures, then their file or files."""
    from ..abilities._several import cost_of

    started, every = time.monotonic(), jobs.all()
    first = every[0].request
    command.check_inputs(first)
    written = every[0].written or getattr(first, "prompt", "")
    name = every[0].layout.name if len(every) == 1 else slug(written)
    target = target or Target.default(f"{name}-{first.seed}")
    target.check([f"{name}-{first.seed}"])
    preview = command.shown()
    pipe = command.load(one_pass=len(every) == 1 and first.one_pass)
    layouts = [called(job.layout, pipe.name) for job in every]
    sheet: Any = layouts[0]
    if len(every) > 1:
        sheet = Several(layouts, [job.count for job in every], written)
        cost = cost_of(pipe, *(job.request for job in every))
        target.expect(cost, sheet)
        with drawing(pipe, cost=cost, preview=preview) as on_step:
            drawn = pipe.run_many([job.request for job in every], on_step)
    else:
        expect = partial(target.expect, sheet=sheet)
        with drawing(pipe, expect, preview=preview) as on_step:
            drawn = [pipe.run(first, on_step)]
    for job, pictures in zip(every, drawn, strict=True):
        note_template(pictures, job.written)
    pictures = [one for own in drawn for one in own]
    seeds = sorted({job.request.seed for job in every})
    span = layouts[0].seeds(len(pictures) if len(seeds) == len(every) else every[0].count)
    command.open(deliver(pictures, sheet, target, span, started))


def _draw_long(command: Any, jobs: Jobs, target: Target | None) -> None:
    """Batch by batch; what is drawn is written, and listed, before the next."""
    from ..bulk.manifest import Manifest

    started = time.monotonic()
    target = target or Target(Path(_folder_name(command, jobs)), True)
    if not target.is_folder or target.grid:
        wrong = "--grid" if target.grid else f"-o {command.output}"
        raise UsageError(
            f"{wrong} is for one request; many go into a folder: -o DIR/, or -o with names such as "
            "'DIR/{prompt}-{seed}.png'"
        ).about("grid" if target.grid else "output")
    if jobs.folder is not None and os.path.realpath(target.path) == os.path.realpath(jobs.folder):
        text = f"{target.path} is where the pictures come from: give another folder"
        raise UsageError(text).about("output")
    target.check()
    manifest = Manifest(target.path)
    every = [job for job in jobs.all(manifest.seeds) if not _is_within(job, target.path)]
    pipe = command.load()
    places = places_of(every, target.suffix, manifest, pipe)
    good, faults = checked(pipe, [one for one in places if not one.is_done])
    for text in faults:
        complain(text)
    try:
        drawn = _draw_all(pipe, good, manifest)
    except KeyboardInterrupt:
        complain(f"what is drawn is in {target.path}: the same command draws the rest", "")
        raise
    there = sum(sum(one.there) for one in places)
    what = counted(drawn, "picture") + (f", {there:,} there already" if there else "")
    say(f"{target.path}: {what}, in {duration(time.monotonic() - started)}")
    if faults:
        raise typer.Exit(1)


def _folder_name(command: Any, jobs: Jobs) -> str:
    """After the file of prompts or the folder of pictures."""
    from ..bulk.rows import STDIN

    name = command.prompts if jobs.folder is None else jobs.folder.resolve().name
    stem = "prompts" if name in (None, STDIN) else Path(str(name)).stem
    return f"{shortened(stem, 96)}-{type(command).__name__}"


def _is_within(job: Job, folder: Path) -> bool:
    """Whether its picture is one that was drawn, in a folder inside of the folder of pictures."""
    image = job.sources.get("image", "") if job.folder else ""
    return bool(image) and Path(image).resolve().is_relative_to(folder.resolve())


def _draw_all(pipe: Pipeline, places: Sequence[Place], manifest: Manifest) -> int:
    """With bars; returns how many pictures."""
    costs = [place.cost for place in places if place.cost is not None]
    if costs:
        total = sum(costs[1:], costs[0])
        total.check(pipe.policy.limit)
        check_room(manifest.path, total.pictures * total.size[0] * total.size[1] * 3 // 20)
    with _progress(costs) as steps:
        return draw_places(pipe, places, manifest, steps.on_step, steps.done)


class _Steps:
    """Pictures done, in parts: by the steps that are made of all."""

    def __init__(self, costs: Sequence[Cost], update: Any) -> None:
        self._update, self._made, self._before = update, 0, 0
        self._pictures = sum(cost.pictures for cost in costs)
        self._steps = sum(cost.total for cost in costs) or 1

    def on_step(self, step: Step) -> None:
        """After each step of a batch."""
        self._made += len(step.x0)
        self._show()

    def done(self, places: Sequence[Place]) -> None:
        """After each batch: some steps may have counted twice, or were not needed."""
        self._before += sum(place.cost.total for place in places if place.cost is not None)
        self._made = self._before
        self._show()

    def _show(self) -> None:
        share = min(1.0, self._made / self._steps)
        self._update("pictures", int(share * self._pictures), self._pictures)


@contextmanager
def _progress(costs: Sequence[Cost]) -> Iterator[_Steps]:
    with stage_progress(left=True) as update:
        yield _Steps(costs, update)
