"""Shapes of docs/architecture.svg, and the little pictures in its steps: see map.py."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, MARGIN, GAP = 1000, 26, 18
CARD = ((WIDTH - 2 * MARGIN - 4 * GAP) / 5, 178.0)
LEFT = MARGIN + 34
"""Pixels; of the layers' left edge."""

HUES = (
    *("#7a828c", "#c2578a", "#b8860b", "#b0643c", "#8f63d2", "#6f6be0"),
    *("#c9564b", "#3f83d6", "#12939a", "#4b9a4f", "#8a7b52", "#a08a2c", "#5f7f95"),
)
"""Of the layers, from the top."""

LIGHT = ("#fcfcfa", "#1c2024", "#626a73", "#ffffff", "#d9dde2")
DARK = ("#14171b", "#e9ebee", "#9ba4ae", "#1d2126", "#363c44")
"""Of the page, of what is read first and second, of boxes and their edges."""

FONTS = (
    "text{font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,'DejaVu Sans',sans-serif}"
    ".mono{font-family:ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace}"
    ".bold{font-weight:700}.plain{font-weight:400}"
)
HEAD = (
    '<marker id="head" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="6" markerHeight="6" '
    'orient="auto"><path class="line" d="M1 1L6.5 4L1 7" stroke-width="1.6"/></marker>'
)
"""The head of an arrow."""


def style(colours: Sequence[str]) -> str:
    """The classes of a light or dark drawing."""
    page, ink, soft, box, edge = colours
    return (
        f".page{{fill:{page};stroke:{edge}}}.box{{fill:{box};stroke:{edge}}}"
        f".ink{{fill:{ink}}}.soft{{fill:{soft}}}.line{{stroke:{soft};fill:none}}"
        f".thin{{stroke:{edge};fill:none}}"
    )


@dataclass
class Svg:
    """Shapes, written one after the other."""

    parts: list[str] = field(default_factory=list)

    def put(self, tag: str, **attributes: object) -> None:
        """An element; `_` in names is `-`, `kind` the class."""
        pairs = {name.replace("_", "-"): value for name, value in attributes.items()}
        pairs = {"class" if name == "kind" else name: value for name, value in pairs.items()}
        told = " ".join(f'{k}="{_number(v)}"' for k, v in pairs.items())
        self.parts.append(f"<{tag} {told}/>")

    def box(
        self, x: float, y: float, w: float, h: float, kind: str = "box", **more: object
    ) -> None:
        """A rounded rectangle."""
        self.put("rect", kind=kind, x=x, y=y, width=w, height=h, **{"rx": 7, **more})

    def text(
        self, x: float, y: float, text: str, size: float = 12, kind: str = "ink", **more: object
    ) -> None:
        """A line of text; `kind` chooses colour and font, `anchor` which end is at x."""
        more = {"class": kind, "x": x, "y": y, "font-size": size, **more}
        if "anchor" in more:
            more["text-anchor"] = more.pop("anchor")
        told = " ".join(f'{name}="{_number(value)}"' for name, value in more.items())
        self.parts.append(f"<text {told}>{escape(text)}</text>")

    def heading(self, y: float, title: str, said: str, count: str = "") -> None:
        """What a part of the drawing shows, and how to read it."""
        small = f'<tspan class="soft plain" dx="12" font-size="12">{escape(said)}</tspan>'
        self.parts.append(
            f'<text class="ink bold" x="{MARGIN}" y="{_number(y)}" font-size="18">'
            f"{escape(title)}{small}</text>"
        )
        self.text(WIDTH - MARGIN, y, count, 12, "soft count", anchor="end")

    def whole(self, height: float) -> str:
        """An SVG file that is light or dark as its reader's screen is."""
        box = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
        dark = f"@media (prefers-color-scheme:dark){{{style(DARK)}}}"
        return "\n".join([
            f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img">',
            "<title>From a prompt to a picture, one step of diffusion, the layers</title>",
            f"<style>{FONTS}{style(LIGHT)}{dark}</style><defs>{HEAD}</defs>",
            f'<rect class="page" width="{WIDTH}" height="{height:.0f}" rx="12"/>',
            *self.parts,
            "</svg>\n",
        ])  # fmt: skip

    def arrow(self, path: str, **more: object) -> None:
        """A line along an SVG path, with a head."""
        self.put("path", kind="line", d=path, stroke_width=1.4, marker_end="url(#head)", **more)

    def tile(self, x: float, y: float, side: float, pixels: Sequence[Sequence[str]]) -> None:
        """A picture of a few large pixels."""
        paths: dict[str, str] = {}
        for row, line in enumerate(pixels):
            for column, colour in enumerate(line):
                paths[colour] = paths.get(colour, "") + f"M{column} {row}h1v1h-1z"
        drawn = "".join(f'<path fill="{colour}" d="{path}"/>' for colour, path in paths.items())
        scale = _number(side / len(pixels))
        self.parts.append(
            f'<g transform="translate({_number(x)} {_number(y)}) scale({scale})" '
            f'shape-rendering="crispEdges">{drawn}</g>'
        )
        self.box(x, y, side, side, "thin", rx=0)


