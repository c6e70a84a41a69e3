"""Draw docs/architecture.svg, and count the lines of ARCHITECTURE.md's reading order.

    python scripts/map.py [--check]

The steps of the map are the lists of ARCHITECTURE.md, its layers those that import-linter enforces
(pyproject.toml), its line counts those of the files. With `--check` nothing is written: it ends
with 1 if ARCHITECTURE.md names a file or function that there is not, or if the map is not the one
that would be drawn now, line counts aside.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from map_shapes import CARD, GAP, HUES, LEFT, MARGIN, STEPS, WIDTH, Svg, car

ROOT = Path(__file__).resolve().parent.parent
PAGE, MAP = "ARCHITECTURE.md", "docs/architecture.svg"
WALK, LOOP, LAYERS = "From a prompt to a picture", "One step of diffusion", "Layers"
REST = "the rest"
PACE = 40
"""Lines read in a minute."""

REFERENCE = re.compile(r"`([\w./-]+(?:\.py|\.toml|/))(?::([\w.]+))?`")
"""A file or folder in backticks, and what of it: `pipeline.py:Chain.fold`."""

FORMULAS = (
    *("x_t = α·x0 + σ·eps", "x_t, t, condition → output", "output → x0, eps"),
    *("u + s · (c − u)", "x0 → clamp, hold", "x_t → x_s"),
)
"""What each step of the loop does."""


@dataclass(frozen=True)
class Reference:
    """A file or folder, and a name that the file defines."""

    path: str
    name: str = ""

    def exists(self, root: Path) -> bool:
        """Whether there is such a file, in the package or beside it, and such a name in it."""
        places = [place / self.path for place in (root / "src/unclip", root)]
        found = [place for place in places if place.exists()]
        if not found or not self.name:
            return bool(found)
        return defines(ast.parse(found[0].read_text("utf-8")).body, self.name.split("."))


def defines(body: Sequence[ast.stmt], names: Sequence[str]) -> bool:
    """Whether statements define `names`, each in the class before it."""
    for node in body:
        if names[0] in _defined(node):
            return len(names) == 1 or defines(getattr(node, "body", []), names[1:])
    return False


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def references(text: str) -> list[Reference]:
    """Every file, folder and name that a text gives."""
    return [Reference(path, name) for path, name in REFERENCE.findall(text)]


@dataclass(frozen=True)
class Item:
    """One step of a list: its title, and where its code is."""

    title: str
    references: list[Reference]


def under(page: str, heading: str) -> str:
    """What stands below a heading of ARCHITECTURE.md, up to the next."""
    return re.split(rf"^#+ {heading}$", page, flags=re.MULTILINE)[1].partition("\n#")[0]


def items(page: str, heading: str) -> list[Item]:
    """The list after a heading of ARCHITECTURE.md."""
    section = under(page, heading)
    parts = re.split(r"^(?:\d+\.|-) \*\*(.+?)\*\*", section, flags=re.MULTILINE)[1:]
    return [Item(title, references(text)) for title, text in zip(*[iter(parts)] * 2, strict=True)]


def words(page: str) -> dict[str, str]:
    """The first sentence of what each package holds, from the table of layers."""
    row = re.compile(rf"^\| `?(\w+|{REST})`? \| (.+?)(?:\. .*)? \|$", re.MULTILINE)
    found = row.findall(under(page, LAYERS).partition("|---")[2])
    return {name: said.replace("`", "") for name, said in found}


@dataclass(frozen=True)
class Layer:
    """Packages that import only from the layers below; `free`: and from each other."""

    names: list[str]
    free: bool


def layers(root: Path) -> list[Layer]:
    """The layers that import-linter enforces, from the top, without what there is not yet."""
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    rows = next(one["layers"] for one in contracts if one["type"] == "layers")
    there = [[n for n in re.findall(r"\w+", row) if lines(root / "src/unclip" / n)] for row in rows]
    split = [Layer(names, ":" in row) for names, row in zip(there, rows, strict=True)]
    return [layer for layer in split if layer.names]


def lines(path: Path) -> int:
    """Lines of a module or of a whole package, as `wc -l` counts them."""
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    return sum(file.read_bytes().count(b"\n") for file in files if file.exists())


def measured(page: str, root: Path) -> str:
    """ARCHITECTURE.md with the lines and minutes of its reading order as they are."""
    total = 0

    def counted(row: re.Match[str]) -> str:
        nonlocal total
        found = references(row[1])
        count = sum(lines(root / "src/unclip" / one.path) for one in found) if found else total
        total += count
        bold = "" if found else "**"
        return f"{row[1]}| {bold}{count:,}{bold} | {bold}{round(count / PACE)}{bold} |"

    return re.sub(r"^(\| .*)\| [*\d,]+ \| [*\d]+ \|$", counted, page, flags=re.MULTILINE)


def missing(root: Path) -> list[Reference]:
    """What ARCHITECTURE.md names and there is not."""
    found = references((root / PAGE).read_text("utf-8"))
    return [one for one in dict.fromkeys(found) if not one.exists(root)]


TINT = {"fill_opacity": 0.13, "stroke_opacity": 0.55}


@dataclass
class Map:
    """The map's three parts, each drawn below a height; gives the height where it ends."""

    rows: Sequence[Layer]
    said: Mapping[str, str]
    counts: Mapping[str, int]
    svg: Svg = field(default_factory=Svg)

    def hue(self, path: str) -> str:
        """The colour of the layer that a file is in."""
        top = path.split("/")[0].removesuffix(".py")
        found = [hue for row, hue in zip(self.rows, HUES, strict=False) if top in row.names]
        return found[0] if found else HUES[-1]

    def walk(self, y: float, steps: Sequence[Item]) -> float:
        """The steps as cards in two rows; the stages are what the last name of step 5 runs."""
        wide, high = CARD
        fold, second = steps[4].references[-1], y + high + 44
        tint = {"fill": self.hue(fold.path), "fill_opacity": 0.1}
        self.svg.box(MARGIN - 10, second - 26, 4 * (wide + GAP) + 2, high + 36, "", rx=10, **tint)
        half, right = MARGIN + wide / 2, WIDTH - MARGIN - wide / 2
        said = f"{fold.name}: each stage reads fields of a Cond and adds others"
        self.svg.text(half + 14, second - 9, said, 11.5, "soft")
        self.svg.arrow(f"M{right} {y + high}v9H{half}V{second - 3}")
        for index, step in enumerate(steps):
            x, top = MARGIN + (index % 5) * (wide + GAP), second if index > 4 else y
            self.card(x, top, f"{index + 1}", step)
            STEPS[index](self.svg, x + 12, top + 42, self.hue(step.references[0].path))
            if index % 5:
                self.svg.arrow(f"M{x - GAP + 1} {top + high / 2}h{GAP - 5}")
        return second + high

    def card(self, x: float, y: float, number: str, step: Item) -> None:
        """A step: number, title, room for its picture, and where its code is."""
        self.svg.box(x, y, *CARD)
        self.svg.put("circle", cx=x + 19, cy=y + 19, r=9.5, fill=self.hue(step.references[0].path))
        self.svg.text(x + 19, y + 23, number, 11, "bold", fill="#fff", anchor="middle")
        self.svg.text(x + 35, y + 23.5, step.title, 13, "ink bold")
        line = y + 116
        for one in step.references[:2]:
            self.place(x + 12, line, one)
            line += 31 if one.name else 17

    def place(self, x: float, y: float, one: Reference) -> None:
        """A file and a name in it, with the dot of its layer."""
        self.svg.put("circle", cx=x + 3, cy=y - 3.5, r=3, fill=self.hue(one.path))
        self.svg.text(x + 11, y, one.path, 11, "soft mono")
        self.svg.text(x + 11, y + 14, one.name, 11, "ink mono")

    def loop(self, y: float, steps: Sequence[Item]) -> float:
        """The steps of a sampler in a ring, which noise enters and a picture leaves."""
        left, gap, high = MARGIN + 120, 34, 68
        wide, below = (WIDTH - MARGIN - left - 2 * gap) / 3, y + high + 30
        for index, step in enumerate(steps):
            column, top = (index, y) if index < 3 else (5 - index, below)
            x = left + column * (wide + gap)
            self.svg.box(x, top, wide, high)
            self.svg.text(x + 12, top + 20, step.title, 13, "ink bold")
            self.svg.text(x + wide - 12, top + 20, FORMULAS[index], 11.5, "soft", anchor="end")
            self.place(x + 12, top + 41, step.references[0])
            if column < 2:
                ends = (2, gap - 6) if top == y else (gap - 2, 6 - gap)
                self.svg.arrow(f"M{x + wide + ends[0]} {top + high / 2}h{ends[1]}")
        first, last = left + wide / 2, WIDTH - MARGIN - wide / 2
        self.svg.arrow(f"M{last} {y + high + 2}V{below - 4}")
        self.svg.arrow(f"M{first} {below - 2}V{y + high + 4}")
        self.svg.text(first + 12, y + high + 19, "next level, until none is left", 11.5, "soft")
        for top, alpha, name in ((y, 0.0, "x_T"), (below, 1.0, "x0")):
            self.svg.tile(MARGIN + 34, top + 10, 48, car(8, alpha))
            self.svg.text(MARGIN + 2, top + 38, name, 13, "ink bold")
        self.svg.arrow(f"M{MARGIN + 88} {y + 34}H{left - 4}")
        self.svg.arrow(f"M{left - 2} {below + 34}H{MARGIN + 88}")
        return below + high

    def zoom(self, y: float, high: float) -> None:
        """The ground of the loop, which opens out of the diffusion stages above it."""
        start, end, top = MARGIN + CARD[0] + GAP, MARGIN + 4 * CARD[0] + 3 * GAP, y + 34
        left, right, bottom = MARGIN - 10, WIDTH - MARGIN + 10, y + high
        corners = f"V{bottom - 10}q0 10 -10 10H{left + 10}q-10 0 -10 -10V{top}z"
        path = f"M{start} {y + 10}H{end}L{right} {top}{corners}"
        self.svg.put("path", d=path, fill=self.hue("stages/stage.py"), fill_opacity=0.08)

    def layers(self, y: float) -> float:
        """A row a layer, from the top."""
        top = y
        for row, hue in zip(self.rows, HUES, strict=False):
            top = self.shared(top, row, hue) if row.free else self.packages(top, row, hue)
        middle = f"translate({MARGIN + 11} {(y + top) / 2}) rotate(-90)"
        self.svg.arrow(f"M{MARGIN + 20} {y + 4}V{top - 12}")
        self.svg.text(0, 0, "imports", 12, "soft", transform=middle, anchor="middle")
        return top

    def packages(self, y: float, row: Layer, hue: str) -> float:
        """Packages side by side: name, what it holds, lines, and a bar as long as they are."""
        gaps, most = len(row.names) - 1, max(self.counts.values())
        wide, high = (WIDTH - MARGIN - LEFT - GAP * gaps) / len(row.names), 46 if gaps else 30
        for index, name in enumerate(row.names):
            x, count = LEFT + index * (wide + GAP), self.counts[name]
            self.svg.box(x, y, wide, high, "", rx=6, fill=hue, stroke=hue, **TINT)
            self.svg.text(x + 14, y + 19.5, name, 12.5, "ink mono bold")
            at = (x + 14, y + 36) if gaps else (x + 118, y + 19.5)
            self.svg.text(*at, self.said[name], 11, "soft")
            self.svg.text(x + wide - 12, y + 19, rounded(count), 11, "soft count", anchor="end")
            bar = {"x": x + 6, "y": y + high - 2.5, "width": 240 * count / most, "height": 2.5}
            self.svg.put("rect", kind="bar", fill=hue, **bar)
            if index:
                wall = f"M{x - GAP / 2 - 2} {y + 8}v{high - 16}m4 0v{16 - high}"
                self.svg.put("path", kind="line", d=wall)
        return y + high + 7

    def shared(self, y: float, row: Layer, hue: str) -> float:
        """Modules that may import each other, as chips."""
        chips: list[tuple[float, float, float]] = []
        x, top = LEFT + 12.0, y + 30
        for name in row.names:
            wide = 20 + 7.3 * len(name)
            if x + wide > WIDTH - MARGIN - 12:
                x, top = LEFT + 12, top + 29
            chips.append((x, top, wide))
            x += wide + 8
        wide, high = WIDTH - MARGIN - LEFT, top + 34 - y
        self.svg.box(LEFT, y, wide, high, "", rx=6, fill=hue, stroke=hue, **TINT)
        self.svg.text(LEFT + 14, y + 19.5, self.said[REST], 11, "soft")
        total = rounded(sum(self.counts[name] for name in row.names))
        self.svg.text(WIDTH - MARGIN - 12, y + 19.5, total, 11, "soft count", anchor="end")
        for (x, top, wide), name in zip(chips, row.names, strict=True):
            self.svg.box(x, top, wide, 22, rx=5)
            self.svg.text(x + wide / 2, top + 15, name, 11, "ink mono", anchor="middle")
        return top + 41


