"""What every command that draws has in common: a seed, a place for the pictures, progress."""
# Without `from __future__ import annotations`: see `_options`.

import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from ..errors import UsageError, about, counted
from ._estimate import Estimate
from ._options import SAMPLING, flag, option
from ._output import STDOUT, Sheet, Target
from ._preview import Screen, open_file, preview_to
from ._progress import sampling_progress
from ._terminal import duration, say

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..cost import Cost
    from ..facade import Pipeline
    from ..types import OnStep, Step
    from ._preview import Show

RANDOM = "random, and printed; -1 too"
NAMED = "a new PNG here, named after its content and the seed"
FOLDER = "a folder for one PNG each, a name such as {prompt}-{seed}.png, or - for a PNG to stdout."

Seed = Annotated[int | None, option("--seed", "SEED", "Picture i uses SEED + i.", RANDOM)]
OneSeed = Annotated[int | None, option("--seed", "SEED", "Every picture uses it.", RANDOM)]
Grid = Annotated[bool, flag("--grid", "Write a grid and its pictures one by one.")]
Fast = Annotated[
    bool,
    flag(
        "--fast",
        "Draw with the decoder distilled to a few steps, less exactly: short for --decoder fast.",
        SAMPLING,
    ),
]
Prompts = Annotated[
    str | None,
    option(
        "--prompts",
        "FILE",
        "Prompts in place of PROMPT: a .txt with one a line, or a .csv or .jsonl with settings of "
        "each; - is stdin. Pictures that are there already are skipped.",
    ),
]
WildcardFolder = Annotated[
    str | None,
    option("--wildcards", "DIR", "Where __animals__ in a prompt finds animals.txt."),
]
Combinatorial = Annotated[
    bool, flag("--combinatorial", "Draw all combinations of {a|b} in a prompt, not some by seed.")
]
Output = Annotated[
    str | None,
    option(
        "-o --output",
        "FILE|DIR/|-",
        f"A .png, .webp or .jpg file (a grid of several), {FOLDER}",
        NAMED,
    ),
]
FilmOutput = Annotated[
    str | None,
    option(
        "-o --output",
        "FILE|DIR/|-",
        f"A .png or .jpg strip, a .gif, .webp or .mp4 film that plays forward and back, {FOLDER}",
        NAMED,
    ),
]
Preview = Annotated[
    str | None,
    option(
        "--preview",
        "FILE|terminal|off",
        "Show pictures while they are drawn: in a file that is rewritten, or in the terminal by "
        "kitty, iterm, sixel or blocks.",
        "where a terminal's variables say that it shows pictures",
    ),
]
Opens = Annotated[bool, flag("--open", "Open the result with the system's viewer.")]
Fps = Annotated[float, option("--fps", "FPS", "Frames per second of a film.")]


def assignments(example: str) -> Any:
    """The type of --set."""
    text = f"Any other sampling setting, such as {example}; repeatable."
    return Annotated[list[str] | None, option("--set", "KEY=VALUE", text, group=SAMPLING)]


ANY = -1
"""The seed that stands for a random one."""


def random_seed() -> int:
    """One of 31 bits."""
    return random.randrange(2**31)


@dataclass(frozen=True, kw_only=True)
class DrawOptions:
    """From which seed, to where, with what settings."""

    seed: Seed = None
    output: Output = None
    preview: Preview = None
    opens: Opens = False
    fps: ClassVar[float | None] = None  # of a film; an option of the commands that draw frames
    grid: ClassVar[bool] = False  # these four are options where `command_class` says so
    prompts: ClassVar[str | None] = None
    wildcards: ClassVar[str | None] = None
    combinatorial: ClassVar[bool] = False
    assignments: list[str] | None = None  # of the type `assignments` in each command

    def first_seed(self) -> int:
        """The one given, else a random one."""
        return random_seed() if self.seed in (None, ANY) else self.seed

    def shown(self) -> "Show | None":
        """Who shows the pictures while they are drawn. Raises UsageError and OutputError."""
        if self.opens and self.output == STDOUT:
            text = "--open needs a file to open: -o - sends the picture to stdout"
            raise UsageError(text).about("open")
        if self.preview and self.output and _same_file(self.preview, self.output):
            text = f"--preview and -o are both {self.output}: give two different files"
            raise UsageError(text).about("preview")
        with about("preview"):
            return preview_to(self.preview)

    def open(self, where: Path) -> None:
        """Show what was written, where that was asked for."""
        if self.opens:
            open_file(where)

    def target(self, name: str) -> Target:
        """Where the pictures go, `name` unless said otherwise; found to be writable.

        Raises:
            UsageError: a suffix of no format.
            OutputError: it cannot be written.
        """
        given = self.output
        target = Target.default(name) if given is None else Target.of(given, self.fps)
        target.check([name])
        return target


def _same_file(one: str, other: str) -> bool:
    first, second = (os.path.realpath(os.path.expanduser(path)) for path in (one, other))
    return first == second


def deliver(
    pictures: "Sequence[Image]", sheet: Sheet, target: Target, seeds: str, started: float
) -> Path:
    """Write pictures, and say where, how many, of which seeds and how long they took.

    Returns:
        Where they are.
    """
    where = target.write(pictures, sheet)
    what = counted(len(pictures), "picture")
    size = f"{pictures[0].width}×{pictures[0].height}"
    seconds = duration(time.monotonic() - started)
    beside = target.grid and not target.is_folder and len(pictures) > 1
    more = f" and {where.stem}-1{where.suffix}, ..." if beside else ""
    say(f"{where}{more}: {what}, {seeds}, {size}, in {seconds}", err=target.is_stdout)
    return where


@contextmanager
def drawing(
    pipe: "Pipeline",
    on_cost: "Callable[[Cost], None] | None" = None,
    cost: "Cost | None" = None,
    preview: "Show | None" = None,
) -> "Iterator[OnStep]":
    """Bars while a pipeline draws, and a line if it is going to take long.

    Args:
        on_cost: gets what the request takes, before its first step; may raise.
        cost: of several requests together, from which the time is estimated.
        preview: gets the pictures now and then.
    """
    estimate, look = Estimate(cost), pipe.previews(preview) if preview else None
    with sampling_progress(preview if isinstance(preview, Screen) else None) as show:
        show.cost = cost

        def note(one: "Cost") -> None:
            nonlocal estimate
            if on_cost is not None:
                on_cost(one)
            if cost is None:
                estimate, show.cost = Estimate(one), one

        def on_step(step: "Step") -> None:
            show(step)
            estimate.update(step)
            if look is not None:
                look(step)

        before = pipe.policy
        pipe.policy = replace(before, on_cost=note)
        try:
            yield on_step
        finally:
            pipe.policy = before
