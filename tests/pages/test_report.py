"""The page holds what was measured, in whole HTML, with nothing from elsewhere."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from unclip.pages import chart, render
from unclip.pages.intervals import Share
from unclip.pages.render import write_markdown
from unclip.pages.report import (
    Cell,
    Curve,
    Grid,
    Line,
    Report,
    Section,
    Table,
    estimate,
    number,
    row,
    share,
    shown,
)

VOID = {"meta", "img", "rect", "line", "circle", "path", "br"}


class Reader(HTMLParser):
    """Checks that tags are closed in order, and keeps texts and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


CURVE = Curve(
    "Distance", "scale", "FD", (Line("frozen", ((1, 5.0), (2, 3.0), (4, 4.0)), (0.1, 0.1, 0.1)),),
    (("floor", 1.0),),
)  # fmt: skip


def report() -> Report:
    red = Image.new("RGB", (8, 8), (250, 10, 20))
    table = Table("A <table>", ("", "FD"), (row("drawn & real", Cell("1.5", "± 0.1")),), "noted")
    grid = Grid("Pictures", (red,), ('a "red" <square>',))
    return Report(
        title="What <it> is worth",
        lead="A lead.",
        headline=(("FD", Cell("1.5", "2 × floor")),),
        sections=(Section("one", "One", "Text.", (table, CURVE, grid)),),
        left_out=(("science", "no z_i"),),
        facts=(("command", "unclip evaluate <x>"),),
    )


def test_the_page_is_whole_and_says_what_it_was_given() -> None:
    text = render.html(report())
    read = Reader(text)
    words = " ".join(read.words)
    for part in ("What <it> is worth", "A <table>", "drawn & real", "± 0.1", "2 × floor"):
        assert part in words
    for part in ('a "red" <square>', "no z_i", "unclip evaluate <x>", "floor", "frozen"):
        assert part in words
    assert ("section", {"id": "one"}) in read.tags


def test_nothing_comes_from_elsewhere() -> None:
    text = render.html(report())
    assert "<script" not in text and "@import" not in text
    for tag, attributes in Reader(text).tags:
        for name in ("src", "href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/")), (tag, value)
    assert "url(" not in text


@pytest.mark.parametrize("size", [(8, 8), (64, 64)])
def test_pictures_are_in_the_page(size: tuple[int, int]) -> None:
    picture = Image.effect_mandelbrot(size, (-2, -1.5, 1, 1.5), 50).convert("RGB")
    uri = render.data_uri(picture)
    found = re.fullmatch(r"data:image/(png|jpeg);base64,(.+)", uri)
    assert found
    back = Image.open(io.BytesIO(base64.b64decode(found[2]))).convert("RGB")
    assert back.size == size
    off = max(abs(a - b) for a, b in zip(picture.tobytes(), back.tobytes(), strict=True))
    assert off <= (0 if found[1] == "png" else 60)


def test_markdown_holds_the_same(tmp_path: Path) -> None:
    write_markdown(report(), tmp_path / "page.md")
    text = (tmp_path / "page.md").read_text()
    for part in (
        "# What &lt;it> is worth",
        "### A &lt;table>",
        "| drawn & real | 1.5 <sub>± 0.1</sub> |",
    ):
        assert part in text
    files = re.findall(r"\]\((page/[^)]+)\)", text)
    assert files == ["page/one-1.svg", "page/one-2.webp"]
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == [
        "one-1.svg",
        "one-2.webp",
    ]
    root = ElementTree.parse(tmp_path / files[0]).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    with Image.open(tmp_path / files[1]) as sheet:
        assert sheet.size[0] == 8


