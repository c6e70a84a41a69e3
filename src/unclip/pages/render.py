"""A report as one HTML file, or as a Markdown page with its diagrams and pictures beside it.

The HTML has no script, needs nothing from elsewhere, is light and dark, and can be printed.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from ..files import atomic_folder, write_text
from ..media.grid import make_grid
from . import chart
from .report import Curve, Grid, Part, Report

QUALITY = 85


@cache
def _environment(finalize: Callable[[object], Markup] | None = None) -> Environment:
    """Templates in which every text is escaped, first by `finalize` where there is one."""
    made = Environment(
        loader=PackageLoader("unclip.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
    )
    made.filters |= {"data_uri": data_uri, "svg": svg, "code": code, "kind": _kind}
    return made


def _kind(part: Part) -> str:
    return type(part).__name__.lower()


def html(report: Report) -> str:
    """The page as HTML."""
    return _environment().get_template("report.html").render(report=report)


def write_markdown(report: Report, path: Path) -> None:
    """Write PATH.md and the folder PATH with what it shows. Raises OutputError."""
    page = _environment(markdown).get_template("report.md")
    text = page.render(report=report, stem=path.stem)
    with atomic_folder(path.with_suffix("")) as folder:
        for section in report.sections:
            for number, part in enumerate(section.parts):
                _write_part(part, folder / f"{section.name}-{number}")
    write_text(path, text)


def _write_part(part: Part, path: Path) -> None:
    """A diagram as SVG, a grid as WebP."""
    if isinstance(part, Curve):
        path.with_suffix(".svg").write_text(svg(part), encoding="utf-8")
    elif isinstance(part, Grid):
        columns = min(part.columns, len(part.pictures))
        sheet = make_grid(part.pictures, columns, list(part.labels) or None)
        sheet.save(path.with_suffix(".webp"), format="WEBP", quality=QUALITY, method=6)


def svg(curve: Curve) -> Markup:
    """A diagram that takes its colours from the page around it."""
    paper = {
        "width": chart.WIDTH, "height": chart.HEIGHT, "left": chart.LEFT, "right": chart.RIGHT,
        "top": chart.TOP, "bottom": chart.BOTTOM,
    }  # fmt: skip
    template = _environment().get_template("chart.svg")
    return Markup(template.render(chart=chart.Chart(curve), **paper))


def data_uri(picture: Image.Image) -> str:
    """A picture in the page itself: PNG or JPEG, whichever is smaller."""
    found = []
    for kind, options in (
        ("png", {"optimize": True}),
        ("jpeg", {"quality": 88, "subsampling": 0}),
    ):
        stream = io.BytesIO()
        picture.convert("RGB").save(stream, format=kind, **options)
        found.append((len(stream.getvalue()), kind, stream.getvalue()))
    _, kind, content = min(found)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def markdown(value: object) -> Markup:
    """A text as it stands, in whatever place of a Markdown page.

    Every sign that Markdown may read as its own is escaped, and an address is no link.
    """
    if isinstance(value, Markup):
        return value
    line = re.sub(r"[\\`*_\[\]|~$]", r"\\\g<0>", " ".join(str(value).split()))
    line = re.sub(r"^(\d+)(?=[.)](\s|$))|^(?=[-+=#>])", r"\1\\", line)
    line = re.sub(r"&(?=#?\w)", "&amp;", line).replace("<", "&lt;")
    return Markup(re.sub(r":(?=//)", "&#58;", re.sub(r"(?i)\bwww\.", "www&#46;", line)))


def code(text: str) -> Markup:
    """A text as code in a cell: the fence is longer than any in it."""
    line = " ".join(text.split()).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return Markup(f"{fence} {line} {fence}" if "`" in line else f"{fence}{line}{fence}")
