"""What every command that draws has in common: check, load, draw with progress, write, say so."""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import UsageError
from ..media import SUFFIXES as SUFFIXES
from ._chosen import BUNDLED, Chosen
from ._estimate import Estimate
from ._output import Target, as_one, slug
from ._progress import sampling_progress
from ._terminal import duration, say

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..facade import Pipeline
    from ..media import Source
    from ..request import Cost
    from ..types import OnStep, Step

Ability = Callable[..., "list[Image]"]
"""A method of `Pipeline` that makes pictures, such as `Pipeline.edit`."""


@dataclass(frozen=True)
class Order:
    """What a drawing command is told beside its inputs; files are called `name`-SEED."""

    name: str
    seed: int
    target: Target
    settings: Mapping[str, Any]
    chosen: Chosen = BUNDLED
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def of(
        cls,
        name: str,
        seed: int | None,
        output: str | None,
        assignments: list[str] | None,
        chosen: Chosen,
        fps: float | None = None,
        **options: Any,
    ) -> Self:
        """Read what was asked for, and find out whether it can be written.

        Args:
            fps: see `Target.of`.
            options: sampling settings with an option of their own; None where it was not given.

        Raises:
            UsageError: an assignment without `=`, a suffix of no format.
            OutputError: the target cannot be written.
        """
        from ..config import override
        from ..request import given

        settings = override({}, assignments or []) | given(options)
        seed = random.randrange(2**31) if seed is None else seed
        own = f"{name}-{seed}"
        target = Target.default(own) if output is None else Target.of(output, fps)
        target.check([own])
        return cls(name, seed, target, settings, chosen)

    def make(self, ability: str, **arguments: Any) -> None:
        """Draw pictures of seed, seed + 1, ..., write them and say so.

        Args:
            ability: see `REQUESTS`.
        """

        def names(count: int) -> list[str]:
            return [f"{self.name}-{self.seed + index}" for index in range(count)]

        pictures = self._drawn(ability, arguments, names)
        self.deliver(pictures, names(len(pictures)), lambda: as_one(pictures))

    def make_series(
        self, ability: str, captions: Sequence[object] | None = None, **arguments: Any
    ) -> None:
        """Draw a row of pictures, or a film, from one seed, write it and say so.

        Args:
            ability: see `REQUESTS`.
            captions: what each picture is called, and its file after; without them, by number.
        """
        from ..media.grid import Grid

        labels = None if captions is None else [str(caption) for caption in captions]

        def names(count: int) -> list[str]:
            marks = labels or [f"{one:0{len(str(count))}}" for one in range(1, count + 1)]
            return [f"{self.name}-{self.seed}-{mark}" for mark in marks]

        def sheet(cost: Cost) -> tuple[int, int]:
            return Grid(cost.pictures, cost.size, cost.pictures, labels).whole

        pictures = self._drawn(ability, arguments, names, sheet)
        ready = names(len(pictures))
        self.deliver(pictures, ready, lambda: as_one(pictures, len(pictures), labels), True)

    def _drawn(
        self,
        ability: str,
        arguments: Mapping[str, Any],
        names: Callable[[int], list[str]],
        sheet: Callable[[Cost], tuple[int, int]] | None = None,
    ) -> list[Image]:
        """What an ability gives, its arguments and what becomes of it checked beforehand."""
        from ..abilities import REQUESTS
        from ..facade import Pipeline

        request = REQUESTS[ability]
        method: Ability = getattr(Pipeline, request.method)
        check_settings(method, self.settings)
        asked = request.of(**arguments, seed=self.seed, settings=dict(self.settings))
        pipe = self.chosen.load(one_pass=asked.one_pass)
        with drawing(pipe, lambda cost: self.target.expect(cost, names, sheet)) as on_step:
            more = {**arguments, **self.settings}
            return method(pipe, on_step=on_step, seed=self.seed, **more)

    def deliver(
        self,
        pictures: Sequence[Image],
        names: Sequence[str],
        sheet: Callable[[], Image],
        one_seed: bool = False,
    ) -> None:
        """Write pictures where they should go, and say so."""
        where = self.target.write(pictures, names, sheet)
        count, seeds = len(pictures), f"seed {self.seed}"
        if count > 1 and not one_seed:
            seeds = f"seeds {self.seed} to {self.seed + count - 1}"
        what = "1 picture" if count == 1 else f"{count} pictures"
        size = f"{pictures[0].width}×{pictures[0].height}"
        seconds = duration(time.monotonic() - self.started)
        say(f"{where}: {what}, {seeds}, {size}, in {seconds}", err=self.target.is_stdout)


@contextmanager
def drawing(
    pipe: Pipeline,
    on_cost: Callable[[Cost], None] | None = None,
    cost: Cost | None = None,
) -> Iterator[OnStep]:
    """Bars while a pipeline draws, and a word where it is going to take long.

    Args:
        on_cost: told what the request takes, before its first step; may raise.
        cost: of several requests together, which is then all that is told of.
    """
    estimate = Estimate()
    if cost is not None:
        estimate.expect(cost)

    def told(one: Cost) -> None:
        if on_cost is not None:
            on_cost(one)
        if cost is None:
            estimate.expect(one)

    with sampling_progress() as show:

        def on_step(step: Step) -> None:
            show(step)
            estimate.tell(step)

        before = pipe.policy
        pipe.policy = replace(before, on_cost=told)
        try:
            yield on_step
        finally:
            pipe.policy = before


def check_settings(ability: Ability, settings: Mapping[str, Any]) -> None:
    """Raise UsageError where a setting has the name of one of the ability's own arguments."""
    parameters = inspect.signature(ability).parameters.values()
    taken = {one.name for one in parameters if one.kind is not one.VAR_KEYWORD}
    for name in settings:
        if name in taken:
            raise UsageError(
                f"unknown setting '{name}': it is not a setting of the sampling; "
                "it may have an option of its own (see --help)"
            )


def picture(path: str) -> Source:
    """A picture's file, found to be readable. Raises UsageError."""
    from ..media import read_image

    read = read_image(path)
    return path if Path(path).is_file() else read  # a pipe can be read but once


def named(path: str, ability: str) -> str:
    """What files are called that an ability makes of a picture's file."""
    return f"{slug(Path(path).stem)}-{ability}"
