"""Options that several commands have, and how a command becomes one.

A command is a dataclass: its fields are its arguments and options, its `run` does the work. The
options that say which model to load are fields of the classes here; a command inherits them, and
they stand after its own, as fields that are keywords only do.
"""
# Without `from __future__ import annotations`: typer reads these types from other modules.

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from ..errors import UnclipError
from ._complete import VALUES
from ._defaults import Defaults, Options, origins, origins_of, unknown_variables
from ._result import FLAG, current
from ._terminal import complain

if TYPE_CHECKING:
    from ..checkpoints.format import Plan
    from ..facade import Pipeline


SAMPLING, MODEL, LIMITS = "Sampling", "Model", "Hardware and limits"
"""Groups of options in a command's help, after those that are its own."""

PLACES = {"-n": -6, "--seed": -5, "--output": -4, "--fps": -3, "--steps": -2}
PLACES |= {"--guidance-scale": -1, "--negative-prompt": -1, "--set": 1}
PLACES |= dict.fromkeys(("--size", "--aspect", "--tile"), 1)
PLACES |= dict.fromkeys(("--grid", "--prompts", "--wildcards", "--combinatorial"), 2)
PLACES |= {"--preview": 3, "--open": 3, FLAG: 4, "--help": 5}
"""In a group of the help: these stand before all others, which have 0, or after them."""

COLUMN = 30
"""Widest first column of a command's help."""


def option(flags: str, metavar: str, text: str, default: str = "", group: str = "") -> Any:
    """An option with a value, and its help.

    Args:
        flags: separated by spaces.
        metavar: what the help calls its value.
        text: the help.
        default: says what happens without it, if the default value does not.
        group: of options; else it is the command's own.
    """
    return typer.Option(
        *flags.split(),
        metavar=metavar,
        autocompletion=VALUES.get(max(flags.split(), key=len)),
        help=f"{text}  [default: {default}]" if default else text,
        show_default=not default,
        rich_help_panel=group or None,
    )


def flag(name: str, text: str, group: str = "") -> Any:
    """An option without a value, and its help."""
    return typer.Option(name, help=text, rich_help_panel=group or None)


A_MODEL = "A model's folder or file of any known format, hub:org/name, or a bundled model."
DTYPES = "Number format of the networks: float32, bfloat16, float16 or float64."
DIALECTS = "Kind of the format, if the files do not tell (docs/models)."
VARIANTS = "Which weights, if there are several: fp16, ema, non_ema, ..."
FAST = "bfloat16 where the hardware is fast in it, else float32"

Model = Annotated[str | None, option("--model", "MODEL", A_MODEL, "the bundled model", MODEL)]
Device = Annotated[
    str | None,
    option(
        "--device",
        "DEVICE",
        "cpu, cuda (NVIDIA, AMD), cuda:1, xpu (Intel) or mps (Apple).",
        "the fastest available",
        LIMITS,
    ),
]
DType = Annotated[str | None, option("--dtype", "NAME", DTYPES, FAST, LIMITS)]
LowMemory = Annotated[
    bool, flag("--low-memory", "Keep one stage at a time in memory; slower.", LIMITS)
]
Clip = Annotated[
    str | None, option("--clip", "CLIP", "CLIP weights, if the model lacks them.", group=MODEL)
]
Tokenizer = Annotated[
    str | None,
    option("--tokenizer", "DIR", "Tokenizer files, if the model lacks them.", group=MODEL),
]
Dialect = Annotated[str | None, option("--dialect", "NAME", DIALECTS, group=MODEL)]
Variant = Annotated[str | None, option("--variant", "NAME", VARIANTS, group=MODEL)]
Loras = Annotated[
    list[str] | None,
    option("--lora", "FILE[:SCALE]", "A LoRA file to add to the weights; repeatable.", group=MODEL),
]
Embeddings = Annotated[
    list[str] | None,
    option(
        "--embedding",
        "[WORD=]FILE",
        "A textual inversion file: a word for the prompt; repeatable.",
        group=MODEL,
    ),
]
StrictWords = Annotated[
    bool,
    flag("--strict-words", "Refuse a prompt with words that the model does not know.", LIMITS),
]
NoLimit = Annotated[bool, flag("--no-limit", "Allow more than a million sampling steps.", LIMITS)]


class Shared:
    """What commands and groups of them have in common, over one of typer's classes.

    An option --json, defaults from the environment and the configuration file, and completion.
    """

    shared_groups: ClassVar[tuple[str, ...] | None] = (MODEL, LIMITS)  # as in `Options`
    params: list[Any]

    def get_params(self, ctx: Any) -> Any:
        """Those of the function, and --json."""
        if _json_option() not in self.params:
            self.params.append(_json_option())
            for param in self.params:
                param.show_envvar = False
        return super().get_params(ctx)  # type: ignore[misc]

    def options_of(self, ctx: Any) -> Options:
        """Those that may have a value by default."""
        return Options.of(ctx, self.get_params(ctx), self.shared_groups)

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """What is not typed is looked for in the environment and in the configuration file."""
        if not ctx.resilient_parsing:
            options = self.options_of(ctx)
            current().command = " ".join(options.path)
            for key, param in options.every.items():
                param.envvar = options.variables(key)
            ctx.default_map = Defaults(ctx, options)
        return super().parse_args(ctx, args)  # type: ignore[misc]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the defaults of the command, not those of a user."""
        ctx.default_map = None
        super().format_help(ctx, formatter)  # type: ignore[misc]

    def invoke(self, ctx: Any) -> Any:
        """What `perform` does; an error says where a value is from that was not typed."""
        options, wanted = self.options_of(ctx), ctx.params.pop("as_json")
        if options.path:
            for line in unknown_variables(ctx.find_root(), options):
                complain(line, "warning")
        with _running(ctx, options, wanted):
            return self.perform(ctx)

    def perform(self, ctx: Any) -> Any:
        """Call the function."""
        return super().invoke(ctx)  # type: ignore[misc]


