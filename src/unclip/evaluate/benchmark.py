"""What a model is evaluated on, and one evaluation at work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from ..data import IndexedSource
from ..facade import Pipeline
from ..pages.intervals import Share
from ..pages.report import Cell, Part, Section
from ..registry import Registry
from .cache import Cache
from .embedding_sources import EmbeddingSource
from .features import FeatureExtractor, features
from .image_set import ImageSet, OnProgress, pixels
from .options import FULL, Sizes

OnTask = Callable[[str, int, int], None]
"""(what is done, how far, of how many)."""

Draw = Callable[[Sequence[int]], Tensor]
"""Numbers of prompts -> pictures (B, 3, H, W)."""


@dataclass(frozen=True)
class Request:
    """What is to be evaluated, and on what."""

    data: Path  # a folder that one of `BENCHMARKS` reads
    model: Path | None = None  # where the model lies, to find its recipe and its card
    recipe: Path | None = None  # what it was trained with, where it is not found by itself
    trained_on: Path | None = None  # its training pictures, for memorisation on a folder
    features: Path | None = None  # feature extractors, where the benchmark has its own
    clip: Path | None = None  # a CLIP, of any format, that extracts features too
    detector: Path | None = None  # a trained judge, where the benchmark has one
    only: tuple[str, ...] = ()  # parts by name; all if empty
    sizes: Sizes = FULL  # those that its benchmark lacks count for nothing
    seed: int = 0  # of everything drawn
    anyway: bool = False  # though model and data do not seem to fit each other
    workers: int = 0  # processes for slow checks; no result depends on it
    command: str = ""  # what a person typed, for the report


@dataclass(frozen=True)
class Checked:
    """How many pictures show what their prompts ask for."""

    shares: Mapping[str, Share]  # by what is checked, the most telling first
    summary: dict[str, Any]  # all of it as plain data


class CheckedPrompts(ABC):
    """Prompts whose pictures can be checked: `images` are true ones."""

    images: ImageSet

    @abstractmethod
    def check(self, session: Session, name: str, draw: Draw) -> Checked:
        """Check one picture of each prompt; what is found is kept under `name`."""


class Benchmark(ABC):
    """Real pictures, captions to draw, and what else pictures of these captions are checked for.

    The module of a benchmark gives it as BENCHMARK; `BENCHMARKS` finds it by the module's name.

    `held_out` pictures are as real as the `reference` ones. Their captions are drawn, so that what
    they score against the reference is what a perfect model would.
    """

    own_parts: ClassVar[Sequence[str]] = ()
    """Parts of the report that no other benchmark has; `section` makes them."""
    sizes: ClassVar[type[Sizes]] = Sizes
    """How much is measured; a subclass where it has sizes of its own, which `OPTIONS` then show."""

    name: str
    hash: str  # of its data
    size: tuple[int, int]  # (height, width) of its pictures
    reference: ImageSet
    held_out: ImageSet
    floors: Sequence[ImageSet] = ()  # more held-out sets, for the spread of that score
    trained: ImageSet | None = None  # what training saw; None where nobody knows
    unseen: ImageSet | None = None  # as many pictures that it did not, of one distribution
    source: IndexedSource | None = None  # of more samples with captions, to compare priors on
    more: str = ""  # what to do where a metric needs more pictures
    checkers: str = ""  # who says what a picture shows
    notes: Sequence[str] = ()  # what was left out of the data

    @classmethod
    @abstractmethod
    def fits(cls, path: Path) -> bool:
        """Whether a folder holds its data."""

    @classmethod
    @abstractmethod
    def open(
        cls, request: Request, recipe: Mapping[str, Any], size: tuple[int, int], on_task: OnTask
    ) -> Self:
        """The benchmark on `request.data`, with (height, width) pictures.

        `recipe` is the `data` section that the model was trained with, empty if unknown.

        Raises:
            DataError, UsageError: what it needs is missing, damaged, or not in the data.
        """

    @classmethod
    def missing(cls, path: Path) -> str:
        """What its models were trained on and a folder is not, and how to get it, for an error."""
        return f"other data than {path}"

    @abstractmethod
    def lacks(self, part: str) -> str:
        """Why it cannot measure a part of the report, empty where it can."""

    def section(self, part: str, session: Session) -> Section:
        """One of its own parts."""
        raise NotImplementedError

    def at(self, size: tuple[int, int]) -> Benchmark:
        """The same benchmark with pictures of another (height, width)."""
        raise NotImplementedError

    def extractors(self, request: Request) -> list[FeatureExtractor]:
        """Its own feature extractors. Raises UsageError or CheckpointError."""
        return []

    def prepare(self, request: Request, only: Sequence[str]) -> list[tuple[str, str]]:
        """Load what the checks of some parts need; returns (what, why) is left out of them."""
        return []

    @contextmanager
    def working(self, workers: int) -> Iterator[None]:
        """Keeps `workers` processes for its checks while work lasts."""
        yield

    def facts(self) -> list[tuple[str, str]]:
        """(label, value) that say in the report what the checks were made with."""
        return []

    def prompts(self, count: int) -> CheckedPrompts | None:
        """Prompts whose pictures it can check, `count` of each kind."""
        return None

    def calibration(self, session: Session) -> list[Part]:
        """Parts of the report that say how reliable the checks are."""
        return []


BENCHMARKS: Registry[type[Benchmark]] = Registry("unclip.evaluate", "BENCHMARK", "benchmark")


def benchmark_for(path: Path) -> str:
    """The name of the benchmark that reads a folder; `folder` if no other knows it."""
    others = (name for name in BENCHMARKS.names() if name != "folder")
    return next((name for name in others if BENCHMARKS[name].fits(path)), "folder")


@dataclass
class Session:
    """One evaluation at work. Parts of the report fill `values`, `headline` and `left_out`."""

    pipe: Pipeline
    benchmark: Benchmark
    extractors: tuple[FeatureExtractor, ...]
    sizes: Sizes
    seed: int
    cache: Cache
    on_task: OnTask = lambda what, done, total: None
    values: dict[str, Any] = field(default_factory=dict)  # plain, for the JSON file
    headline: list[tuple[str, Cell]] = field(default_factory=list)  # what to see first
    left_out: list[tuple[str, str]] = field(default_factory=list)  # (what, why)

    def on_progress(self, what: str) -> OnProgress:
        """Reports how far one thing is."""
        return lambda done, total: self.on_task(what, done, total)

    def drawn(
        self,
        source: EmbeddingSource,
        images: ImageSet,
        name: str = "",
        pipe: Pipeline | None = None,
    ) -> ImageSet:
        """Pictures of the captions of `images`, drawn once and kept under the source's name."""
        draw = source.provider(pipe or self.pipe, images, self.seed)
        report = self.on_progress(f"drawing, {source.title}")
        return self.cache.drawn(f"drawn/{name or source.name}", images.captions, draw, report)

    def features(self, extractor: FeatureExtractor, name: str, images: ImageSet) -> Tensor:
        """(N, D) features of an image set, kept under `name`."""
        report = self.on_progress(f"{extractor.name} looks")
        make = lambda: {"features": features(extractor, images, report)}  # noqa: E731
        return self.cache.tensors(f"features/{extractor.key}/{name}", make)["features"]

    def pixels(self, name: str, images: ImageSet) -> Tensor:
        """(N, 3072) pixels at 32x32, kept under `name`."""
        make = lambda: {"pixels": pixels(images, self.on_progress("shrinking"))}  # noqa: E731
        return self.cache.tensors(f"features/pixels/{name}", make)["pixels"]
