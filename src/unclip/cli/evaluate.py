"""`unclip evaluate`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Cancelled, UsageError
from ._chosen import BUNDLED, Chosen, choosing, fetched
from ._terminal import say

if TYPE_CHECKING:
    from rich.progress import TaskID

    from ..evaluate.bench import Sizes

DEFAULT = "default"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(choosing(evaluate, "model"))


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="[MODEL]",
            help="A model's folder or file of any known format, hub:org/name, a bundled model's "
            "name, or 'default' for the bundled one.",
        ),
    ] = DEFAULT,
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="The emoji corpus, or a folder of pictures with captions."
        ),
    ] = Path("data/emoji"),
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="The report, .html or .md; its numbers go to the .json beside it.",
        ),
    ] = Path("report.html"),
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer of everything: minutes on a CPU, wide intervals.")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="PART,...",
            help="Some of: distribution, verifier, science, memorisation.",
            show_default="all that the data allow",
        ),
    ] = None,
    pictures: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Pictures on each side of a distance.",
            show_default="1000, or 96 with --quick",
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any other size: pool, science, scales, captions, inversions, scenes, each, ways, "
            "sample; repeatable.",
        ),
    ] = None,
    eyes: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The networks that look at the corpus' pictures (scripts/eyes.py trains them).",
            show_default="DATA/eyes",
        ),
    ] = None,
    eye: Annotated[
        str | None,
        typer.Option(
            metavar="CLIP",
            help="A CLIP to look with, of any known format, beside those eyes.",
        ),
    ] = None,
    detector: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The judge that has learnt, for the verifier.",
            show_default="EYES/detector",
        ),
    ] = None,
    trained_on: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="A folder of the model's training pictures: --data are then those it never saw, "
            "and memorisation is measured.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The recipe that the model was trained with.",
            show_default="that of its run, or the preset of its name",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="SEED", help="Of everything drawn.")] = 0,
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where finished parts are kept, so that a run that was broken off goes on.",
            show_default="FILE.work",
        ),
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Even if model and data do not seem to fit each other.")
    ] = False,
    chosen: Chosen = BUNDLED,
) -> None:
    """Measure what a model's pictures are worth, and write a report.

    \b
    Examples:
      unclip evaluate default --data data/emoji -o report.html --quick
      unclip evaluate runs/mine/model --data data/emoji --only distribution,memorisation
      unclip evaluate hub:org/name --data photos/ --eye ViT-B-32.pt --pictures 600
      unclip evaluate runs/mine/model --data held-out/ --trained-on photos/
    """
    from ..evaluate.run import Request, check_parts, write
    from ..evaluate.run import evaluate as measure
    from ..pipeline import BUNDLED as BUNDLED_MODEL
    from ..pipeline import find_model

    _check_output(output)
    if not data.is_dir():
        hint = " (build the emoji corpus: unclip data emoji --out data/emoji)"
        raise UsageError(f"no folder {data} to evaluate on{hint if data.name == 'emoji' else ''}")
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, got {seed}")
    named = BUNDLED_MODEL if model == DEFAULT else (fetched(model) or model)
    parts = check_parts([one.strip() for one in only.split(",")]) if only is not None else None
    request = Request(
        data=data,
        model=find_model(named) if model != DEFAULT else None,
        recipe=recipe,
        trained_on=trained_on,
        eyes=eyes,
        eye=find_model(fetched(eye)) if eye else None,
        detector=detector,
        **({"only": parts} if parts else {}),
        sizes=_sizes(quick, pictures, assignments or []),
        seed=seed,
        anyway=anyway,
        command=shlex.join(["unclip", *_arguments()]),
    )
    kept = work or output.with_suffix(".work")
    try:
        with stage_progress() as tell:
            report = measure(chosen.load(named), request, kept, tell)
    except KeyboardInterrupt:
        raise Cancelled(f"stopped; the same command goes on with what is in {kept}") from None
    numbers = write(report, output)
    for what, cell in report.headline:
        say(f"{what + ':':<32} {cell.text} {cell.note}".rstrip())
    for what, why in report.left_out:
        say(f"left out: {what}: {why}")
    say(f"{output}: the report; {numbers.name}: its numbers; {kept}: what they were made from")


def _check_output(output: Path) -> None:
    """Raise UsageError or OutputError where no report can be written there."""
    from ._output import check_writable

    if output.suffix not in (".html", ".md"):
        raise UsageError(f"the report is a page: {output} should end in .html or .md")
    check_writable(output)
    check_writable(output.with_suffix(".json"))


def _sizes(quick: bool, pictures: int | None, assignments: list[str]) -> Sizes:
    """How much is measured. Raises UsageError."""
    from ..config import override
    from ..evaluate.bench import FULL, QUICK
    from ..evaluate.bench import Sizes as Model

    values = (QUICK if quick else FULL).dump()
    if pictures is not None:
        values["pictures"] = pictures
    return Model.parse(override(values, assignments))


def _arguments() -> list[str]:
    """What stands behind `unclip` on this command line, paths as they were typed."""
    return sys.argv[1:]


@contextmanager
def stage_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each thing that is done, on stderr, gone at the end."""
    from ._terminal import _bars

    with _bars() as bars:
        known: dict[str, TaskID] = {}

        def tell(what: str, done: int, total: int) -> None:
            for name, bar in known.items():
                bars.update(bar, visible=name == what)
            if what not in known:
                known[what] = bars.add_task(what, total=total)
            bars.update(known[what], completed=done, total=total, visible=True)

        yield tell