def test_points_stand_where_their_numbers_say() -> None:
    text = render.svg(CURVE)
    places = [
        (float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', text)
    ]
    (x1, y1), (x2, y2), (x3, y3) = places
    assert (x3 - x1) == pytest.approx(3 * (x2 - x1), abs=0.3)  # at 1, 2 and 4
    assert (y2 - y1) == pytest.approx(2 * (y2 - y3), abs=0.3)  # at 5, 3 and 4: down is up
    assert y1 < y3 < y2
    level = re.search(r'class="level" [^>]*y1="([\d.]+)"', text)
    assert level and float(level[1]) == pytest.approx(y2 + (y2 - y3) * 2, abs=0.5)


def test_a_diagram_leaves_out_what_is_no_number() -> None:
    broken = Curve("x", "x", "y", (Line("a", ((1, 1.0), (2, float("nan")), (3, 2.0))),))
    text = render.svg(broken)
    assert text.count("<circle") == 2 and "nan" not in text
    assert "Too few points" in render.svg(Curve("x", "x", "y", (Line("a", ()),)))
    assert "<circle" in render.svg(Curve("x", "x", "y", (Line("a", ((1, 1.0),)),)))


@pytest.mark.parametrize(
    ("low", "high", "want"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (3, 47, [10, 20, 30, 40]), (-1, 1, [-1, -0.5, 0, 0.5, 1])],
)
def test_ticks_are_round(low: float, high: float, want: list[float]) -> None:
    assert chart.ticks(low, high) == pytest.approx(want)


@pytest.mark.parametrize(
    ("value", "want"),
    [(0, "0"), (0.5, "0.500"), (0.01234, "0.012"), (1.2345, "1.23"), (123.4, "123"),
     (1234.5, "1,234"), (123456, "1.23e5"), (0.00012, "1.20e-4"), (-2.5, "-2.50"), (None, "–")],
)  # fmt: skip
def test_numbers(value: float | None, want: str) -> None:
    assert number(value) == want


def test_shares_and_estimates() -> None:
    one = share(Share(50, 100))
    assert one.text == "0.500" and one.note == "0.404–0.596"
    assert one.bar == (0.5, *Share(50, 100).interval)
    assert estimate(0.002, 0.0004, 1e3) == Cell("2.00", "± 0.40")


def test_pictures_are_brought_to_one_side() -> None:
    small, large = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (64, 64), "blue")
    assert [one.size for one in shown([small, large], 16)] == [(16, 16), (16, 16)]
    wide, high = Image.new("RGB", (4, 2), "red"), Image.new("RGB", (16, 64), "blue")
    assert [one.size for one in shown([wide, high], 16)] == [(16, 8), (4, 16)]


def test_a_logarithmic_axis_has_equal_steps_for_equal_factors() -> None:
    points = tuple((float(n), 10.0**-n) for n in range(4))
    made = chart.Chart(Curve("t", "x", "y", (Line("one", points),), log=True))
    ys = [y for _, y in made.lines[0].points]
    steps = [after - before for before, after in pairwise(ys)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.2)
    assert [value for value, _ in made.y_ticks] == pytest.approx(
        [1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0]
    )
    for value, y in made.y_ticks:
        assert y == made.at(0, value)[1]


def test_on_a_logarithmic_axis_what_is_not_above_0_has_no_place() -> None:
    points = ((0.0, 0.0), (1.0, -3.0), (2.0, 5.0), (3.0, 50.0))
    made = chart.Chart(Curve("t", "x", "y", (Line("one", points),), log=True))
    assert len(made.lines[0].points) == 2
    assert chart.Chart(Curve("t", "x", "y", (Line("one", points[:2]),), log=True)).empty


def test_many_points_are_a_line_without_dots_and_a_faint_one_has_none() -> None:
    points = tuple((float(n), float(n)) for n in range(60))
    lines = (Line("many", points), Line("few", points[:9]), Line("", points[:9], faint=True))
    drawn = str(render.svg(Curve("t", "x", "y", lines)))
    assert drawn.count("<circle") == 9
    assert drawn.count('opacity="0.35"') == 1


def test_columns_of_words_are_set_to_the_left() -> None:
    rows = (row("a.png", "IMG 1", "3 min", "–"), row("b.png", "red", "–", "–0.5"))
    table = Table("", ("file", "why", "time", "loss"), rows)
    assert table.texts == [True, True, False, False]
    page = render.html(Report("t", "", (), (Section("s", "S", "", (table,)),)))
    assert "<td class=text>red</td><td>–</td>" in page
    assert "<th scope=col class=text>why</th><th scope=col>time</th>" in page
