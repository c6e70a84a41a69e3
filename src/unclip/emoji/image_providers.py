"""Who provides the pictures that are judged: a model, the composer itself, or retrieval."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UsageError
from ..evaluate.embedding_sources import finite
from ..facade import Pipeline
from ..media import to_pictures
from .scenes import Scene
from .source import EmojiConfig, EmojiScenes

Order = tuple[Scene, int]  # a scene and the number of the picture
ImageProvider = Callable[[Sequence[Order]], Sequence[Image.Image]]
"""Gives one picture for each order. Picture k of a scene depends on the two alone."""

_SIZE = (256, 256)


def one_by_one(draw: Callable[[Scene, int], Image.Image]) -> ImageProvider:
    """A provider that is a function of one scene and one number."""
    return lambda orders: [draw(scene, number) for scene, number in orders]


def from_model(pipeline: Pipeline, seed: int = 0) -> ImageProvider:
    """The model that is judged. A picture depends on the prompt's name, its number and `seed`.

    It raises CheckpointError where the model draws NaN or infinity.
    """

    def draw(orders: Sequence[Order]) -> Sequence[Image.Image]:
        seeds = [f"{seed}/{scene.name}/{number}" for scene, number in orders]
        cond = pipeline.read([scene.prompt for scene, _ in orders])
        return to_pictures(finite(pipeline.sample(cond, seeds)))

    return draw


def ceiling(config: EmojiConfig, size: tuple[int, int] = _SIZE) -> ImageProvider:
    """The composer's own pictures of the scenes: what a judge's mistakes alone cost."""
    source = EmojiScenes(config, size)
    return one_by_one(lambda scene, number: Image.fromarray(source.render(scene.spec)))


def retrieval(
    config: EmojiConfig, captions: int = 20_000, size: tuple[int, int] = _SIZE
) -> ImageProvider:
    """The training picture whose caption is nearest to the prompt: what memory alone gives.

    Nearest by the cosine of words and word pairs, each weighted by how rare it is (tf-idf), among
    so many `captions` of what the model was trained on. Picture number k takes the k-th of those
    that are equally near.

    Raises:
        UsageError: fewer than one caption.
    """
    if captions < 1:
        raise UsageError(f"captions must be at least 1, got {captions}")
    source = EmojiScenes(config, size)
    index = _Index(list(source.captions(captions)))

    def draw(scene: Scene, number: int) -> Image.Image:
        nearest = index.nearest(scene.prompt)
        return Image.fromarray(source.sample(int(nearest[number % len(nearest)]))["image"])

    return one_by_one(draw)


class _Index:
    """Captions, found again by their words."""

    def __init__(self, captions: Sequence[str]) -> None:
        rows = [Counter(_terms(caption)) for caption in captions]
        seen = Counter(term for row in rows for term in row)
        self.rarity = {term: math.log((1 + len(rows)) / (1 + n)) + 1 for term, n in seen.items()}
        entries: dict[str, list[tuple[int, float]]] = {}
        for number, row in enumerate(rows):
            for term, weight in self._weighted(row).items():
                entries.setdefault(term, []).append((number, weight))
        self.entries = {term: np.array(pairs).T for term, pairs in entries.items()}  # (2, n)
        self.size = len(rows)

    def nearest(self, prompt: str) -> NDArray[np.integer]:
        """The numbers of the captions that are nearest, all equally so, in order."""
        likeness = np.zeros(self.size)
        for term, weight in self._weighted(Counter(_terms(prompt))).items():
            if term in self.entries:
                rows, weights = self.entries[term]
                likeness[rows.astype(int)] += weight * weights
        return np.flatnonzero(likeness > likeness.max() - 1e-9)

    def _weighted(self, terms: Mapping[str, int]) -> dict[str, float]:
        """Unit length; a term that no caption has counts as the rarest."""
        rarest = math.log(1 + len(self.rarity)) + 1
        row = {term: times * self.rarity.get(term, rarest) for term, times in terms.items()}
        length = math.sqrt(sum(weight**2 for weight in row.values()))
        return {term: weight / length for term, weight in row.items()}


def _terms(caption: str) -> list[str]:
    """Words, and pairs of them, which keep a colour with its noun."""
    words = caption.lower().replace(",", "").split()
    words = [word for word in words if word not in {"a", "an", "the"}]
    return words + [f"{a} {b}" for a, b in pairwise(words)]
