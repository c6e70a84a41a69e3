"""`unclip lora`: what a LoRA file holds, and models with it merged."""
# Without `from __future__ import annotations`: see `_options`.

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import counted
from ..plain import parse_json
from ._complete import MODELS
from ._options import A_MODEL, Command, Listed, ListedGroup, ModelParts, fetched, option
from ._result import report
from ._terminal import say, size
from .merge import write

_GROUP = typer.Typer(cls=ListedGroup, rich_markup_mode=None, no_args_is_help=False)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(_GROUP, name="lora")


@_GROUP.callback()
def lora() -> None:
    """Look at a LoRA file, or make a model of it and its base.

    `unclip train` trains one (docs/fine-tuning.md), and `--lora` draws with it.

    \b
    Examples:
      unclip lora info ink.safetensors
      unclip lora merge emoji-cpu ink.safetensors:0.8 -o inked
    """


@dataclass(frozen=True)
class Merge(ModelParts):
    """Write a model with LoRA files merged into its weights.

    \b
    Examples:
      unclip lora merge emoji-cpu ink.safetensors -o inked
      unclip lora merge stable-diffusion/ ink.safetensors:0.8 toys.safetensors:0.5 -o both
    """

    model: Annotated[str, typer.Argument(metavar="MODEL", help=A_MODEL, autocompletion=MODELS)]
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE[:SCALE]...", help="LoRA files, and how much of each."),
    ]
    output: Annotated[Path, option("-o --output", "DIR", "The folder to write.")]
    force: Annotated[
        bool, typer.Option("--force", help="Replace the model that DIR already holds.")
    ] = False

    def run(self) -> None:
        """Write the folder."""
        from ..checkpoints.adapted import adapted
        from ..checkpoints.lora import Lora

        base = self.plan(fetched(self.model, self.variant))
        plan = adapted(base, [Lora.of(one) for one in self.files], [])
        merged = (f"merged into {base.name} ({base.digest}): {one}" for one in plan.added)
        plan = replace(plan, notes=(*plan.notes, *merged), added=())
        write(plan, [base.where], self.output, self.force)


_GROUP.command("merge", cls=Command)(Merge)


@_GROUP.command(cls=Listed)
def info(file: Annotated[Path, typer.Argument(metavar="FILE", help="A LoRA file.")]) -> None:
    """Say what a LoRA file holds: layout, ranks, size, metadata.

    \b
    Examples:
      unclip lora info runs/mine/decoder.lora.safetensors
    """
    from ..checkpoints.lora import describe

    found = describe(file)
    bytes_ = file.stat().st_size
    report(path=file, bytes=bytes_, **found)
    say(f"{file}: {found['layout']}, {size(bytes_)}, {found['hash']}")
    say(f"  changes {found['weights']} weights; rank {_span(found['ranks'])}")
    for key, value in found["metadata"].items():
        say(f"  {key}: {_shown(value)}")


LONG = 100
"""How much of a line of metadata is shown."""


def _shown(value: str) -> str:
    """A line of metadata; of a table, such as a vocabulary, only its length."""
    try:
        table = parse_json(value) if value.startswith("{") else None
    except ValueError:
        table = None
    if isinstance(table, dict) and len(value) >= LONG:
        return counted(len(table), "entry", "entries")
    return value if len(value) < LONG else value[:LONG] + "…"


def _span(ranks: Sequence[Any]) -> str:
    low, high = min(ranks), max(ranks)
    return str(low) if low == high else f"{low} to {high}"
