"""`unclip merge`: a model between two others."""
# Without `from __future__ import annotations`: see `_options`.

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._complete import MODELS
from ._options import A_MODEL, Command, ModelParts, fetched, option
from ._result import report
from ._terminal import say

if TYPE_CHECKING:
    from ..checkpoints.format import Plan


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("merge", cls=Command)(Merge)


@dataclass(frozen=True)
class Merge(ModelParts):
    """Write the model between two: their weights, averaged.

    A fine-tuned model knows the new and may have forgotten the old; between it and its base lie
    models that know both (WiSE-FT). Both must have the same networks and the same tokenizer.

    \b
    Examples:
      unclip merge emoji-cpu runs/mine/model -o between
      unclip merge emoji-cpu runs/mine/model --weight 0.3 -o mostly-old
    """

    one: Annotated[
        str, typer.Argument(metavar="A", help=f"{A_MODEL} At weight 0.", autocompletion=MODELS)
    ]
    other: Annotated[
        str, typer.Argument(metavar="B", help="Another one. At weight 1.", autocompletion=MODELS)
    ]
    output: Annotated[Path, option("-o --output", "DIR", "The folder to write.")]
    weight: Annotated[float, option("--weight", "W", "How much of B: 0 to 1.")] = 0.5
    force: Annotated[
        bool, typer.Option("--force", help="Replace the model that DIR already holds.")
    ] = False

    def run(self) -> None:
        """Write the folder."""
        from ..checkpoints.interpolated import interpolated

        one, other = (self.plan(fetched(name, self.variant)) for name in (self.one, self.other))
        between = interpolated(one, other, self.weight)
        write(between, [one.where, other.where], self.output, self.force)


def write(plan: "Plan", sources: list[Path], target: Path, force: bool) -> None:
    """Write a model that was made of others, and say so."""
    from ..checkpoints.convert import check_target, convert
    from ._progress import byte_progress

    for source in sources:
        check_target(target, source, force)
    with byte_progress("writing") as on_progress:
        manifest = convert(replace(plan, name=target.name), target, on_progress=on_progress)
    report(path=target, model=manifest.name, hash=manifest.hash)
    say(f"{target}: {manifest.name}, {', '.join(manifest.stages)}; {manifest.hash}")
    say(f'draw with it: unclip generate "a red car" --model {target}')
