"""`unclip reconstruct`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ._chosen import BUNDLED, Chosen, choosing
from ._options import (
    Assignments,
    GuidanceScale,
    OneSeed,
    Output,
    Picture,
    Steps,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(choosing(reconstruct, "strict_words"))


def reconstruct(
    image: Picture,
    dims: Annotated[
        str, typer.Option(metavar="K,K,...", help="How many principal components to keep.")
    ] = "10,40,160",
    pictures: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Pictures to find the components from; more of them than components.",
            show_default="those of the model's autoregressive prior",
        ),
    ] = None,
    seed: OneSeed = None,
    output: Output = None,
    steps: Steps = None,
    guidance_scale: GuidanceScale = None,
    assignments: Assignments = None,
    chosen: Chosen = BUNDLED,
) -> None:
    """Draw a picture from a few components of its embedding.

    They are the first principal components of what CLIP sees in it.

    \b
    Examples:
      unclip reconstruct fox.png --pictures photos/
      unclip reconstruct fox.png --dims 2,8,32 --pictures photos/ --seed 7 -o fox-parts.png
    """
    from ._draw import Order, named, picture

    counts = _counts(dims)
    source, known = picture(image), _files(pictures)
    name = named(image, "reconstruct")
    given = {"steps": steps, "guidance_scale": guidance_scale}
    order = Order.of(name, seed, output, assignments, chosen, **given)
    order.make_series("reconstruct", counts, image=source, dims=counts, pictures=known)


def _counts(dims: str) -> list[int]:
    """'10,40' -> [10, 40]. Raises UsageError."""
    try:
        counts = [int(text) for text in dims.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1 or len(set(counts)) < len(counts):
        raise UsageError(f"--dims wants different numbers from 1 on, such as 10,40, got '{dims}'")
    return counts


def _files(folder: Path | None) -> list[Path] | None:
    """The pictures in a folder. Raises UsageError where there are none."""
    from ..data.listing import pictures_in

    if folder is None:
        return None
    if not folder.is_dir():
        raise UsageError(f"cannot read {folder}: there is no such folder")
    files = pictures_in(folder)
    if not files:
        raise UsageError(f"there are no pictures in {folder}")
    return files
