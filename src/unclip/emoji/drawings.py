"""From drawings (SVG) to pictures: every glyph fills its square and is premultiplied RGBA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..media import read_rgba
from ..registry import Named
from .names import bare, read_json

Bytes = NDArray[np.uint8]
Part = tuple[float, float, float, float]
"""Left, top, right, bottom."""

WHOLE: Part = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Vector:
    """A drawing at any size, and in any part, without the rest of it.

    Args:
        body: the SVG.
        view: left, top and side of the square of it that a glyph shows.
    """

    body: str
    view: tuple[float, float, float]

    def raster(self, width: int, height: int, part: Part = WHOLE) -> Bytes:
        """(height, width, 4) premultiplied RGBA of a part of the square, whose side is 1.

        Raises:
            DataError: the drawing cannot be rendered.
        """
        left, top, right, bottom = part
        x, y, side = self.view
        box = (x + left * side, y + top * side, (right - left) * side, (bottom - top) * side)
        return _rasterize(self.body, box, (height, width))


@dataclass(frozen=True)
class Style:
    """A set of drawings: where it lies and its terms. Captions call it by its key in `STYLES`."""

    package: str
    chars: str  # the package that says which emoji each drawing is
    licence: str
    author: str
    source: str


_NOTO, _FLUENT = "@iconify-json/noto", "@iconify-json/fluent-emoji"
_GOOGLE, _MICROSOFT = ("Apache-2.0", "Google Inc."), ("MIT", "Microsoft Corporation")
STYLES = Named("style", {
    "noto": Style(_NOTO, _NOTO, *_GOOGLE, "Noto Emoji (googlefonts/noto-emoji)"),
    "flat": Style(
        f"{_FLUENT}-flat", f"{_FLUENT}-flat", *_MICROSOFT,
        "Fluent Emoji Flat (microsoft/fluentui-emoji)",
    ),
    "glossy": Style(
        _FLUENT, f"{_FLUENT}-flat", *_MICROSOFT, "Fluent Emoji (microsoft/fluentui-emoji)"
    ),
})  # fmt: skip


def version(assets: Path, package: str) -> str:
    """The version of an npm package among the assets, for the corpus' record."""
    return str(read_json(assets / package / "package.json").get("version", "unknown"))


class Drawings:
    """The drawings of one style, looked up by emoji."""

    def __init__(self, assets: Path, style: Style) -> None:
        data = read_json(assets / style.package / "icons.json")
        self.icons: dict[str, dict[str, Any]] = data["icons"]
        self.size = (data.get("height", 16), data.get("width", 16))
        chars: dict[str, str] = read_json(assets / style.chars / "chars.json")
        self.names: dict[str, str] = {}
        for codes, name in chars.items():
            if name in self.icons:
                self.names[bare("".join(chr(int(code, 16)) for code in codes.split("-")))] = name
        self._groups = read_json(assets / style.chars / "metadata.json").get("categories", {})

    def groups(self) -> dict[str, str]:
        """Unicode's group of each emoji that has a drawing."""
        group_of = {name: group for group, names in self._groups.items() for name in names}
        return {emoji: group_of.get(name, "Symbols") for emoji, name in self.names.items()}

    def draw(self, emoji: str, size: int) -> Bytes:
        """(size, size, 4) premultiplied RGBA; the drawing's longer side fills the square.

        Raises:
            DataError: the drawing is empty or cannot be rendered.
        """
        return self.vector(emoji, size).raster(size, size)

    def vector(self, emoji: str, size: int) -> Vector:
        """The drawing whose longer side fills a square of `size` pixels but for one on each side.

        Raises:
            DataError: as `draw`.
        """
        icon = self.icons[self.names[emoji]]
        height = icon.get("height", self.size[0])
        width = icon.get("width", self.size[1])
        # A nested <svg> clips what the artist drew outside the sheet.
        body = (
            f'<svg x="0" y="0" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
        )
        side = max(width, height)
        sheet = _rasterize(body, (0, 0, side, side), (size, size))
        left, top, right, bottom = _extent(sheet, emoji)
        span = max(right - left, bottom - top) * side / size
        middle = ((left + right) / 2 * side / size, (top + bottom) / 2 * side / size)
        margin = span / size
        view = span + 2 * margin
        return Vector(body, (middle[0] - view / 2, middle[1] - view / 2, view))


def extent(pixels: Bytes) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) of what can be seen in (S, S, 4)."""
    seen = pixels[..., 3] > 8
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _extent(pixels: Bytes, emoji: str) -> tuple[int, int, int, int]:
    found = extent(pixels)
    if found[2] == 0:
        raise DataError(f"the drawing of {emoji} is empty")
    return found


def _rasterize(body: str, view: tuple[float, float, float, float], size: tuple[int, int]) -> Bytes:
    """(*size, 4) premultiplied RGBA of an SVG body seen through a view box, stretched to fit."""
    height, width = size
    stretched = view[2] * height != view[3] * width
    fit = 'preserveAspectRatio="none" ' if stretched else ""
    box = " ".join(f"{value:.4f}" for value in view)
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" {fit}viewBox="{box}">{body}</svg>'
    )
    try:
        png = _resvg().svg_to_bytes(svg_string=svg, skip_system_fonts=True)
    except ValueError as error:
        raise DataError(f"cannot render a drawing: {' '.join(str(error).split())}") from None
    return np.asarray(read_rgba(bytes(png)).convert("RGBa"))


def _resvg() -> Any:
    try:
        import resvg_py
    except ImportError:
        raise DataError("rendering SVG needs resvg-py: pip install resvg-py") from None
    return resvg_py
