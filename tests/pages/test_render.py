"""Texts of others in a report: whatever they hold, a page shows them and follows none."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from unclip.pages import render
from unclip.pages.report import Cell, Grid, Report, Section, Table

EVIL = (
    "![x](http://evil.example/a.png)",
    "[click](javascript:alert(1))",
    "<img src=http://evil.example/b.png onerror=alert(1)>",
    "<http://evil.example/c>",
    "http://evil.example/d and www.evil.example",
    "a | b | c",
    "# a heading\n\n- an item\n\n[r]: http://evil.example/e",
    "`code` ``more`` $math$ ~~gone~~ &lt;b&gt;",
    "\\[not](escaped)",
)


def read(markdown: str) -> str:
    """What a reader of Markdown shows of escaped text: escapes and entities undone."""
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown))


SIGNS = st.text("abc 1[]()!<>|*_`~$#&;:/\\.-+=\n", max_size=20) | st.text(max_size=20)


@given(text=SIGNS | st.sampled_from(EVIL))
@example("&#1")  # which some readers take for a character without its semicolon
@example("R&D &copy &amp;")
def test_a_text_is_shown_as_it_stands(text: str) -> None:
    escaped = str(render.markdown(text))
    assert read(escaped) == " ".join(text.split())
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "x", escaped)  # what is left is read by Markdown's rules
    assert not re.search(r"[\[\]<|*_`~$\\]|://|www\.", bare)
    assert not re.match(r"[-+=#>]|\d+[.)](\s|$)", bare)


@given(text=st.text("ab`| \n", max_size=12))
def test_code_ends_where_its_text_does(text: str) -> None:
    """CommonMark 6.1: a fence is closed by a run of as many backticks, and by no other."""
    code = str(render.code(text))
    fence = re.match("`+", code)
    assert fence
    inside = code[len(fence[0]) : -len(fence[0])]
    assert code.endswith(fence[0])
    assert fence[0] not in re.findall("`+", inside)
    assert not re.search(r"(?<!\\)\|", code)


def report(text: str) -> Report:
    """One with the text in every place that takes one."""
    picture = Image.new("RGB", (8, 8))
    table = Table(title=text, head=(text, text), rows=((Cell(text), Cell(text)),), note=text)
    grid = Grid(title=text, pictures=(picture,), labels=(text,), columns=1, note=text)
    return Report(
        title=text,
        lead=text,
        headline=((text, Cell(text)),),
        sections=(Section("part", text, text, (table, grid)),),
        left_out=((text, text),),
        facts=((text, text),),
    )


class Tags(HTMLParser):
    """The tags and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag != "script"
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


@pytest.mark.parametrize("text", EVIL)
def test_a_report_follows_no_text(text: str, tmp_path: Path) -> None:
    made = report(text)
    render.write_markdown(made, tmp_path / "my report.md")
    written = (tmp_path / "my report.md").read_text()
    outside = re.sub(r"(?<![`\\])(`+)(?!`).*?(?<!`)\1(?!`)", "", written)
    assert re.findall(r"(?<!\\)\]\(([^)]*)\)", outside) == ["my%20report/part-1.webp"]
    assert "://" not in outside
    assert not re.search(r"<(?!/?sub>)", outside)
    tags = Tags()
    tags.feed(render.html(made))
    assert all(one.startswith(("#", "data:image/")) for one in tags.addresses)
    assert tags.handlers == []
