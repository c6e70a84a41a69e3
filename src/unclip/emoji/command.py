"""`unclip data emoji`: its options, and what it builds."""
# Without `from __future__ import annotations`: typer reads these types from another module.

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ..errors import OutputError, counted


@dataclass(frozen=True)
class Emoji:
    """Render the emoji corpus that the bundled model learns from.

    \b
    Examples:
      npm install --prefix assets
      unclip data emoji --out data/emoji
      unclip data emoji --out data/small --vocabulary everyday --styles noto,flat
    """

    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write.")]
    assets: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="The npm packages that `npm install --prefix assets` fetches."
        ),
    ] = Path("assets/node_modules")
    vocabulary: Annotated[
        str, typer.Option(metavar="everyday|all", help="Which emoji: 290 everyday ones, or all.")
    ] = "all"
    styles: Annotated[
        str | None,
        typer.Option(
            metavar="A,B",
            help="Which drawings; the first style is the one that captions do not name.  "
            "[default: all styles there are]",
            show_default=False,
        ),
    ] = None

    def build(self, on_progress: Callable[[int, int], None]) -> str:
        """Write the corpus; returns a line that says so."""
        from .corpus import build

        out, styles = self.out, self.styles
        if out.is_dir() and any(out.iterdir()) and not (out / "corpus.json").is_file():
            raise OutputError(
                f"{out} holds something that is no emoji corpus; choose another --out"
            )
        chosen = {"styles": [style.strip() for style in styles.split(",")]} if styles else {}
        count = build(out, self.assets, self.vocabulary, on_progress=on_progress, **chosen)
        return f"{out}: {counted(count, 'glyph')}; look at them with `unclip data inspect {out}`"


COMMAND = Emoji
