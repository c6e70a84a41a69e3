"""`unclip evaluate`."""
# Without `from __future__ import annotations`: see `_options`.

import shlex
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import Cancelled, UsageError
from ._complete import MODELS
from ._options import (
    A_MODEL,
    Command,
    Device,
    DType,
    Embeddings,
    Loras,
    LowMemory,
    ModelOptions,
    ModelParts,
    fetched,
    option,
)
from ._result import report as tell
from ._terminal import say

if TYPE_CHECKING:
    from ..evaluate.benchmark import Request
    from ..evaluate.options import Sizes
    from ..facade import Pipeline
    from ..pages.report import Report

DEFAULT = "default"
ONLY = "Measure these parts and no others; they are listed below."
SIZES = "How much of something to measure, such as pool=5000; they are listed below. Repeatable."
TRAINED_ON = (
    "A folder of the model's training pictures, to measure memorisation; --data must then hold "
    "pictures that the model never saw."
)


class EvaluateCommand(Command):
    """A command whose help ends with the parts and sizes of every benchmark."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The options, then the lists."""
        super().format_options(ctx, formatter)
        for title, rows in _lists():
            with formatter.section(title):
                formatter.write_dl(rows)


def _lists() -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """What --only and --size take, a list for each benchmark that has any of its own."""
    from ..evaluate.options import OPTIONS, PARTS, Sizes

    own = {name: OPTIONS[name] for name in OPTIONS.names()}
    yield "Parts (--only)", list(PARTS.items())
    for name, one in own.items():
        yield f"Parts of the {name} benchmark", list(one.parts.items())
    yield "Sizes (--size)", _described(Sizes, ())
    for name, one in own.items():
        yield f"Sizes of the {name} benchmark", _described(one.sizes, Sizes.model_fields)


def _described(sizes: "type[Sizes]", without: Collection[str]) -> list[tuple[str, str]]:
    """A line for each size: what it is, its default and what it is with --quick."""
    return [
        (name, f"{field.description} {_values(field.default, sizes.few.get(name))}".rstrip())
        for name, field in sizes.model_fields.items()
        if name not in without
    ]


def _values(usual: object, quick: object) -> str:
    """Both values of a size, as they are typed, where there are any."""
    found = [("default", usual), ("--quick", quick)]
    texts = [f"{name}: {_typed(value)}" for name, value in found if value is not None]
    return f"[{'; '.join(texts)}]" if texts else ""


