"""`unclip data check`, `prepare` and `inspect`, and a command for each corpus that can be built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError, counted
from ..registry import Registry
from ._data_check import Check
from ._data_prepare import Prepare
from ._options import Command, Listed, ListedGroup, option
from ._progress import counting_progress
from ._result import report
from ._terminal import complain, say

COMMANDS: Registry[type[Any]] = Registry(None, "COMMAND", "data command")
"""`unclip data NAME`: a dataclass whose fields are the options, `out` among them. Its `build` makes
that folder, reports how far it is, and returns the line to print."""

_GROUP = typer.Typer(cls=ListedGroup, rich_markup_mode=None, no_args_is_help=False)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_GROUP, name="data")


@_GROUP.callback()
def data() -> None:
    """Build, check, prepare or look at a training corpus.

    \b
    Examples:
      unclip data check photos/ -o report.html
      unclip data prepare photos/ --out data/photos --size 256
      unclip data emoji --out data/emoji --vocabulary everyday
      unclip data inspect data/emoji -o sheet.png
    """


class Build(Listed):
    """A command whose dataclass typer fills in; then it builds its folder."""

    def perform(self, ctx: Any) -> Any:
        """Check the folder, build it, say so."""
        from ._output import check_writable

        made = super().perform(ctx)
        check_writable(made.out / "any")
        with counting_progress(str(ctx.info_name)) as on_progress:
            done = made.build(on_progress)
        report(path=made.out)
        say(done)


for _name in COMMANDS.names():
    _GROUP.command(_name, cls=Build)(COMMANDS[_name])
_GROUP.command("check", cls=Command)(Check)
_GROUP.command("prepare", cls=Command)(Prepare)


@_GROUP.command(cls=Listed)
def index(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of tars.")],
) -> None:
    """Write how many samples each tar of a folder holds.

    Training then begins at once: tars that img2dataset did not count are read through else.

    \b
    Examples:
      unclip data index tars/
    """
    from ..data.webdataset import index_folder

    with counting_progress("tars") as on_progress:
        shards, faults = index_folder(folder, on_progress)
    for fault in faults:
        complain(fault, "warning")
    samples = sum(shard.samples for shard in shards)
    report(files=[folder / "index.json"], samples=samples)
    say(f"{folder / 'index.json'}: {counted(samples, 'sample')} in {counted(len(shards), 'tar')}")


@_GROUP.command(cls=Listed)
def inspect(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A corpus, or a folder of pictures and captions.")
    ],
    output: Annotated[
        Path | None,
        option(
            "-o --output", "FILE", "Where the contact sheet goes.", "DIR-sheet.png in this folder"
        ),
    ] = None,
    size: Annotated[int, typer.Option(metavar="SIDE", help="Pixels of a training picture.")] = 128,
    rows: Annotated[int, typer.Option(metavar="ROWS", help="Rows of the sheet.")] = 6,
    columns: Annotated[int, typer.Option(metavar="COLUMNS", help="Columns of the sheet.")] = 8,
    seed: Annotated[int, typer.Option(metavar="SEED", help="Another seed, other samples.")] = 0,
    picture_column: Annotated[
        str | None,
        option("--picture-column", "NAME", "Column of the pictures in a table.", "its usual name"),
    ] = None,
    caption_column: Annotated[
        str | None,
        option("--caption-column", "NAME", "Column of the captions in a table.", "its usual name"),
    ] = None,
) -> None:
    """Count what a dataset holds, and draw a sheet of samples.

    They are drawn as training sees them. DIR may be of any source: a folder of pictures, COCO,
    tars, parquet, a saved data set of Hugging Face, embeddings.

    \b
    Examples:
      unclip data inspect data/emoji
      unclip data inspect photos/ -o sheet.png --size 64 --seed 3
      unclip data inspect tables/ --caption-column alt_text
    """
    from ..data import source_at
    from ..data.inspect import contact_sheet, samples_drawn, sheet_size
    from ..media.writing import check_sides, format_of, save
    from ._output import check_writable

    for name, value in (("size", size), ("rows", rows), ("columns", columns)):
        if value < 1:
            raise UsageError(f"--{name} must be at least 1, got {value}")
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, got {seed}")
    path = output or Path(f"{folder.resolve().name}-sheet.png")
    check_sides((size, size), "PNG", "a smaller --size")
    check_sides(sheet_size(rows, columns), format_of(path), "fewer --rows or --columns")
    check_writable(path)
    named = {"picture_column": picture_column, "caption_column": caption_column}
    source = source_at(folder, (size, size), named)
    skipped: list[str] = []
    save(contact_sheet(source, rows, columns, seed, skipped.append), path)
    drawn = samples_drawn(source, rows, columns)
    report(files=[path], summary=source.summary(), samples=drawn)
    _say_counts(source.summary())
    for note in [*source.notes(), *(f"skipped: {line}" for line in dict.fromkeys(skipped))]:
        complain(note, "warning")
    say(f"{path}: {counted(drawn, 'sample')} of {size}×{size}")


def _say_counts(summary: dict[str, Any]) -> None:
    for name, count in summary.items():
        if isinstance(count, dict):
            count = ", ".join(f"{key} {number}" for key, number in count.items())
        say(f"{name + ':':<16} {count}")
