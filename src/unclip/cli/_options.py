"""Options that several commands have, and how a command becomes one.

A command is a dataclass: its fields are its arguments and options, its `run` does the work. The
options that say which model to load are fields of the classes here; a command inherits them, and
they stand after its own, as fields that are keywords only do.
"""
# Without `from __future__ import annotations`: typer reads these types from other modules.

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from ..checkpoints.format import Plan
    from ..facade import Pipeline


def option(flags: str, metavar: str, text: str, default: str = "") -> Any:
    """An option with a value, and its help; `default` says what happens without it."""
    return typer.Option(*flags.split(), metavar=metavar, help=text, show_default=default or True)


A_MODEL = "A model's folder or file of any known format, hub:org/name, or a bundled model."
FAST = "bfloat16 where the hardware is fast in it, else float32"

Model = Annotated[str | None, option("--model", "MODEL", A_MODEL, "the bundled model")]
Device = Annotated[
    str | None, option("--device", "DEVICE", "cpu, cuda, cuda:1 or mps.", "the fastest available")
]
DType = Annotated[
    str | None, option("--dtype", "NAME", "Weights as float32, bfloat16 or float16.", FAST)
]
LowMemory = Annotated[
    bool, typer.Option("--low-memory", help="Keep one stage at a time in memory; slower.")
]
Clip = Annotated[str | None, option("--clip", "CLIP", "CLIP weights, if the model lacks them.")]
Tokenizer = Annotated[
    str | None, option("--tokenizer", "DIR", "Tokenizer files, if the model lacks them.")
]
Dialect = Annotated[
    str | None,
    option("--dialect", "NAME", "Kind of the format, if the files do not tell (docs/models)."),
]
Variant = Annotated[
    str | None,
    option("--variant", "NAME", "Which weights, if there are several: fp16, ema, non_ema, ..."),
]
StrictWords = Annotated[
    bool,
    typer.Option("--strict-words", help="Refuse a prompt with words that the model does not know."),
]
NoLimit = Annotated[
    bool, typer.Option("--no-limit", help="Allow more than a million sampling steps.")
]


class Command(TyperCommand):
    """A command whose dataclass typer fills in; then it runs."""

    def invoke(self, ctx: Any) -> Any:
        """What `run` returns."""
        return super().invoke(ctx).run()


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

    strict_words = False
    no_limit = False

    def load(self, model: str | Path | None = None, one_pass: bool = False) -> "Pipeline":
        """The pipeline.

        Args:
            model: used if there is no --model.
            one_pass: each stage is used once, so that a large one need not stay in memory.
        """
        from ..loading import load
        from ._progress import waiting

        model, clip = fetched(self.model, self.variant) or model, fetched(self.clip)
        with waiting("loading the model"):
            pipe = load(
                model,
                self.device,
                self.dtype,
                low_memory=self.low_memory or (None if one_pass else False),
                clip=clip,
                tokenizer=self.tokenizer,
                dialect=self.dialect,
                variant=self.variant,
            )
        pipe.strict_words = self.strict_words
        if self.no_limit:
            pipe.limit = None
        return pipe


def fetched(model: str | Path | None, variant: str | None = None) -> str | Path | None:
    """The path of a model on the hub, downloaded with a progress bar; any other as it is."""
    if not isinstance(model, str) or not model.startswith("hub:"):
        return model
    from .. import hub
    from ._progress import byte_progress

    ref = hub.parse(model)
    with byte_progress(ref.repo) as on_progress:
        return hub.fetch(ref, on_progress, variant=variant)
