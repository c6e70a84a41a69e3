"""`unclip data check`."""
# Without `from __future__ import annotations`: see `_options`.

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import DataError, UsageError, counted
from ._complete import MODELS
from ._options import A_MODEL, option
from ._progress import counting_progress, waiting
from ._result import report
from ._terminal import complain, say

if TYPE_CHECKING:
    from ..data.check import Findings
    from ..evaluate.data_report import Hard

SOURCE = "A folder of pictures and captions, or other data that training reads."
WORKERS = "Processes."


def cores() -> int:
    """Processes that this machine runs at once."""
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Check:
    """Look at every picture and caption, and write a report.

    The report is one page that opens offline: counts, sizes, aspects, captions, duplicates, files
    that cannot be read, and a contact sheet. With --model it also shows the pictures that this
    model finds hardest. Exit code 1: more pictures than --at-most cannot be read.

    \b
    Examples:
      unclip data check photos/
      unclip data check photos/ -o report.html --size 256 --json
      unclip data check photos/ --model runs/mine/model --hardest 32
    """

    source: Annotated[Path, typer.Argument(metavar="SRC", help=SOURCE)]
    output: Annotated[
        Path, option("-o --output", "FILE", "The report; a .json beside it holds the numbers.")
    ] = Path("report.html")
    size: Annotated[
        int, typer.Option(metavar="SIDE", min=1, help="Pixels of a training picture.")
    ] = 256
    at_most: Annotated[
        float,
        typer.Option(
            "--at-most", metavar="SHARE", min=0, max=1,
            help="Largest share of pictures that cannot be read.",
        ),
    ] = 0.01  # fmt: skip
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODEL", autocompletion=MODELS,
            help=f"Show the pictures with this model's highest loss. {A_MODEL}",
        ),
    ] = None  # fmt: skip
    hardest: Annotated[
        int, typer.Option("--hardest", metavar="N", min=1, help="How many of them to show.")
    ] = 32
    workers: Annotated[int | None, option("--workers", "N", WORKERS, "one a core")] = None

    def run(self) -> None:
        """Look, write, say what is wrong."""
        from ..data import source_at
        from ..data.check import examine
        from ._output import check_writable

        if self.output.suffix != ".html":
            raise UsageError(f"the report is a page: {self.output} should end in .html")
        check_writable(self.output)
        with waiting("listing the data"):
            source = source_at(self.source, (self.size, self.size))
            total = source.count
        with counting_progress("pictures") as on_progress:
            found = examine(source.items(), self.workers or cores(), on_progress, total)
        found = replace(found, unused=tuple(source.unused()))
        hard = self._hard(source) if self.model else []
        self._write(source, found, hard)
        self._say(found, source.notes())

    def _hard(self, source: Any) -> "list[Hard]":
        from ..evaluate.data_report import Hard
        from ..train.hardest import hardest

        with counting_progress("losses") as on_progress:
            every = hardest(str(self.model), source, self.hardest, on_progress)
        return [Hard(one.name, one.caption, one.loss) for one in every]

    def _write(self, source: Any, found: "Findings", hard: "list[Hard]") -> None:
        from .._version import __version__
        from ..evaluate.data_report import data_report, thumbnails, wanted
        from ..evaluate.run import write

        pictures = thumbnails(source.items(), wanted(found, hard))
        facts = (("command", shlex.join(["unclip", *sys.argv[1:]])), ("unclip", __version__))
        made = data_report(self.source.resolve().name, found, self.size, pictures, hard, facts)
        beside = write(made, self.output)
        losses = [{"file": one.name, "loss": one.loss} for one in hard]
        report(files=[self.output, beside], summary=found.to_json(self.size), hardest=losses)

    def _say(self, found: "Findings", notes: list[str]) -> None:
        summary = found.to_json(self.size)
        for key in ("pictures", "unreadable", "unused", "duplicates", "smaller_than_size"):
            if summary[key] is not None:
                say(f"{key.replace('_', ' ') + ':':<19} {summary[key]:,}")
        say(f"{'captions:':<19} {summary['captions']:,} of pictures that can be read")
        say(f"{'scripts:':<19} {', '.join(f'{k} {n:,}' for k, n in summary['scripts'].items())}")
        say(f"{self.output}: {counted(len(found.looks), 'picture')} checked")
        if not found.hashed:
            complain("duplicates were not looked for: pip install 'unclip[data]'", "warning")
        for note in notes:
            complain(note, "warning")
        bad = found.unreadable
        if found.unreadable_share > self.at_most:
            raise DataError(
                f"{len(bad):,} of {counted(len(found.looks), 'picture')} cannot be read, more than "
                f"{self.at_most:.0%} (--at-most): {bad[0].name}: {bad[0].fault}; {self.output} "
                "names all"
            )
        for one in bad[:5]:
            complain(f"{one.name} cannot be read: {one.fault}", "warning")
