"""What a model is held against: real pictures, captions to draw, and what it was trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..config import read_toml
from ..data.emoji import EmojiConfig, EmojiScenes
from ..data.listing import listing
from ..data.source import IndexedSource
from ..errors import DataError, UsageError
from ..facade import Pipeline
from ..plain import read_json
from . import album
from .album import Album, OnProgress

PRESETS = Path(__file__).parent.parent / "presets"
FRESH = 50_000_000
"""Added to seeds, so that the scenes of an evaluation are none that a recipe draws."""
FLOORS = 5
"""Other real sets that the floor is measured with."""


@dataclass(frozen=True)
class Ground:
    """Real pictures.

    `reference` is the real side of every metric. `twin` is another real set of the same size whose
    captions are drawn: what it scores against the reference is what a perfect model would.
    `twins` holds more of them, for the floor's spread. `trained` and `unseen` are as many pictures
    that training saw and that it did not, of one distribution.
    """

    name: str
    kind: Literal["emoji", "folder"]
    hash: str
    side: int
    reference: Album
    twin: Album
    twins: tuple[Album, ...] = ()
    trained: Album | None = None
    unseen: Album | None = None
    source: IndexedSource | None = None  # of composed scenes, for what needs more of them
    config: EmojiConfig | None = None  # what training composed
    notes: tuple[str, ...] = ()
    at: Callable[[int], Ground] | None = None  # the same at another side


@dataclass(frozen=True)
class Sizes:
    """How many pictures: on each side of a metric, and in each pool of memorisation."""

    pictures: int
    pool: int


def recipe_data(pipe: Pipeline, where: Path | None, recipe: Path | None) -> dict[str, Any]:
    """The `data` section that a model was trained with, empty where nobody knows.

    From `recipe`, from the recipe.json of the run that the model lies in, or from the preset of
    the model's name.

    Raises:
        UsageError: the recipe is not there or has no data section.
    """
    beside = where.resolve().parent / "recipe.json" if where is not None else None
    if recipe is None and beside is not None and beside.is_file():
        recipe = beside
    preset = PRESETS / f"{pipe.name}.toml"
    if recipe is None and preset.is_file():
        recipe = preset
    if recipe is None:
        return {}
    if recipe.suffix == ".json":
        try:
            values = read_json(recipe)
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot read {recipe}: {error}") from None
    else:
        values = read_toml(recipe)
    data = values.get("data") if isinstance(values, dict) else None
    if not isinstance(data, dict):
        raise UsageError(f"{recipe} is no recipe: it has no [data]")
    return data


def emoji_ground(path: Path, data: Mapping[str, Any], side: int, sizes: Sizes, seed: int) -> Ground:
    """Composed scenes of a corpus, as the recipe's `data` narrows and mixes them.

    Raises:
        DataError: the corpus is missing or damaged.
        UsageError: the corpus lacks what the model was trained on.
    """
    known = {key: value for key, value in data.items() if key not in ("source", "path", "wrong")}

    def scenes(fresh: int | None, at: int) -> EmojiScenes:
        values = {**known, "path": path}
        if fresh is not None:  # in English, which the eyes read; a part of its own has the others
            values |= {"seed": FRESH + 1000 * seed + fresh, "languages": {"en": 1.0}}
        return EmojiScenes(EmojiScenes.Config.parse(values, "data"), at)

    def ground(at: int) -> Ground:
        fresh = [album.of_scenes(scenes(number, at), sizes.pictures) for number in range(2)]
        more = [album.of_scenes(scenes(2 + n, at), sizes.pictures) for n in range(FLOORS)]
        nouns = len({glyph["noun"] for glyph in scenes(None, at).corpus.glyphs})
        return Ground(
            name=f"scenes of {nouns} nouns",
            kind="emoji",
            hash=_hash((path / "corpus.json").read_bytes(), known),
            side=at,
            reference=fresh[0],
            twin=fresh[1],
            twins=tuple(more),
            trained=album.of_scenes(scenes(None, 64), sizes.pool),
            unseen=album.of_scenes(scenes(99, 64), sizes.pool),
            source=scenes(98, at),
            config=scenes(None, at).config,
            at=ground,
        )

    return ground(side)


def folder_ground(
    path: Path,
    side: int,
    sizes: Sizes,
    seed: int,
    trained_on: Path | None = None,
    on_progress: OnProgress | None = None,
) -> Ground:
    """A folder of captioned pictures, dealt into two halves: the reference and its twin.

    Args:
        path: the pictures, with captions.
        side: they are cropped and scaled to.
        sizes: at most so many of them.
        seed: of the deal.
        trained_on: what the model was trained on, for memorisation; `path` is then held out.
        on_progress: told of the files that are tried.

    Raises:
        DataError: no pictures, no captions, or more than 1 % of them unreadable.
    """
    pairs = listing(path).pairs
    order = np.random.default_rng((seed, 5)).permutation(len(pairs))
    files = [(pairs[at][0], pairs[at][1][0]) for at in order]
    half = min(sizes.pictures, len(files) // 2)
    whole = album.of_files(files[: 2 * half], side, on_progress)
    half = len(whole) // 2
    seen, unseen = None, None
    notes = []
    if trained_on is not None:
        trained_files = [(file, "") for file in album.pictures_in(trained_on)]
        own = np.random.default_rng((seed, 6)).permutation(len(trained_files))
        pool = min(sizes.pool, len(trained_files), len(files))
        seen = album.of_files([trained_files[at] for at in own[:pool]], side, on_progress)
        unseen = album.of_files(files[:pool], side, on_progress)
        pool = min(len(seen), len(unseen))
        seen, unseen = seen.first(pool), unseen.first(pool)
    for where, one in ((path, whole), (trained_on, seen)):
        if one is not None and one.skipped:
            files_tried = one.skipped + len(one)
            notes.append(f"{one.skipped} of {files_tried} files of {where} could not be read")
    return Ground(
        name=path.name,
        kind="folder",
        hash=_hash(*(f"{file}:{file.stat().st_size}".encode() for file, _ in files)),
        side=side,
        reference=_part(whole, 0, half),
        twin=_part(whole, half, 2 * half),
        trained=seen,
        unseen=unseen,
        notes=tuple(notes),
    )


def _part(whole: Album, start: int, stop: int) -> Album:
    return Album(whole.captions[start:stop], lambda number: whole.read(start + number))


def _hash(*parts: object) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part if isinstance(part, bytes) else json.dumps(part, default=str).encode())
    return total.hexdigest()[:12]


def is_corpus(path: Path) -> bool:
    """Whether a folder is an emoji corpus."""
    return (path / "corpus.json").is_file()


FIT, CHANCE_HITS = 64, 3


@torch.inference_mode()
def check_fit(pipe: Pipeline, ground: Ground) -> None:
    """Let the model's own CLIP match pictures to captions; at chance the two do not fit.

    Of 64 different captions one is found by chance, and more than three 1.9 % of the time.

    Raises:
        UsageError: it finds no more than that.
    """
    clip = next((s for s in pipe.stages.values() if s.kind == "clip"), None)
    if clip is None or clip.config.network.vision is None or clip.config.network.text is None:
        return
    first: dict[str, int] = {}
    for number, caption in enumerate(ground.reference.captions):
        first.setdefault(caption, number)
    numbers = list(first.values())[:FIT]
    if len(numbers) < FIT:
        return
    stage = pipe.model.clip("the check")
    cond = stage.encode_text(pipe.read([ground.reference.captions[n] for n in numbers]))
    z_i = stage.net.encode_image(ground.reference.tensor(numbers).to(pipe.device))
    assert cond.text_embed is not None
    hits = int(_hits(z_i, cond.text_embed).sum())
    if hits <= CHANCE_HITS:
        raise UsageError(
            f"model '{pipe.name}' and {ground.name} do not fit each other: of {FIT} captions the "
            f"model's CLIP finds {hits} by their pictures, and chance finds 1; give the data that "
            "it was trained on, or --anyway"
        )


def _hits(z_i: Tensor, z_t: Tensor) -> Tensor:
    own = torch.arange(len(z_i), device=z_i.device)
    return (z_i.float() @ z_t.float().T).argmax(1) == own


def check_enough(count: int, least: Mapping[str, int], have: str) -> None:
    """Raise DataError where a metric needs more than `count` pictures on each side."""
    for metric, number in least.items():
        if count < number:
            raise DataError(
                f"{metric} needs at least {number} pictures on each side, and there are {count}: "
                f"{have}"
            )
