"""Which model a command draws with: options that come together, on every command alike."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ._options import Device

if TYPE_CHECKING:
    from pathlib import Path

    from ..checkpoints.format import Plan
    from ..facade import Pipeline

_MODEL = typer.Option(
    "--model",
    metavar="MODEL",
    help="A model's folder or file of any known format, hub:org/name, or a bundled model's name.",
    show_default="the bundled model",
)
_LOW_MEMORY = typer.Option(
    "--low-memory", help="Have one stage at a time in memory: slower, for large models."
)
_CLIP = typer.Option(
    "--clip",
    metavar="CLIP",
    help="CLIP weights, if the model lacks them.",
)
_TOKENIZER = typer.Option(
    "--tokenizer", metavar="DIR", help="A tokenizer's files, for a model without."
)
_DIALECT = typer.Option(
    "--dialect",
    metavar="NAME",
    help="Which of a format's dialects, where its files leave it open (see docs/models).",
)
_VARIANT = typer.Option(
    "--variant",
    metavar="NAME",
    help="Which weights, where the model has several: fp16, ema, non_ema, ...",
)
_DTYPE = typer.Option(
    "--dtype",
    metavar="NAME",
    help="Number format of the weights: float32, bfloat16 or float16.",
    show_default="bfloat16 where the hardware is fast in it, else float32",
)
_STRICT_WORDS = typer.Option(
    "--strict-words", help="Refuse a prompt with a word that the model does not know."
)
_NO_LIMIT = typer.Option(
    "--no-limit",
    help="Draw also what takes more than a million sampling steps, which is else refused.",
)


@dataclass(frozen=True)
class Chosen:
    """Which model, and how it is loaded."""

    model: Annotated[str | None, _MODEL] = None
    device: Device = None
    dtype: Annotated[str | None, _DTYPE] = None
    low_memory: Annotated[bool, _LOW_MEMORY] = False
    clip: Annotated[str | None, _CLIP] = None
    tokenizer: Annotated[str | None, _TOKENIZER] = None
    dialect: Annotated[str | None, _DIALECT] = None
    variant: Annotated[str | None, _VARIANT] = None
    strict_words: Annotated[bool, _STRICT_WORDS] = False
    no_limit: Annotated[bool, _NO_LIMIT] = False

    def load(self, model: str | Path | None = None, one_pass: bool = False) -> Pipeline:
        """The pipeline.

        Args:
            model: where none was named.
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

    def plan(self) -> Plan:
        """What it holds, before its weights are read."""
        from ..loading import plan

        return plan(
            fetched(self.model, self.variant),
            clip=fetched(self.clip),
            tokenizer=self.tokenizer,
            dialect=self.dialect,
            variant=self.variant,
        )


def fetched(model: str | None, variant: str | None = None) -> str | None:
    """A model on the hub brought here, with a bar; any other as it was given."""
    if model is None or not model.startswith("hub:"):
        return model
    from .. import hub
    from ._progress import byte_progress

    ref = hub.parse(model)
    with byte_progress(ref.repo) as on_progress:
        return str(hub.fetch(ref, on_progress, variant=variant))


BUNDLED = Chosen()


def choosing(command: Callable[..., None], *without: str) -> Callable[..., None]:
    """A command whose parameter `chosen` is several options on the command line.

    Args:
        command: has a parameter `chosen`.
        without: fields of `Chosen` that this command has no option for.
    """
    hints = get_type_hints(Chosen, include_extras=True)
    names = [one.name for one in fields(Chosen) if one.name not in without]

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        given = {name: kwargs.pop(name) for name in names}
        command(*args, chosen=Chosen(**given), **kwargs)

    own = inspect.signature(command, eval_str=True)
    kept = [one for one in own.parameters.values() if one.name != "chosen"]
    defaults = {one.name: one.default for one in fields(Chosen)}
    more = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=hints[name]
        )
        for name in names
    ]
    signature = own.replace(parameters=[*kept, *more])
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}
    return run
