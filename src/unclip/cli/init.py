"""`unclip init`."""
# Without `from __future__ import annotations`: see `_options`.

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ._options import Command, option
from ._result import report
from ._terminal import say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init", cls=Command)(Init)


@dataclass(frozen=True)
class Init:
    """Write a commented recipe to train by, and check it.

    \b
    Examples:
      unclip init my-recipe.toml --data photos/
      unclip init big.toml --from emoji
      unclip init karlo.toml --from karlo --model karlo-whole --data photos/
    """

    file: Annotated[Path, typer.Argument(metavar="FILE", help="The recipe to write.")]
    start: Annotated[
        str,
        option(
            "--from",
            "NAME",
            "A preset, karlo or sd to fine-tune that model, or any model's path.",
        ),
    ] = "folder"
    data: Annotated[
        str | None,
        option(
            "--data", "DIR", "The pictures and captions to train on.", "photos, or the preset's"
        ),
    ] = None
    model: Annotated[
        str | None,
        option("--model", "MODEL", "Where the model of karlo or sd is.", "on the hub"),
    ] = None

    def run(self) -> None:
        """Write the file, or nothing. Raises UsageError."""
        from ..files import write_text
        from ..train.starting import starting_recipe, validated

        if self.file.exists():
            raise UsageError(f"{self.file} exists already: choose another name, or remove it")
        text = starting_recipe(self.start, self.file, self.data, self.model)
        recipe = validated(text)
        write_text(self.file, text)
        report(recipe=self.file, checked=recipe is not None)
        if recipe is None:
            say("its model is on the hub: it is fetched, and the recipe checked, by the next line")
        say(f"{self.file} is written; what it costs: unclip train {self.file} --dry-run")
