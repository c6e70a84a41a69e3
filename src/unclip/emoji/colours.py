"""Colour words: what each looks like, which one a pixel is, and how a drawing is tinted.

Perceptual work is done in OKLab (Ottosson, "A perceptual color space for image processing").
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]
RGB = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (219, 40, 40),
    "orange": (247, 134, 28),
    "yellow": (252, 212, 42),
    "green": (52, 164, 72),
    "blue": (42, 108, 226),
    "purple": (138, 66, 190),
    "pink": (250, 128, 182),
    "brown": (132, 82, 46),
    "black": (44, 44, 48),
    "white": (246, 246, 246),
    "gray": (142, 142, 146),
}

# How strongly a drawing's own light and dark survive a tint: white and black have little room.
_CONTRAST = {"black": 0.55, "white": 0.6, "brown": 0.8}

_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    np.float32,
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    np.float32,
)


def oklab(rgb: NDArray[np.generic]) -> Floats:
    """From sRGB (..., 3) in 0..255 to OKLab (..., 3)."""
    value = np.asarray(rgb, np.float32) / 255
    linear = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    lab: Floats = np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T
    return lab


def srgb(lab: Floats) -> Bytes:
    """From OKLab (..., 3) to sRGB (..., 3) uint8, clipped to what a screen can show."""
    lms = (lab @ np.linalg.inv(_TO_LAB).T) ** 3
    linear = np.clip(lms @ np.linalg.inv(_TO_LMS).T, 0, 1)
    value = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, linear * 12.92)
    return np.asarray(np.round(value * 255), np.uint8)


def name_pixels(rgb: NDArray[np.generic]) -> NDArray[np.str_]:
    """The colour word of each pixel: (..., 3) in 0..255 to (...) of the keys of `COLOURS`."""
    lab = oklab(rgb)
    light, chroma = lab[..., 0], np.hypot(lab[..., 1], lab[..., 2])
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
    grey = chroma < 0.05
    warm = (hue >= 25) & (hue < 95)
    rules = [
        (grey & (light < 0.38), "black"),
        (grey & (light > 0.88), "white"),
        (grey, "gray"),
        (light < 0.25, "black"),
        (warm & (light < 0.62) & (chroma < 0.135), "brown"),
        (((hue >= 335) | (hue < 30)) & (light > 0.68), "pink"),
        ((hue >= 335) & (hue < 352), "pink"),
        ((hue < 42) | (hue >= 352), "red"),
        (hue < 74, "orange"),
        (hue < 112, "yellow"),
        (hue < 182, "green"),
        (hue < 285, "blue"),
    ]
    return np.select([rule for rule, _ in rules], [word for _, word in rules], "purple")


def distance(a: RGB | list[int], b: RGB | list[int]) -> float:
    """How different two colours look, in OKLab units (black to white is 1)."""
    return float(np.linalg.norm(_lab_of(tuple(a)) - _lab_of(tuple(b))))


@lru_cache(maxsize=1 << 16)
def _lab_of(rgb: tuple[int, ...]) -> Floats:
    return oklab(np.array(rgb))


def tint(
    pixels: Bytes, colour: str, level: float, hue: list[float] | None, all_of_it: bool
) -> Bytes:
    """Recolour a drawing, keeping its shading.

    Args:
        pixels: (H, W, 4) premultiplied RGBA.
        colour: a key of `COLOURS`.
        level: the luma (0..1) of the recoloured part; it becomes the colour's own lightness.
        hue: the direction, in (R-Y, B-Y), of the part to recolour; None for every hue.
        all_of_it: recolour grey pixels too (for drawings without colour of their own).

    Returns: (H, W, 4) premultiplied RGBA.
    """
    alpha = pixels[..., 3:].astype(np.float32)
    plain = pixels[..., :3] * (255 / np.maximum(alpha, 1))  # (H, W, 3) straight colour
    luma = plain @ np.array([0.299, 0.587, 0.114], np.float32)  # (H, W)
    ramp = _ramp(colour, round(level * 64))[np.minimum(luma, 255).astype(np.uint8)]
    if all_of_it:
        mixed: Floats = ramp
    else:
        weight = _weight(plain, luma, hue)[..., None]
        mixed = plain + (ramp - plain) * weight
    out = np.empty_like(pixels)
    out[..., :3] = np.clip(mixed, 0, 255) * (alpha / 255) + 0.5
    out[..., 3] = pixels[..., 3]
    return np.minimum(out, out[..., 3:])


def tint_of(plain: Floats) -> dict[str, Any] | None:
    """How to tint a drawing, given its opaque pixels (N, 3): the settings `tint` wants.

    The mildest way that makes it clearly red, green, blue or yellow: recolour its main hue, else
    all that is coloured, else everything. None if even that does not.
    """
    luma = plain @ np.array([0.299, 0.587, 0.114], np.float32)
    coloured = _weight(plain, luma, None)
    ways: list[dict[str, Any]] = [{"hue": None, "all": True, "level": _median(luma)}]
    for hue in (None, _main_hue(plain, luma, coloured)):
        part = _weight(plain, luma, hue) > 0.5
        if part.mean() > 0.2:
            ways.append({"hue": hue, "all": False, "level": _median(luma[part])})
    scores = [_clarity(plain[::5], way) for way in ways]
    mild = [number for number, score in enumerate(scores) if score >= 0.45]
    best = mild[-1] if mild else int(np.argmax(scores))
    return ways[best] if scores[best] >= 0.3 else None


def _median(luma: Floats) -> float:
    return round(float(np.median(luma)) / 255, 3)


def _clarity(plain: Floats, way: dict[str, Any]) -> float:
    """The share of the pixels that are called by a tint's name, for the worst of four tints."""
    pixels = np.full((len(plain), 1, 4), 255, np.uint8)
    pixels[:, 0, :3] = plain
    shares = []
    for colour in ("red", "green", "blue", "yellow"):
        tinted = tint(pixels, colour, way["level"], way["hue"], way["all"])
        shares.append(float((name_pixels(tinted[..., :3]) == colour).mean()))
    return min(shares)