def _typed(value: object) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate", cls=EvaluateCommand)(Evaluate)


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
        str,
        typer.Argument(
            metavar="MODEL",
            help=f"{A_MODEL} 'default' is the bundled one.",
            autocompletion=MODELS,
        ),
    ] = DEFAULT
    data: Annotated[
        Path, option("--data", "DIR", "The emoji corpus, or a folder of pictures with captions.")
    ] = Path("data/emoji")
    output: Annotated[
        Path,
        option(
            "-o --output", "FILE", "The report, .html or .md; a .json beside it holds the numbers."
        ),
    ] = Path("report.html")
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure less: minutes on a CPU, wide intervals.")
    ] = False
    only: Annotated[str | None, option("--only", "PART,...", ONLY, "all that the data allow")] = (
        None
    )
    pictures: Annotated[
        int | None,
        option(
            "--pictures",
            "N",
            "Compare N drawn pictures with N real ones; the same as --size pictures=N.",
            "1000, or 96 with --quick",
        ),
    ] = None
    assignments: Annotated[list[str] | None, option("--size", "NAME=N", SIZES)] = None
    features: Annotated[
        Path | None,
        option(
            "--features",
            "DIR",
            "Feature extractors of the emoji corpus, which scripts/features.py trains.",
            "DATA/features",
        ),
    ] = None
    clip_features: Annotated[
        str | None,
        option(
            "--clip-features", "CLIP", "A CLIP of any known format, as a further feature extractor."
        ),
    ] = None
    detector: Annotated[
        Path | None,
        option(
            "--detector",
            "DIR",
            "The trained judge that looks at emoji scenes.",
            "detector in the --features folder, or else the bundled one",
        ),
    ] = None
    trained_on: Annotated[Path | None, option("--trained-on", "DIR", TRAINED_ON)] = None
    recipe: Annotated[
        Path | None,
        option(
            "--recipe",
            "FILE",
            "The recipe that the model was trained with.",
            "that of its training run, or the preset of the model's name",
        ),
    ] = None
    decoder: Annotated[
        str | None,
        option("--decoder", "NAME", "Which of the model's decoders draws.", "the model's own"),
    ] = None
    seed: Annotated[int, option("--seed", "SEED", "Seed of all pictures and prompts.")] = 0
    work: Annotated[
        Path | None,
        option(
            "--work",
            "DIR",
            "Where finished work is kept: a stopped command continues there when run again.",
            "FILE.work",
        ),
    ] = None
    workers: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Processes for slow checks; the results do not change."
        ),
    ] = 0
    anyway: Annotated[
        bool,
        typer.Option("--anyway", help="Evaluate even if model and data do not seem to fit."),
    ] = False
    eyes: Annotated[Path | None, typer.Option(hidden=True)] = None  # older names of two options
    eye: Annotated[str | None, typer.Option(hidden=True)] = None
    older: Annotated[list[str] | None, typer.Option("--set", hidden=True)] = None  # now --size
    device: Device = None
    dtype: DType = None
    low_memory: LowMemory = False
    lora: Loras = None
    embedding: Embeddings = None

    def run(self) -> None:
        """Check, measure, write."""
        from ..evaluate.benchmark import Request

        only = _parts(self.only)
        sizes = _sizes(
            self.data, self.quick, self.pictures, (self.older or []) + (self.assignments or [])
        )
        self.check()
        where, named = _model(self.model, self.variant)
        request = Request(
            data=self.data,
            model=where,
            recipe=self.recipe,
            trained_on=self.trained_on,
            features=self.features or self.eyes,
            clip=_clip_at(self.clip_features or self.eye),
            detector=self.detector,
            only=only,
            sizes=sizes,
            seed=self.seed,
            anyway=self.anyway,
            workers=self.workers,
            command=shlex.join(["unclip", *sys.argv[1:]]),
        )
        own = [field.name for field in fields(ModelOptions) if field.name != "model"]
        options = ModelOptions(**{name: getattr(self, name) for name in own})
        kept = self.work or self.output.with_suffix(".work")
        load = lambda: options.load(named).with_decoder(self.decoder)  # noqa: E731
        _write(_measured(load, request, kept), self.output, kept)

    def check(self) -> None:
        """Find what is mistyped, then whether the data are there. Raises UsageError, OutputError.

        Nothing is loaded, and nothing downloaded.
        """
        from ..device import pick_device, pick_dtype

        _check_output(self.output)
        if self.seed < 0:
            raise UsageError(f"--seed must be at least 0, got {self.seed}")
        pick_dtype(self.dtype, pick_device(self.device))
        if not self.model.startswith("hub:"):
            _model(self.model, self.variant)
        clip = self.clip_features or self.eye
        if clip and not clip.startswith("hub:"):
            _clip_at(clip)
        for name in ("recipe", "features", "detector", "trained_on"):
            path = getattr(self, name)
            if path is not None and not path.exists():
                raise UsageError(f"--{name.replace('_', '-')}: there is no {path}")
        if not self.data.is_dir():
            hint = " (build the emoji corpus: unclip data emoji --out data/emoji)"
            emoji = self.data.name == "emoji"
            raise UsageError(f"no folder {self.data} to evaluate on{hint if emoji else ''}")


def _measured(load: Callable[[], "Pipeline"], request: "Request", kept: Path) -> "Report":
    """The evaluation, and how far it is. Raises Cancelled, which tells how it goes on."""
    from ..evaluate.run import evaluate as measure
    from ._progress import stage_progress

    try:
        with stage_progress() as on_progress:
            return measure(load(), request, kept, on_progress)
    except KeyboardInterrupt:
        raise Cancelled(f"stopped; the same command goes on with what is in {kept}") from None


def _write(report: "Report", output: Path, kept: Path) -> None:
    """The page and its numbers, and the first of them in the terminal."""
    from ..evaluate.run import write

    numbers = write(report, output)
    told = [{"what": what, "text": cell.text, "note": cell.note} for what, cell in report.headline]
    gaps = [{"what": what, "why": why} for what, why in report.left_out]
    tell(files=[output, numbers], work=kept, headline=told, left_out=gaps)
    for what, cell in report.headline:
        say(f"{what + ':':<32} {cell.text} {cell.note}".rstrip())
    for what, why in report.left_out:
        say(f"left out: {what}: {why}")
    say(f"{output}: the report; {numbers.name}: its numbers; {kept}: what they were made from")


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


def _sizes(data: Path, quick: bool, pictures: int | None, assignments: list[str]) -> "Sizes":
    """How much is measured, of what the data's benchmark has. Raises UsageError.

    Where the data are missing, a size that any benchmark has will do.
    """
    from ..config import override
    from ..evaluate.benchmark import BENCHMARKS, benchmark_for

    asked = {} if pictures is None else {"pictures": pictures}
    taken = {name: f"--{name} {value}" for name, value in asked.items()}
    asked |= override({}, assignments, "--size", taken)
    names = [benchmark_for(data)] if data.is_dir() else BENCHMARKS.names()
    faults: list[UsageError] = []
    for sizes in (BENCHMARKS[name].sizes for name in names):
        try:
            usual = sizes.quick() if quick else sizes()
            return sizes.parse({**dict(usual), **sizes.renamed(asked)})
        except UsageError as error:
            faults.append(error)
    raise faults[0]