def _number(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value


# --------------------------------------------------------------------- little pictures in the steps

# fmt: off
CAR = (
    "................",
    "................",
    "....RRRRRRR.....",
    "...RWWWRWWWR....",
    "..RWWWWRWWWWR...",
    ".RRWWWWRWWWWRR..",
    "RRRRRRRRRRRRRRR.",
    "YRRRRRRRRRRRRRRR",
    "YRRRRRRRRRRRRRRR",
    "RRRRRRRRRRRRRRRR",
    "DDKKKDDDDDKKKDDD",
    "DKKGKKDDDKKGKKDD",
    "..KKK.....KKK...",
    "................",
    "................",
    "................",
)
COLOURS = {
    "R": (216, 56, 47), "D": (165, 33, 28), "W": (190, 226, 247), "K": (44, 48, 52),
    "G": (160, 168, 176), "Y": (246, 201, 69), ".": (238, 243, 248),
}
# fmt: on


def car(side: int, alpha: float = 1.0, seed: int = 7) -> list[list[str]]:
    """x_t = alpha * x0 + sigma * eps of a car, `side` pixels wide."""
    block, rng = len(CAR) // side, random.Random(seed)
    sigma = (1 - alpha**2) ** 0.5

    def pixel(x: int, y: int) -> str:
        cells = [
            COLOURS[CAR[y * block + j][x * block + i]] for i in range(block) for j in range(block)
        ]
        x0 = [sum(channel) / len(cells) / 127.5 - 1 for channel in zip(*cells, strict=True)]
        x_t = [alpha * value + sigma * rng.gauss(0, 0.6) for value in x0]
        return "#" + "".join(f"{min(max(round((v + 1) * 7.5), 0), 15):x}" for v in x_t)

    return [[pixel(x, y) for x in range(side)] for y in range(side)]


def bars(svg: Svg, x: float, y: float, seed: int, colour: str, noise: bool = False) -> None:
    """A vector as bars of its numbers, 52 × 38."""
    rng, opacity = random.Random(seed), 0.4 if noise else 1
    for index in range(13):
        value = rng.gauss(0, 7)
        height = max(2.0, min(abs(value) * 1.6, 18))
        top = y + 19 - (height if value > 0 else 0)
        at = {"x": x + 4 * index, "y": top, "width": 2.6, "height": height}
        svg.put("rect", fill=colour, fill_opacity=opacity, **at)


def ask(svg: Svg, x: float, y: float, colour: str) -> None:
    svg.box(x, y + 4, 152, 46, "box", rx=5)
    svg.text(x + 9, y + 22, "$ unclip generate", 11, "soft mono")
    svg.text(x + 9, y + 40, '"a red car"', 12, "ink mono bold")


def load(svg: Svg, x: float, y: float, colour: str) -> None:
    for left, wide, name in ((0, 38, "CLIP"), (44, 38, "prior"), (88, 62, "decoder")):
        svg.box(x + left, y + 6, wide, 24, "thin", rx=4, stroke_dasharray="3 2.5")
        svg.text(x + left + wide / 2, y + 22, name, 10, "soft", anchor="middle")
    svg.text(x, y + 48, "weights: at first use", 11, "soft")


def check(svg: Svg, x: float, y: float, colour: str) -> None:
    for index, text in enumerate(("arguments", "model can do it", "steps counted")):
        top = y + 12 + 17 * index
        mark = f"M{x + 1} {top - 4}l4 4l7 -9"
        svg.put("path", d=mark, fill="none", stroke=colour, stroke_width=2)
        svg.text(x + 20, top, text, 11, "soft")


def tokens(svg: Svg, x: float, y: float, colour: str) -> None:
    left = x
    for name in ("‹", "a", "red", "car", "›"):
        width = 14 + 6.2 * len(name)
        svg.box(left, y + 6, width, 22, "", rx=4, fill=colour, fill_opacity=0.16)
        svg.text(left + width / 2, y + 21, name, 11, "ink mono", anchor="middle")
        left += width + 4
    svg.text(x, y + 48, "text_tokens (B, N)", 11, "soft")


def seeds(svg: Svg, x: float, y: float, colour: str) -> None:
    for index in range(4):
        left, name = x + 39 * index, f"{7 + index}" if index else "seed 7"
        svg.tile(left, y + 2, 32, car(8, 0.0, 7 + index))
        svg.text(left + 16, y + 48, name, 11, "soft", anchor="middle")


def text_embedding(svg: Svg, x: float, y: float, colour: str) -> None:
    svg.text(x, y + 25, "a red car", 11, "ink mono")
    svg.arrow(f"M{x + 68} {y + 21}h16")
    bars(svg, x + 96, y + 1, 3, colour)
    svg.text(x, y + 53, "text_embed z_t (B, D)", 11, "soft")


def prior(svg: Svg, x: float, y: float, colour: str) -> None:
    bars(svg, x, y + 1, 11, colour, noise=True)
    svg.arrow(f"M{x + 62} {y + 20}h22")
    bars(svg, x + 96, y + 1, 5, colour)
    svg.text(x, y + 53, "image_embed z_i (B, D)", 11, "soft")


def decoder(svg: Svg, x: float, y: float, colour: str) -> None:
    for index, alpha in enumerate((0.0, 0.8, 1.0)):
        svg.tile(x + 58 * index, y + 2, 36, car(8, alpha))
        if index:
            svg.arrow(f"M{x + 58 * index - 18} {y + 20}h12")
    svg.text(x, y + 53, "image 64 × 64", 11, "soft")


def upsampler(svg: Svg, x: float, y: float, colour: str) -> None:
    svg.tile(x + 8, y + 4, 26, car(8))
    svg.arrow(f"M{x + 46} {y + 17}h22")
    svg.tile(x + 82, y - 6, 46, car(16))
    svg.text(x, y + 53, "256 × 256, 1024 × 1024", 11, "soft")


def picture(svg: Svg, x: float, y: float, colour: str) -> None:
    svg.box(x, y - 4, 56, 58, "box", rx=3)
    svg.tile(x + 4, y, 48, car(16))
    for index, text in enumerate(("prompt", "seed, settings", "model's hash")):
        svg.text(x + 66, y + 12 + 17 * index, text, 11, "soft")


Drawing = Callable[[Svg, float, float, str], None]
STEPS: tuple[Drawing, ...] = (
    *(ask, load, check, tokens, seeds),
    *(text_embedding, prior, decoder, upsampler, picture),
)
"""What each step of the walk shows, at (x, y) in the colour of its layer."""