class ListedGroup(Shared, TyperGroup):
    """A group of commands."""


@cache
def _json_option() -> Any:
    """As typer makes it of a function's argument."""

    def command(as_json: Annotated[bool, flag(FLAG, "Print the result as JSON.")] = False) -> None:
        pass

    app = typer.Typer(add_completion=False)
    app.command()(command)
    (param,) = (one for one in get_command(app).params if one.name == "as_json")
    return param


@contextmanager
def _running(ctx: Any, options: Options, wanted: bool) -> Iterator[None]:
    """Within, a command runs: what it says is no result where a program wants that as JSON."""
    result = current()
    result.wanted |= wanted
    token = origins.set(origins_of(ctx, options))
    try:
        with redirect_stdout(sys.stderr) if result.wanted else nullcontext():
            yield
    except UnclipError as error:
        if origin := origins.get().get(error.field or ""):
            error.args = (f"{error} (from {origin})",)
        raise
    finally:
        origins.reset(token)


class Listed(Shared, TyperCommand):
    """A command whose help lists arguments and options in groups."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Such as `[OPTIONS] PROMPT`: what must be given stands without brackets."""
        pieces = super().collect_usage_pieces(ctx)
        return [piece.replace("{", "").replace("}", "") for piece in pieces]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, the command's own options, then the groups, in columns of one width."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        groups |= {SAMPLING: [], MODEL: [], LIMITS: []}
        parameter: Any
        for parameter in sorted(self.get_params(ctx), key=_place):
            record = parameter.get_help_record(ctx)
            if record and parameter.param_type_name == "argument":  # the usage says the rest
                text = record[1].removesuffix("[required]").rstrip()
                groups["Arguments"].append((parameter.display_name_raw, text))
            elif record:
                groups[parameter.rich_help_panel or "Options"].append(record)
        rows = [first for group in groups.values() for first, _ in group]
        width = max(len(first) for first in rows if len(first) <= COLUMN)
        for title, group in groups.items():
            if group:
                with formatter.section(title):
                    formatter.write_dl([(name.ljust(width), text) for name, text in group], COLUMN)


class Command(Listed):
    """A command whose dataclass typer fills in; then it runs."""

    def perform(self, ctx: Any) -> Any:
        """What `run` returns."""
        return super().perform(ctx).run()


def _place(parameter: Any) -> tuple[bool, int]:
    """Where a parameter stands in its group, for sorting: first what must be given."""
    return not parameter.required, sum(PLACES.get(name, 0) for name in parameter.opts)


@dataclass(frozen=True, kw_only=True)
class ModelPlace:
    """Which model, and where it computes."""

    model: Model = None
    device: Device = None
    dtype: DType = None
    low_memory: LowMemory = False


@dataclass(frozen=True, kw_only=True)
class ModelParts:
    """What to know of a model's files."""

    clip: Clip = None
    tokenizer: Tokenizer = None
    dialect: Dialect = None
    variant: Variant = None

    def plan(self, model: str | Path | None) -> "Plan":
        """What a model holds, before its weights are read."""
        from ..loading import plan

        return plan(
            fetched(model, self.variant),
            clip=fetched(self.clip),
            tokenizer=self.tokenizer,
            dialect=self.dialect,
            variant=self.variant,
        )


@dataclass(frozen=True, kw_only=True)
class ModelOptions(ModelParts, ModelPlace):
    """Which model, and how it is loaded."""

    lora: Loras = None
    embedding: Embeddings = None
    strict_words = False
    no_limit = False

    def load(self, model: str | Path | None = None, one_pass: bool = False) -> "Pipeline":
        """The pipeline.

        Args:
            model: used if there is no --model.
            one_pass: each stage is used once, so that a large one need not stay in memory.
        """
        from ._progress import waiting

        load = self.loader(model, one_pass)
        with waiting("loading the model"):
            pipe = load()
        pipe.strict_words = self.strict_words
        if self.no_limit:
            pipe.limit = None
        return pipe

    def loader(
        self, model: str | Path | None = None, one_pass: bool = False
    ) -> Callable[[], "Pipeline"]:
        """What loads the pipeline, in another process too."""
        from ..loading import load

        model, clip = fetched(self.model, self.variant) or model, fetched(self.clip)
        return partial(
            load,
            model,
            self.device,
            self.dtype,
            low_memory=self.low_memory or (None if one_pass else False),
            clip=clip,
            tokenizer=self.tokenizer,
            dialect=self.dialect,
            variant=self.variant,
            lora=self.lora or (),
            embedding=self.embedding or (),
        )


def fetched(model: str | Path | None, variant: str | None = None) -> str | Path | None:
    """The path of a model on the hub, downloaded with a progress bar; any other as it is."""
    if not isinstance(model, str) or not model.startswith("hub:"):
        return model
    from .. import hub
    from ._progress import byte_progress

    ref = hub.parse(model)
    with byte_progress(ref.repo) as on_progress:
        return hub.fetch(ref, on_progress, variant=variant)