def _main_hue(plain: Floats, luma: Floats, coloured: Floats) -> list[float]:
    """The commonest hue, as a unit vector in (R-Y, B-Y)."""
    u, v = plain[:, 0] - luma, plain[:, 2] - luma
    angle = np.arctan2(v, u)
    counts, edges = np.histogram(angle, 24, (-np.pi, np.pi), weights=coloured * np.hypot(u, v))
    smooth = counts + np.roll(counts, 1) + np.roll(counts, -1)
    best = edges[int(smooth.argmax())] + np.pi / 24
    return [round(float(np.cos(best)), 3), round(float(np.sin(best)), 3)]


def _weight(plain: Floats, luma: Floats, hue: list[float] | None) -> Floats:
    """How much each pixel is to be recoloured: none for greys and for other hues."""
    chroma = plain.max(-1) - plain.min(-1)
    weight: Floats = np.clip((chroma - 20) / 30, 0, 1)
    if hue is None:
        return weight
    u, v = plain[..., 0] - luma, plain[..., 2] - luma
    cosine = (u * hue[0] + v * hue[1]) / np.maximum(np.hypot(u, v), 1)
    return np.asarray(weight * np.clip((cosine - 0.2) / 0.3, 0, 1))


@lru_cache(maxsize=4096)
def _ramp(colour: str, level: int) -> Floats:
    """(256, 3): the colour for each luma, the luma `level`/64 giving the colour itself."""
    lab = oklab(np.array(COLOURS[colour]))
    offset = (np.arange(256, dtype=np.float32) / 255 - level / 64) * _CONTRAST.get(colour, 0.8)
    light = np.clip(lab[0] + offset, 0.02, 1)  # (256,)
    below, above = light / lab[0], (1 - light) / max(1 - lab[0], 0.05)
    chroma = np.clip(np.minimum(below, above), 0, 1) ** 0.7
    ramp = np.stack([light, lab[1] * chroma, lab[2] * chroma], -1).astype(np.float32)
    return srgb(ramp).astype(np.float32)
