"""Draw captioned pictures of your own, to train on: stickers of objects no bundled model knows.

    npm install --prefix assets @iconify-json/fluent-emoji-flat@1.2.6
    python examples/own_pictures.py photos/ --pictures 300

`photos/train` and `photos/held-out` get pictures of 256 pixels and a `metadata.csv` with captions
such as "a red anchor on a yellow background". What is held out are other combinations of the same
words. The drawings are Fluent Emoji Flat (Microsoft, MIT). The same seed gives the same pictures.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from unclip.emoji.colours import COLOURS, tint, tint_of
from unclip.emoji.drawings import STYLES, Drawings

NOUNS = {
    "anchor": "⚓", "bell": "🔔", "bicycle": "🚲", "camera": "📷", "candle": "🕯", "crab": "🦀",
    "crown": "👑", "drum": "🥁", "giraffe": "🦒", "hammer": "🔨", "helicopter": "🚁", "key": "🔑",
    "sailboat": "⛵", "scissors": "✂", "snail": "🐌", "teapot": "🫖", "tractor": "🚜",
    "trophy": "🏆", "violin": "🎻", "whale": "🐳",
}  # fmt: skip
TINTS = ("red", "orange", "yellow", "green", "blue", "purple")
GROUNDS = ("yellow", "green", "blue", "pink", "gray", "black")
SIDE, OUTLINE = 256, 6  # pixels


class Words(NamedTuple):
    """What a picture shows."""

    noun: str
    tint: str
    ground: str

    @property
    def caption(self) -> str:
        """Exactly that, in English."""
        article = "" if self.noun == "scissors" else "an " if self.tint == "orange" else "a "
        return f"{article}{self.tint} {self.noun} on a {self.ground} background"


def every_words() -> list[Words]:
    """All combinations; nothing is drawn in the colour of its background."""
    return [Words(*one) for one in product(NOUNS, TINTS, GROUNDS) if one[1] != one[2]]


def split(rng: np.random.Generator, held_out: int) -> tuple[list[Words], list[Words]]:
    """(for training, held out): the second has every noun equally often, as far as possible."""
    words = [every_words()[place] for place in rng.permutation(len(every_words()))]
    turns: dict[Words, int] = {}
    for noun in NOUNS:
        turns |= {one: turn for turn, one in enumerate(w for w in words if w.noun == noun)}
    kept = sorted(words, key=turns.__getitem__)[:held_out]
    return [one for one in words if one not in set(kept)], kept


class Stickers:
    """Draws words: the tinted drawing with a white outline, a little turned, somewhere."""

    def __init__(self, assets: Path) -> None:
        drawings = Drawings(assets, STYLES["flat"])
        self.drawn = {noun: drawings.draw(emoji, SIDE) for noun, emoji in NOUNS.items()}
        self.ways = {noun: tint_of(_solid(pixels)) for noun, pixels in self.drawn.items()}

    def draw(self, words: Words, rng: np.random.Generator) -> Image.Image:
        """A picture of SIDE x SIDE pixels."""
        pixels, way = self.drawn[words.noun], self.ways[words.noun]
        if way is not None:
            pixels = tint(pixels, words.tint, way["level"], way["hue"], way["all"])
        drawn = Image.frombytes("RGBa", (SIDE, SIDE), pixels.tobytes()).convert("RGBA")
        if rng.random() < 0.5:
            drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        drawn = drawn.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC, expand=True)
        side = round(SIDE * rng.uniform(0.55, 0.8))
        drawn.thumbnail((side, side), Image.Resampling.LANCZOS)
        sheet = Image.new("RGB", (SIDE, SIDE), COLOURS[words.ground])
        free = [SIDE - length - 2 * OUTLINE for length in drawn.size]
        x, y = (OUTLINE + round(room * rng.uniform(0.2, 0.8)) for room in free)
        shape = Image.new("L", (SIDE, SIDE))
        shape.paste(drawn.getchannel("A"), (x, y))
        wide = shape.filter(ImageFilter.GaussianBlur(OUTLINE / 2)).point(lambda v: min(255, 12 * v))
        sheet.paste((255, 255, 255), (0, 0), wide)
        sheet.paste(drawn, (x, y), drawn)
        return sheet


def _solid(pixels: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return pixels[pixels[..., 3] > 250][:, :3].astype(np.float32)


def repeated(words: Sequence[Words], count: int) -> Iterator[Words]:
    """As many as asked for; combinations come again, placed otherwise, where there are too few."""
    return (words[number % len(words)] for number in range(count))


def write(folder: Path, words: Iterator[Words], stickers: Stickers, seed: int) -> int:
    """Draw pictures into a folder, with their captions in metadata.csv. Returns how many."""
    folder.mkdir(parents=True)
    rows = []
    for number, one in enumerate(words):
        name = f"{number:04d}.png"
        stickers.draw(one, np.random.default_rng((seed, number))).save(folder / name)
        rows.append((name, one.caption))
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("file_name", "text"), *rows])
    return len(rows)


def main() -> None:
    """Draw the two folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=500, help="to train on")
    parser.add_argument("--held-out", type=int, default=60, help="combinations left out")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the pictures")
    parser.add_argument("--assets", type=Path, default=Path("assets/node_modules"))
    given = parser.parse_args()
    train, held_out = split(np.random.default_rng(given.seed), given.held_out)
    stickers = Stickers(given.assets)
    count = write(given.out / "train", repeated(train, given.pictures), stickers, 2 * given.seed)
    kept = write(given.out / "held-out", iter(held_out), stickers, 2 * given.seed + 1)
    print(f"{count} pictures in {given.out / 'train'}, {kept} in {given.out / 'held-out'}")


if __name__ == "__main__":
    main()
