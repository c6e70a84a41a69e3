"""What every command that draws has in common: check, load, draw with progress, write, say so."""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import UsageError
from ._chosen import BUNDLED, Chosen
from ._output import Target, as_one, slug
from ._progress import sampling_progress
from ._terminal import duration, say

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..images import Source
    from ..pipeline import Pipeline

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".bmp", ".tif", ".tiff")
"""What files of pictures end in."""

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
        target = Target.of(f"{name}-{seed}.png" if output is None else output, fps)
        target.check()
        return cls(name, seed, target, settings, chosen)

    def make(self, ability: str, **arguments: Any) -> None:
        """Draw pictures of seed, seed + 1, ..., write them and say so."""
        pictures = self._drawn(ability, arguments)
        names = [f"{self.name}-{self.seed + index}" for index in range(len(pictures))]
        self.deliver(pictures, names, lambda: as_one(pictures))

    def make_series(
        self, ability: str, marks: Sequence[object], captions: bool = False, **arguments: Any
    ) -> None:
        """Draw a row of pictures, or a film, from one seed, write it and say so.

        Args:
            marks: what tells the pictures apart in their files' names, and in captions.
        """
        pictures = self._drawn(ability, arguments)
        labels = [str(mark) for mark in marks]
        names = [f"{self.name}-{self.seed}-{label}" for label in labels]

        def row() -> Image:
            return as_one(pictures, len(pictures), labels if captions else None)

        self.deliver(pictures, names, row, one_seed=True)

    def _drawn(self, ability: str, arguments: Mapping[str, Any]) -> list[Image]:
        """What the method of that name of a pipeline gives."""
        from ..pipeline import Pipeline

        method: Ability = getattr(Pipeline, ability)
        check_settings(method, self.settings)
        return draw(self.chosen.load(), method, self.settings, seed=self.seed, **arguments)

    def deliver(
        self,
        pictures: Sequence[Image],
        names: Sequence[str],
        sheet: Callable[[], Image],
        one_seed: bool = False,
    ) -> None:
        """Write pictures where they should go, and say so."""
        self.target.write(pictures, names, sheet)
        count, seeds = len(pictures), f"seed {self.seed}"
        if count > 1 and not one_seed:
            seeds = f"seeds {self.seed} to {self.seed + count - 1}"
        what = "1 picture" if count == 1 else f"{count} pictures"
        size = f"{pictures[0].width}×{pictures[0].height}"
        seconds = duration(time.monotonic() - self.started)
        say(f"{self.target.path}: {what}, {seeds}, {size}, in {seconds}")


def draw(
    pipe: Pipeline, ability: Ability, settings: Mapping[str, Any], **arguments: Any
) -> list[Image]:
    """An ability of a pipeline, and how far it is."""
    with sampling_progress() as on_step:
        return ability(pipe, on_step=on_step, **arguments, **settings)


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
    from ..images import read_image

    read = read_image(path)
    return path if Path(path).is_file() else read  # a pipe can be read but once


def named(path: str, ability: str) -> str:
    """What files are called that an ability makes of a picture's file."""
    return f"{slug(Path(path).stem)}-{ability}"