def rounded(count: int) -> str:
    """Lines, to the nearest hundred."""
    return f"{round(count, -2):,} lines" if count >= 100 else "< 100 lines"


def draw(root: Path) -> str:
    """The whole map. Raises ValueError where ARCHITECTURE.md does not have what it shows."""
    page, rows = (root / PAGE).read_text("utf-8"), layers(root)
    said, walk, loop = words(page), items(page, WALK), items(page, LOOP)
    named = {REST if row.free else name for row in rows for name in row.names}
    if said.keys() != named:
        raise ValueError(f"{PAGE} and pyproject.toml differ: {sorted(said.keys() ^ named)}")
    if (len(walk), len(loop)) != (len(STEPS), len(FORMULAS)):
        raise ValueError(f"{PAGE}: the map has pictures of {len(STEPS)} and {len(FORMULAS)} steps")
    package = root / "src/unclip"
    drawn = Map(rows, said, {n: lines(package / n) for row in rows for n in row.names})
    drawn.svg.heading(44, WALK, "dots: the layer that a file is in, coloured as below")
    y = drawn.walk(62, walk)
    drawn.zoom(y, 268)
    drawn.svg.heading(y + 66, LOOP, "steps 7, 8 and 9 are this loop over different networks")
    y = drawn.loop(y + 84, loop)
    how = "each imports only from below; ‖ never from each other; bars: lines of code"
    drawn.svg.heading(y + 62, LAYERS, how, rounded(lines(package)))
    y = drawn.layers(y + 78)
    return drawn.svg.whole(y + MARGIN - 8)


def structure(svg: str) -> str:
    """A map without its line counts."""
    svg = re.sub(r'(<text class="[^"]*count"[^>]*>)[^<]*', r"\1", svg)
    return re.sub(r'(<rect class="bar"[^>]*) width="[^"]*"', r"\1", svg)


def problems(root: Path) -> Iterator[str]:
    """What is not as `make map` would leave it."""
    for one in missing(root):
        yield f"{PAGE}: there is no {one.path} {one.name}".rstrip()
    file = root / MAP
    if not file.exists() or structure(file.read_text("utf-8")) != structure(draw(root)):
        yield f"{MAP} is not up to date: run `make map`"


def main(root: Path = ROOT) -> None:
    """Draw and count, or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if out of date")
    if not parser.parse_args().check:
        page = root / PAGE
        page.write_text(measured(page.read_text("utf-8"), root), "utf-8")
        (root / MAP).write_text(draw(root), "utf-8")
    found = list(problems(root))
    print("\n".join(found), end="\n" * bool(found))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
