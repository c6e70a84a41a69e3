"""The emoji benchmark: scenes whose content is known, and judges of what pictures show."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from PIL import Image

from ..evaluate.benchmark import Benchmark, Checked, CheckedPrompts, Draw, OnTask, Request, Session
from ..evaluate.features import FeatureExtractor
from ..evaluate.image_set import ImageSet, of_source
from ..evaluate.options import PARTS, Sizes
from ..media import to_pictures
from ..pages.report import Part, Section
from . import extractors, languages, verifier_report
from .image_providers import Order
from .judges import Panel, Shared, choose
from .options import OPTIONS
from .scenes import FULL, Scene, make_scenes
from .source import EmojiScenes
from .verifier import BOTH

FRESH = 50_000_000
"""Added to seeds, so that the scenes of an evaluation are none that a recipe draws."""
SMALL = (64, 64)
"""(height, width) of pictures that are compared with training pictures."""
FLOORS = 5
"""Other real sets that the floor is measured with."""

CHECKED = ("binding", "position", "count")
"""The categories that sources of z_i are checked with: those that a z_i carries badly."""

SECTIONS: dict[str, Callable[[Session, Panel], Section]] = {
    "verifier": verifier_report.section,
    "languages": languages.section,
}


class EmojiBenchmark(Benchmark):
    """Composed scenes of a corpus, as a recipe's `data` narrows and mixes them."""

    own_parts = tuple(SECTIONS)
    sizes = OPTIONS.sizes

    def __init__(
        self, path: Path, recipe: Mapping[str, Any], size: tuple[int, int], sizes: Sizes, seed: int
    ) -> None:
        self._made = (path, recipe, sizes, seed)
        known = {k: v for k, v in recipe.items() if k not in ("source", "path", "wrong")}

        def scenes(fresh: int | None, size: tuple[int, int]) -> EmojiScenes:
            values = {**known, "path": path}
            if fresh is not None:  # in English, which the extractors read; `languages` has others
                values |= {"seed": FRESH + 1000 * seed + fresh, "languages": {"en": 1.0}}
            return EmojiScenes(EmojiScenes.Config.parse(values, "data"), size)

        sets = [of_source(scenes(n, size), sizes.pictures) for n in range(2 + FLOORS)]
        self.reference, self.held_out, *self.floors = sets
        self.trained = of_source(scenes(None, SMALL), sizes.pool)
        self.unseen = of_source(scenes(99, SMALL), sizes.pool)
        self.source = scenes(98, size)
        trained = scenes(None, size)
        self.panel = Panel(trained.config)
        self.name = f"scenes of {len(trained.corpus.nouns)} nouns"
        content = (path / "corpus.json").read_bytes() + json.dumps(known, default=str).encode()
        self.hash, self.size = hashlib.sha256(content).hexdigest()[:12], size

    @classmethod
    def fits(cls, path: Path) -> bool:
        """Whether a folder is an emoji corpus."""
        return (path / "corpus.json").is_file()

    @classmethod
    def open(
        cls, request: Request, recipe: Mapping[str, Any], size: tuple[int, int], on_task: OnTask
    ) -> Self:
        """See `Benchmark.open`."""
        return cls(request.data, recipe, size, request.sizes, request.seed)

    @classmethod
    def missing(cls, path: Path) -> str:
        """See `Benchmark.missing`."""
        return (
            f"an emoji corpus and {path} is none (it has no corpus.json; `unclip data emoji` "
            "builds one)"
        )

    def lacks(self, part: str) -> str:
        """Nothing that it knows."""
        known = (*PARTS, *self.own_parts)
        return "" if part in known else "is a part of another benchmark"

    def at(self, size: tuple[int, int]) -> EmojiBenchmark:
        """The same scenes, painted at another size."""
        path, recipe, sizes, seed = self._made
        return EmojiBenchmark(path, recipe, size, sizes, seed)

    def extractors(self, request: Request) -> list[FeatureExtractor]:
        """The classifier and the CLIP that were trained for the corpus.

        Diversity alone does without them, by the model's own CLIP.
        """
        folder = extractors.folder_of(request.data, request.features)
        others = {*(request.only or PARTS)} & {*PARTS} - {"diversity"}
        if not others and not folder.is_dir():
            return []
        return [extractors.of_corpus(folder, name) for name in extractors.NAMES]

    def prepare(self, request: Request, only: Sequence[str]) -> list[tuple[str, str]]:
        """Choose the judges."""
        if not {*SECTIONS, "ablations"} & set(only):
            return []
        usual = extractors.folder_of(request.data, request.features) / "detector"
        self.panel.judges, why = choose(self.panel.config, request.detector, usual)
        alone = f"by the {self.panel.judges[0].name}"
        self.checkers = alone if len(self.panel.judges) == 1 else "both judges agreeing"
        return [("the trained judge", why)] if why else []

    @contextmanager
    def working(self, workers: int) -> Iterator[None]:
        """Has the matcher, which is slow, in processes of its own while the work lasts."""
        alone = self.panel.judges
        if workers < 1 or not alone:
            yield
            return
        shared = Shared(alone[-1], workers)
        self.panel.judges = (*alone[:-1], shared)
        try:
            yield
        finally:
            self.panel.judges = alone
            shared.close()

    def facts(self) -> list[tuple[str, str]]:
        """The judges' hashes."""
        return [(f"judge {judge.name}", judge.hash) for judge in self.panel.judges]

    def section(self, part: str, session: Session) -> Section:
        """What the judges say of scenes, or of scenes in two languages."""
        return SECTIONS[part](session, self.panel)

    def prompts(self, count: int) -> CheckedPrompts | None:
        """Scenes of `CHECKED`, with their renderings."""
        sizes = {cell: count for cell in FULL if cell[0] in CHECKED}
        scenes = make_scenes(self.panel.config, sizes)
        return CheckedScenes(self.panel, scenes, self.size) if self.panel.judges else None

    def calibration(self, session: Session) -> list[Part]:
        """How often each judge is right on real renderings."""
        return verifier_report.calibration(session, self.panel)


class CheckedScenes(CheckedPrompts):
    """Scenes, and judges of pictures of them."""

    def __init__(self, panel: Panel, scenes: list[Scene], size: tuple[int, int]) -> None:
        source = EmojiScenes(panel.config, size)
        self.panel, self.scenes = panel, scenes
        self.images = ImageSet(
            len(scenes),
            lambda number: source.render(scenes[number].spec),
            lambda: [scene.prompt for scene in scenes],
        )

    def check(self, session: Session, name: str, draw: Draw) -> Checked:
        """What the judges say of one picture of each prompt."""
        numbers = {scene.name: number for number, scene in enumerate(self.scenes)}

        def provider(orders: Sequence[Order]) -> list[Image.Image]:
            return to_pictures(draw([numbers[scene.name] for scene, _ in orders]))

        found = verifier_report.verdicts_on(session, self.panel, name, provider, self.scenes, 1)
        titles = {verifier_report.TITLES[category]: category for category in (*CHECKED, None)}
        shares = {title: found.share(BOTH, category) for title, category in titles.items()}
        return Checked(shares, found.summary())


BENCHMARK = EmojiBenchmark
