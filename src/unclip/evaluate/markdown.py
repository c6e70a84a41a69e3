"""A report as a Markdown page, its diagrams and pictures as files in a folder beside it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from ..files import atomic_folder, write_text
from ..media.grid import make_grid
from .chart import svg
from .report import Cell, Curve, Grid, Part, Report, Table

QUALITY = 85


def write_markdown(report: Report, path: Path) -> None:
    """Write PATH.md and the folder PATH with what it shows. Raises OutputError."""
    shown: dict[str, Curve | Grid] = {}
    text = _page(report, path.stem, shown)
    with atomic_folder(path.with_suffix("")) as folder:
        for name, part in shown.items():
            if isinstance(part, Curve):
                head = '<svg xmlns="http://www.w3.org/2000/svg"'
                (folder / name).write_text(svg(part).replace("<svg", head, 1), encoding="utf-8")
            else:
                sheet = make_grid(
                    part.pictures, min(part.columns, len(part.pictures)), list(part.labels) or None
                )
                sheet.save(folder / name, format="WEBP", quality=QUALITY, method=6)
    write_text(path, text)


def _page(report: Report, stem: str, shown: dict[str, Curve | Grid]) -> str:
    lines = [f"# {_plain(report.title)}", "", _plain(report.lead), ""]
    if report.headline:
        lines += ["| | |", "|---|---|"]
        lines += [f"| {_plain(what)} | {_cell(cell)} |" for what, cell in report.headline]
        lines.append("")
    for section in report.sections:
        lines += [f"## {_plain(section.title)}", "", _plain(section.text), ""]
        for number, part in enumerate(section.parts):
            lines += [*_part(part, f"{section.name}-{number}", stem, shown), ""]
    if report.left_out:
        lines += ["## Left out", ""]
        lines += [f"- **{_plain(what)}**: {_plain(why)}" for what, why in report.left_out]
        lines.append("")
    if report.facts:
        lines += ["## How to repeat it", "", "| | |", "|---|---|"]
        lines += [f"| {_plain(name)} | {_code(value)} |" for name, value in report.facts]
    return "\n".join(lines).rstrip() + "\n"


def _part(part: Part, name: str, stem: str, shown: dict[str, Curve | Grid]) -> list[str]:
    head = [f"### {_plain(part.title)}", ""] if part.title else []
    note = ["", f"<sub>{_plain(part.note)}</sub>"] if part.note else []
    if isinstance(part, Table):
        return [*head, *_table(part), *note]
    file = f"{name}.svg" if isinstance(part, Curve) else f"{name}.webp"
    shown[file] = part
    return [*head, f"![{_plain(part.title)}]({quote(stem)}/{file})", *note]


def _table(table: Table) -> list[str]:
    names = [_plain(name) for name in table.head]
    rows = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.rows]
    rule = "|".join(["---", *["--:"] * (len(names) - 1)])
    return [f"| {' | '.join(names)} |", f"|{rule}|", *rows]


def _cell(cell: Cell) -> str:
    text = f"**{_plain(cell.text)}**" if cell.strong else _plain(cell.text)
    return f"{text} <sub>{_plain(cell.note)}</sub>" if cell.note else text


def _plain(text: str) -> str:
    """A text as it stands, in whatever place of a page.

    Every sign that Markdown may read as its own is escaped, and an address is no link.
    """
    line = re.sub(r"[\\`*_\[\]|~$]", r"\\\g<0>", " ".join(text.split()))
    line = re.sub(r"^(\d+)(?=[.)](\s|$))|^(?=[-+=#>])", r"\1\\", line)
    line = re.sub(r"&(?=#?\w+;)", "&amp;", line).replace("<", "&lt;")
    return re.sub(r":(?=//)", "&#58;", re.sub(r"(?i)\bwww\.", "www&#46;", line))


def _code(text: str) -> str:
    """A text as code in a cell: the fence is longer than any in it."""
    line = " ".join(text.split()).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}"
