"""A report as one HTML file: no script, nothing from elsewhere, light and dark, printable."""

from __future__ import annotations

import base64
import io
from html import escape

from PIL import Image

from ._style import STYLE
from .chart import svg
from .report import Cell, Curve, Grid, Part, Report, Section, Table

QUALITY = 88


def html(report: Report) -> str:
    """The page."""
    body = [
        f"<header><h1>{escape(report.title)}</h1><p class=lead>{escape(report.lead)}</p></header>",
        _headline(report),
        _contents(report),
        *(_section(one) for one in report.sections),
        _left_out(report),
        _facts(report),
    ]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{escape(report.title)}</title>",
            f"<style>\n{STYLE}</style></head><body><main>",
            *(part for part in body if part),
            "</main></body></html>",
            "",
        ]
    )


def _headline(report: Report) -> str:
    if not report.headline:
        return ""
    cards = [
        f"<div><dt>{escape(what)}</dt><dd>{escape(cell.text)}"
        f"{f' <small>{escape(cell.note)}</small>' if cell.note else ''}</dd></div>"
        for what, cell in report.headline
    ]
    return f"<dl class=headline>{''.join(cards)}</dl>"


def _contents(report: Report) -> str:
    links = [f'<a href="#{escape(one.name)}">{escape(one.title)}</a>' for one in report.sections]
    links += ['<a href="#left-out">Left out</a>'] if report.left_out else []
    links += ['<a href="#facts">How to repeat it</a>'] if report.facts else []
    return f"<nav>{' '.join(links)}</nav>"


def _section(section: Section) -> str:
    parts = "\n".join(_part(part) for part in section.parts)
    text = f"<p>{escape(section.text)}</p>" if section.text else ""
    head = f"<h2>{escape(section.title)}</h2>"
    return f'<section id="{escape(section.name)}">{head}{text}\n{parts}</section>'


def _part(part: Part) -> str:
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Curve):
        note = f"<figcaption>{escape(part.note)}</figcaption>" if part.note else ""
        return f"<figure class=chart><h3>{escape(part.title)}</h3>{svg(part)}{note}</figure>"
    return _grid(part)


def _table(table: Table) -> str:
    head = "".join(f"<th scope=col>{escape(one)}</th>" for one in table.head)
    rows = "\n".join(
        f"<tr><th scope=row>{escape(first.text)}</th>{''.join(map(_cell, rest))}</tr>"
        for first, *rest in table.rows
    )
    title = f"<h3>{escape(table.title)}</h3>" if table.title else ""
    note = f"<p class=note>{escape(table.note)}</p>" if table.note else ""
    return (
        f"{title}<div class=scroll><table><thead><tr>{head}</tr></thead>"
        f"<tbody>\n{rows}\n</tbody></table></div>{note}"
    )


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    text = f"<b>{text}</b>" if cell.strong else text
    note = f"<small>{escape(cell.note)}</small>" if cell.note else ""
    return f"<td>{text}{note}{_bar(cell)}</td>"


def _bar(cell: Cell) -> str:
    """A bar as long as the share, with its interval as a line across its end."""
    if cell.bar is None:
        return ""
    value, low, high = (round(100 * min(max(one, 0), 1), 1) for one in cell.bar)
    reach = f'x="{low}" y="2.2" width="{round(high - low, 1)}" height="1.6"'
    return (
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" fill="#dfe2e6" width="100" height="6"/>'
        f'<rect class="fill" fill="#2f6db5" width="{value}" height="6"/>'
        f'<rect class="reach" fill="#1d2126" {reach}/></svg>'
    )


def _grid(grid: Grid) -> str:
    items = []
    for index, picture in enumerate(grid.pictures):
        label = grid.labels[index] if index < len(grid.labels) else ""
        text = f"<figcaption>{escape(label)}</figcaption>" if label else ""
        image = f'<img src="{data_uri(picture)}" alt="{escape(label, quote=True)}"'
        items.append(
            f'<figure>{image} width="{picture.width}" height="{picture.height}">{text}</figure>'
        )
    note = f"<p class=note>{escape(grid.note)}</p>" if grid.note else ""
    return (
        f'<h3>{escape(grid.title)}</h3><div class=grid style="--columns:{grid.columns}">'
        f"{''.join(items)}</div>{note}"
    )


def data_uri(picture: Image.Image) -> str:
    """A picture in the page itself: PNG or JPEG, whichever is smaller."""
    kinds: list[tuple[str, dict[str, object]]] = [
        ("PNG", {"optimize": True}),
        ("JPEG", {"quality": QUALITY, "subsampling": 0}),
    ]
    found = []
    for kind, options in kinds:
        stream = io.BytesIO()
        picture.convert("RGB").save(stream, format=kind, **options)
        found.append((stream.getvalue(), kind.lower()))
    content, kind = min(found, key=lambda one: len(one[0]))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _left_out(report: Report) -> str:
    if not report.left_out:
        return ""
    rows = "".join(f"<li><b>{escape(a)}</b>: {escape(b)}</li>" for a, b in report.left_out)
    return f"<section id=left-out><h2>Left out</h2><ul>{rows}</ul></section>"


def _facts(report: Report) -> str:
    if not report.facts:
        return ""
    rows = "".join(
        f"<tr><th scope=row>{escape(name)}</th><td><code>{escape(value)}</code></td></tr>"
        for name, value in report.facts
    )
    return (
        "<section id=facts><h2>How to repeat it</h2>"
        f"<div class=scroll><table class=facts><tbody>{rows}</tbody></table></div></section>"
    )
