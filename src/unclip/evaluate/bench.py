"""What every part of an evaluation works with: the model, the ground, the nets, what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field
from torch import Tensor

from ..config import Config
from ..facade import Pipeline
from .album import Album, OnProgress, pixels
from .features import Net, features
from .ground import Ground
from .science import Way
from .seen import Judge
from .work import Work

Tell = Callable[[str, int, int], None]
"""(what is done, how far, of how many)."""

PARTS = ("distribution", "verifier", "languages", "science", "memorisation")


class Sizes(Config):
    """How much is measured."""

    pictures: int = Field(1000, ge=1, description="on each side of a metric")
    pool: int = Field(20_000, ge=1, description="training pictures, and unseen ones, to copy from")
    science: int = Field(500, ge=1, description="pictures of each way to z_i")
    scales: tuple[float, ...] = Field((1, 1.5, 2, 3, 4, 6, 8), description="guidance scales")
    captions: int = Field(1000, ge=2, description="among which a prior has to find its own")
    inversions: int = Field(64, ge=1, description="pictures that are inverted")
    scenes: int | None = Field(None, description="prompts of each kind; none is the full list")
    admission: int = Field(300, ge=1, description="renderings of each kind for every judge")
    languages: int = Field(40, ge=1, description="scenes of each kind in every language")
    ways: int = Field(15, ge=0, description="prompts of each kind for every way to z_i")
    each: int = Field(4, ge=1, description="pictures of each prompt")
    sample: int = Field(32, ge=1, description="pictures shown of each kind")


FULL = Sizes()
QUICK = Sizes(
    pictures=96,
    pool=2000,
    science=80,
    scales=(1, 2, 4, 8),
    inversions=8,
    scenes=4,
    admission=20,
    languages=2,
    ways=2,
    each=1,
    sample=16,
)


@dataclass
class Bench:
    """One evaluation.

    Args:
        pipe: the model.
        ground: what it is held against.
        nets: that look at pictures, the first one leading.
        sizes: how much is measured.
        seed: of everything drawn.
        work: what is kept.
        judges: that say what pictures of scenes show.
        tell: told of the progress.
        values: filled with plain data by the parts.
        left_out: filled with (what, why).
    """

    pipe: Pipeline
    ground: Ground
    nets: tuple[Net, ...]
    sizes: Sizes
    seed: int
    work: Work
    judges: tuple[Judge, ...] = ()
    tell: Tell = lambda what, done, total: None
    values: dict[str, Any] = field(default_factory=dict)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def progress(self, what: str) -> OnProgress:
        """A teller of one thing."""
        return lambda done, total: self.tell(what, done, total)

    def drawn(
        self, way: Way, pictures: Album, name: str = "", pipe: Pipeline | None = None
    ) -> Album:
        """Pictures of the captions of `pictures`, drawn once and kept under the way's name."""
        name = f"drawn/{name or way.name}"
        draw = way.drawer(pipe or self.pipe, pictures, self.seed)
        report = self.progress(f"drawing, {way.title}")
        return self.work.drawn(name, pictures.captions, draw, report, pictures.specs)

    def seen(self, net: Net, name: str, album: Album) -> Tensor:
        """(N, D) features of an album, kept under `name`."""
        report = self.progress(f"{net.name} looks")
        make = lambda: {"features": features(net, album, report)}  # noqa: E731
        return self.work.tensors(f"features/{net.key}/{name}", make)["features"]

    def small(self, name: str, album: Album) -> Tensor:
        """(N, 3072) pixels at 32x32, kept under `name`."""
        make = lambda: {"pixels": pixels(album, self.progress("shrinking"))}  # noqa: E731
        return self.work.tensors(f"features/pixels/{name}", make)["pixels"]
