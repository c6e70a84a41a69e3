"""`unclip evaluate`."""
# Without `from __future__ import annotations`: see `_options`.

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Cancelled, UsageError
from ._options import (
    A_MODEL,
    Command,
    Device,
    DType,
    LowMemory,
    ModelOptions,
    ModelParts,
    fetched,
    option,
)
from ._terminal import say

if TYPE_CHECKING:
    from ..evaluate.benchmark import Request, Sizes
    from ..evaluate.report import Report
    from ..facade import Pipeline

DEFAULT = "default"
PARTS = (
    "Some of: distribution, verifier, languages (the same scenes asked for in English and in "
    "Chinese; a model that was taught no Chinese scores low), ablations (where z_i comes from, "
    "guidance, priors, inversion; called science in the report), memorisation."
)
SIZES = (
    "Any other size: pool, science, scales, captions, inversions, scenes, each, ways, languages, "
    "admission, sample; repeatable."
)
TRAINED_ON = (
    "A folder of the model's training pictures, to measure memorisation; --data then holds "
    "pictures that it never saw."
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate", cls=Command)(Evaluate)


@dataclass(frozen=True)
class Evaluate(ModelParts):
    """Measure a model's pictures, and write a report.

    \b
    Examples:
      unclip evaluate default --data data/emoji -o scenes.html --quick --only verifier
      unclip evaluate default --data data/emoji -o report.html
      unclip evaluate runs/mine/model --data data/emoji --only distribution,memorisation
      unclip evaluate hub:org/name --data photos/ --clip-features ViT-B-32.pt --pictures 600
      unclip evaluate runs/mine/model --data held-out/ --trained-on photos/
    """

    model: Annotated[
        str, typer.Argument(metavar="MODEL", help=f"{A_MODEL} 'default' is the bundled one.")
    ] = DEFAULT
    data: Annotated[
        Path, option("--data", "DIR", "The emoji corpus, or a folder of pictures with captions.")
    ] = Path("data/emoji")
    output: Annotated[
        Path,
        option(
            "-o --output", "FILE", "The report, .html or .md; its numbers go to the .json beside."
        ),
    ] = Path("report.html")
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer of everything: minutes on a CPU, wide intervals.")
    ] = False
    only: Annotated[str | None, option("--only", "PART,...", PARTS, "all that the data allow")] = (
        None
    )
    pictures: Annotated[
        int | None,
        option(
            "--pictures", "N", "Pictures on each side of a distance.", "1000, or 96 with --quick"
        ),
    ] = None
    assignments: Annotated[list[str] | None, option("--set", "KEY=VALUE", SIZES)] = None
    features: Annotated[
        Path | None,
        option(
            "--features",
            "DIR",
            "The benchmark's feature extractors (scripts/features.py trains the emoji corpus').",
            "DATA/features",
        ),
    ] = None
    clip_features: Annotated[
        str | None,
        option("--clip-features", "CLIP", "A CLIP, of any known format, to extract features too."),
    ] = None
    detector: Annotated[
        Path | None,
        option(
            "--detector",
            "DIR",
            "The trained judge of the verifier.",
            "FEATURES/detector, or else the bundled one",
        ),
    ] = None
    trained_on: Annotated[Path | None, option("--trained-on", "DIR", TRAINED_ON)] = None
    recipe: Annotated[
        Path | None,
        option(
            "--recipe",
            "FILE",
            "The recipe that the model was trained with.",
            "that of its run, or the preset of its name",
        ),
    ] = None
    seed: Annotated[int, option("--seed", "SEED", "Of everything drawn.")] = 0
    work: Annotated[
        Path | None,
        option(
            "--work",
            "DIR",
            "Where finished parts are kept: the same command goes on after it was stopped.",
            "FILE.work",
        ),
    ] = None
    workers: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Worker processes for slow checks; the results do not change."
        ),
    ] = 0
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Evaluate a model on data that it does not seem to fit."),
    ] = False
    eyes: Annotated[Path | None, typer.Option(hidden=True)] = None  # older names of two options
    eye: Annotated[str | None, typer.Option(hidden=True)] = None
    device: Device = None
    dtype: DType = None
    low_memory: LowMemory = False

    def run(self) -> None:
        """Check, measure, write."""
        from ..evaluate.benchmark import Request

        _check(self.data, self.output, self.seed)
        where, named = _model(self.model, self.variant)
        request = Request(
            data=self.data,
            model=where,
            recipe=self.recipe,
            trained_on=self.trained_on,
            features=self.features or self.eyes,
            clip=_clip_at(self.clip_features or self.eye),
            detector=self.detector,
            only=_parts(self.only),
            sizes=_sizes(self.quick, self.pictures, self.assignments or []),
            seed=self.seed,
            anyway=self.anyway,
            workers=self.workers,
            command=shlex.join(["unclip", *sys.argv[1:]]),
        )
        own = [field.name for field in fields(ModelOptions) if field.name != "model"]
        options = ModelOptions(**{name: getattr(self, name) for name in own})
        kept = self.work or self.output.with_suffix(".work")
        _write(_measured(lambda: options.load(named), request, kept), self.output, kept)


