"""`unclip train --settings`: every setting of a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._result import report
from ._terminal import console, say

if TYPE_CHECKING:
    from ..train.recipe import Recipe
    from ..train.settings import Section


def show_settings(recipe: Recipe | None) -> None:
    """Print the settings that any recipe may have, or those of one with its values."""
    from ..train.settings import every_section, sections_of

    sections = every_section() if recipe is None else sections_of(recipe)
    report(sections=[one.dump() for one in sections])
    for one in sections:
        _print(one, valued=recipe is not None)
    if recipe is None:
        say("NAME is a stage's name; those of a recipe, with its values: --settings RECIPE")


def _print(section: Section, valued: bool) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    name = f"[{section.name}]  " if section.name else ""
    title = Text(f"{name}{section.about}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column("key", no_wrap=True)
    for column in (["value"] if valued else []) + ["default", "type", "help"]:
        table.add_column(column, overflow="fold")
    for one in section.settings:
        default = one.default or "must be given"
        kind = ", ".join(filter(None, (one.type, one.bounds)))
        cells = [one.key, *([one.value] if valued else []), default, kind, one.help]
        table.add_row(*map(Text, cells))
    console().print(table)
