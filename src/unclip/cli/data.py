"""`unclip data emoji` and `unclip data inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import OutputError, UsageError
from ._progress import counting_progress
from ._terminal import complain, say

if TYPE_CHECKING:
    from ..data import Source

_GROUP = typer.Typer(rich_markup_mode=None, no_args_is_help=False)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_GROUP, name="data")


@_GROUP.callback()
def data() -> None:
    """Build a training corpus, or look at one.

    \b
    Examples:
      unclip data emoji --out data/emoji --vocabulary everyday
      unclip data inspect data/emoji -o sheet.png
    """


@_GROUP.command()
def emoji(
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.")],
    assets: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="The npm packages that `npm install --prefix assets` fetches."
        ),
    ] = Path("assets/node_modules"),
    vocabulary: Annotated[
        str, typer.Option(metavar="everyday|all", help="Which emoji: 290 everyday ones, or all.")
    ] = "all",
    styles: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Which drawings; the first style is the one that captions do not name.",
            show_default="all styles there are",
        ),
    ] = None,
) -> None:
    """Render the emoji corpus that the bundled model learns from.

    \b
    Examples:
      npm install --prefix assets
      unclip data emoji --out data/emoji
      unclip data emoji --out data/small --vocabulary everyday --styles noto,flat
    """
    from ..data import corpus

    _check_replaceable(out)
    chosen = {"styles": [style.strip() for style in styles.split(",")]} if styles else {}
    with counting_progress("glyphs") as on_progress:
        count = corpus.build(out, assets, vocabulary, on_progress=on_progress, **chosen)
    say(f"{out}: {count} glyphs; look at them with `unclip data inspect {out}`")


@_GROUP.command()
def inspect(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A corpus, or a folder of pictures and captions.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where the contact sheet goes.",
            show_default="DIR-sheet.png in this folder",
        ),
    ] = None,
    size: Annotated[int, typer.Option(metavar="SIDE", help="Pixels of a training picture.")] = 128,
    rows: Annotated[int, typer.Option(metavar="ROWS", help="Rows of the sheet.")] = 6,
    columns: Annotated[int, typer.Option(metavar="COLUMNS", help="Columns of the sheet.")] = 8,
    seed: Annotated[int, typer.Option(metavar="SEED", help="Another seed, other samples.")] = 0,
) -> None:
    """Count what a dataset holds, and draw a sheet of samples.

    They are drawn as training sees them.

    \b
    Examples:
      unclip data inspect data/emoji
      unclip data inspect photos/ -o sheet.png --size 64 --seed 3
    """
    from ..data.inspect import contact_sheet, sheet_size, summary
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
    counts, source = summary(folder), _source(folder, size)
    save(contact_sheet(source, rows, columns, seed), path)
    _print(counts)
    for note in source.notes():
        complain(note, "warning")
    say(f"{path}: {rows * columns} samples of {size}×{size}")


def _source(folder: Path, size: int) -> Source:
    from ..data.emoji import EmojiConfig, EmojiScenes
    from ..data.folder import Folder, FolderConfig

    if (folder / "corpus.json").is_file():
        return EmojiScenes(EmojiConfig(path=folder, split="any"), size)
    return Folder(FolderConfig(path=folder), size)


def _print(counts: dict[str, Any]) -> None:
    for name, value in counts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {number}" for key, number in value.items())
        say(f"{name + ':':<16} {value}")


def _check_replaceable(out: Path) -> None:
    """Refuse to put a corpus in the place of something else. Raises OutputError."""
    from ._output import check_writable

    check_writable(out / "corpus.json")
    if out.is_dir() and any(out.iterdir()) and not (out / "corpus.json").is_file():
        raise OutputError(f"{out} holds something that is no emoji corpus; choose another --out")