def _measured(load: Callable[[], "Pipeline"], request: "Request", kept: Path) -> "Report":
    """The evaluation, and how far it is. Raises Cancelled, which tells how it goes on."""
    from ..evaluate.run import evaluate as measure
    from ._progress import stage_progress

    try:
        with stage_progress() as tell:
            return measure(load(), request, kept, tell)
    except KeyboardInterrupt:
        raise Cancelled(f"stopped; the same command goes on with what is in {kept}") from None


def _write(report: "Report", output: Path, kept: Path) -> None:
    """The page and its numbers, and the first of them in the terminal."""
    from ..evaluate.run import write

    numbers = write(report, output)
    for what, cell in report.headline:
        say(f"{what + ':':<32} {cell.text} {cell.note}".rstrip())
    for what, why in report.left_out:
        say(f"left out: {what}: {why}")
    say(f"{output}: the report; {numbers.name}: its numbers; {kept}: what they were made from")


def _check(data: Path, output: Path, seed: int) -> None:
    """What can be refused before anything is loaded. Raises UsageError or OutputError."""
    _check_output(output)
    if not data.is_dir():
        hint = " (build the emoji corpus: unclip data emoji --out data/emoji)"
        raise UsageError(f"no folder {data} to evaluate on{hint if data.name == 'emoji' else ''}")
    if seed < 0:
        raise UsageError(f"--seed must be at least 0, got {seed}")


def _model(model: str, variant: str | None) -> tuple[Path | None, str | Path]:
    """Where a model lies, None for the bundled one, and what it is loaded by."""
    from ..loading import BUNDLED as BUNDLED_MODEL
    from ..loading import find_model

    if model == DEFAULT:
        return None, BUNDLED_MODEL
    named = fetched(model, variant) or model
    return find_model(named), named


def _clip_at(named: str | None) -> Path | None:
    """Where a CLIP lies. Raises UsageError."""
    from ..loading import find_model

    found = fetched(named)
    return find_model(found) if found else None


def _parts(only: str | None) -> tuple[str, ...]:
    """The parts that were asked for. Raises UsageError."""
    from ..evaluate.run import check_parts

    return () if only is None else check_parts([one.strip() for one in only.split(",")])


def _check_output(output: Path) -> None:
    """Raise UsageError or OutputError where no report can be written there."""
    from ._output import check_writable

    if output.suffix not in (".html", ".md"):
        raise UsageError(f"the report is a page: {output} should end in .html or .md")
    check_writable(output)
    check_writable(output.with_suffix(".json"))


def _sizes(quick: bool, pictures: int | None, assignments: list[str]) -> "Sizes":
    """How much is measured. Raises UsageError."""
    from ..config import override
    from ..evaluate.benchmark import FULL, QUICK

    values = (QUICK if quick else FULL).dump()
    if pictures is not None:
        values["pictures"] = pictures
    return type(FULL).parse(override(values, assignments))
