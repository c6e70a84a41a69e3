"""Pictures against what their prompts ask for: two judges look, one rule decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import DataError, UsageError
from ..evaluate.cache import JsonLines
from ..pages.intervals import Share, kappa
from .image_providers import ImageProvider, Order
from .judge import Detection, Detections, Judge
from .scenes import CATEGORIES, Scene, Wanted

OnPicture = Callable[[int, int], None]

SCORED: dict[str, tuple[str, ...]] = {
    "single": ("objects", "count"),
    "two": ("objects", "count"),
    "count": ("objects", "count"),
    "colour": ("objects", "count", "colour", "ground"),
    "position": ("objects", "count", "position"),
    "binding": ("objects", "count", "colour"),
}
"""The aspects that have to be right in each category; the score `all` wants every aspect."""

BOTH = "both"
"""The name under which two judges that agree are reported."""


def check(scene: Scene, seen: Detections) -> dict[str, bool]:
    """What of a scene a judge finds right, by aspect. What the prompt leaves open is right.

    - objects: what is asked for is there, and nothing else, nor anything unknown.
    - count: each noun as often as asked for.
    - colour: every object whose colour is said has it.
    - position: the first noun stands to the second as told: by their middles, along the axis in
      which these are farther apart.
    - ground: the background has the colour that is said.
    """
    nouns = Counter(thing.noun for thing in seen.things)
    return {
        "objects": set(nouns) == {thing.noun for thing in scene.wanted},
        "count": all(nouns[thing.noun] == thing.count for thing in scene.wanted),
        "colour": all(_coloured(thing, seen.things) for thing in scene.wanted),
        "position": _related(scene, seen.things),
        "ground": scene.background is None or scene.background == seen.background,
    }


def is_right(scene: Scene, found: Mapping[str, bool]) -> bool:
    """Whether the aspects that the scene's category is about are right."""
    return all(found[aspect] for aspect in SCORED[scene.category])


def _coloured(wanted: Wanted, things: Iterable[Detection]) -> bool:
    if wanted.colour is None:
        return True
    tints = [thing.tint for thing in things if thing.noun == wanted.noun]
    return bool(tints) and all(
        tint == wanted.colour or (tint is None and wanted.own) for tint in tints
    )


def _related(scene: Scene, things: Iterable[Detection]) -> bool:
    """Whether the first noun stands to the second as the scene says, by their middles."""
    if scene.relation is None:
        return True
    middles: dict[str, tuple[float, float]] = {}
    for thing in sorted(things, key=lambda thing: thing.confidence):
        middles[thing.noun] = thing.centre
    first, second = (middles.get(thing.noun) for thing in scene.wanted)
    if first is None or second is None:
        return False
    x, y = second[0] - first[0], second[1] - first[1]
    return {
        "to the left of": x > abs(y),
        "to the right of": -x > abs(y),
        "above": y > abs(x),
        "below": -y > abs(x),
        "next to": abs(x) > abs(y),
    }[scene.relation]


@dataclass(frozen=True)
class Verdict:
    """One picture: which scene's and number, what each judge sees, what of it is right."""

    scene: str
    picture: int
    seen: dict[str, Detections]
    found: dict[str, dict[str, bool]]


def judged(scene: Scene, picture: int, seen: Mapping[str, Detections]) -> Verdict:
    """The verdict on what the judges see in a picture of a scene."""
    found = {name: check(scene, one) for name, one in seen.items()}
    return Verdict(scene.name, picture, dict(seen), found)


@dataclass
class Verdicts:
    """The verdicts on many pictures, and the figures that follow from them."""

    scenes: dict[str, Scene]
    judges: tuple[str, ...]
    rows: list[Verdict] = field(default_factory=list)

    def right(self, row: Verdict, judge: str, everything: bool = False) -> bool:
        """Whether a judge, or `BOTH`, finds a picture right; with `everything` in every aspect."""
        if judge == BOTH:
            return all(self.right(row, name, everything) for name in self.judges)
        found = row.found[judge]
        return all(found.values()) if everything else is_right(self.scenes[row.scene], found)

    def share(self, judge: str, category: str | None = None, split: str | None = None) -> Share:
        """The share of right pictures: of a category by its score, of all (None) by everything."""
        rows = [
            row
            for row in self.rows
            if category in {None, self.scenes[row.scene].category}
            and split in {None, self.scenes[row.scene].split}
        ]
        right = sum(self.right(row, judge, everything=category is None) for row in rows)
        return Share(right, len(rows))

    def agreement(self, first: str, second: str) -> tuple[float, float]:
        """(share, Cohen's kappa) of pictures on which two judges give the same verdict."""
        one = [self.right(row, first) for row in self.rows]
        two = [self.right(row, second) for row in self.rows]
        same = sum(a == b for a, b in zip(one, two, strict=True))
        return same / max(len(one), 1), kappa(one, two)

    def summary(self) -> dict[str, Any]:
        """Everything for a report: judge -> score -> split ("any" for all of them) -> share."""
        splits = dict.fromkeys(scene.split for scene in self.scenes.values())
        table: dict[str, Any] = {
            judge: {
                category or "all": {
                    split or "any": share.dump()
                    for split in (None, *splits)
                    if (share := self.share(judge, category, split)).total
                }
                for category in (*CATEGORIES, None)
            }
            for judge in (BOTH, *self.judges)
        }
        if len(self.judges) == 2 and self.rows:
            same, beyond = self.agreement(*self.judges)
            table["agreement"] = {"share": round(same, 4), "kappa": round(beyond, 4)}
        return table

    def shuffled(self, seed: int = 0) -> Verdicts:
        """The floor: the same pictures held against the prompt of another scene of the category."""
        swap = _swapped(list(self.scenes.values()), np.random.default_rng(seed))
        rows = [judged(self.scenes[swap[row.scene]], row.picture, row.seen) for row in self.rows]
        return Verdicts(self.scenes, self.judges, rows)


def _swapped(scenes: Sequence[Scene], rng: np.random.Generator) -> dict[str, str]:
    """For each scene another one of its category and split, no scene twice."""
    cells: dict[tuple[str, str], list[str]] = {}
    for scene in scenes:
        cells.setdefault((scene.category, scene.split), []).append(scene.name)
    swap: dict[str, str] = {}
    for names in cells.values():
        order = [names[number] for number in rng.permutation(len(names))]
        swap |= dict(zip(order, [*order[1:], order[0]], strict=True))
    return swap


def verify(
    provider: ImageProvider,
    scenes: Sequence[Scene],
    judges: Sequence[Judge],
    pictures_each: int = 4,
    *,
    path: Path | None = None,
    batch: int = 16,
    on_step: OnPicture | None = None,
) -> Verdicts:
    """Have every judge look at pictures of scenes.

    Args:
        provider: gives a picture for each (scene, number) of a list, of a `batch` at once.
        scenes: as `make_scenes` gives them, with `pictures_each` of each.
        judges: two, as a rule.
        path: a file of JSON lines that verdicts are added to, and taken from where it has them,
            so that what was interrupted goes on.
        on_step: called with (pictures done, pictures in all); may raise `Cancelled`.

    Raises:
        UsageError: no scene or judge, or a judge that does not know a scene's noun.
        DataError: `path` belongs to other scenes or judges, or is damaged.
        OutputError: `path` cannot be written.
    """
    _check_fit(scenes, judges, pictures_each)
    verdicts = Verdicts({scene.name: scene for scene in scenes}, tuple(j.name for j in judges))
    orders = [(scene, number) for scene in scenes for number in range(pictures_each)]
    head = {"judges": {judge.name: judge.hash for judge in judges}, "pictures": pictures_each}
    head["prompts"] = {scene.name: scene.prompt for scene in scenes}
    lines = JsonLines(path) if path else None
    if lines:
        verdicts.rows += _resumed(lines, head, verdicts.scenes)
    done = {(row.scene, row.picture) for row in verdicts.rows}
    left = [order for order in orders if (order[0].name, order[1]) not in done]
    for start in range(0, len(left), batch):
        part = left[start : start + batch]
        rows = list(_judged(part, provider(part), judges))
        verdicts.rows += rows
        if lines:
            lines.add([_dump(row) for row in rows])
        if on_step:
            on_step(len(verdicts.rows), len(orders))
    return verdicts


def _judged(
    orders: Sequence[Order], pictures: Sequence[Image.Image], judges: Sequence[Judge]
) -> Iterator[Verdict]:
    pixels = np.stack([np.asarray(one.convert("RGB")) for one in pictures])  # (B, H, W, 3)
    looks = {judge.name: judge.look(pixels) for judge in judges}
    for index, (scene, number) in enumerate(orders):
        yield judged(scene, number, {name: seen[index] for name, seen in looks.items()})


def _check_fit(scenes: Sequence[Scene], judges: Sequence[Judge], pictures_each: int) -> None:
    if not scenes:
        raise UsageError("there is no scene to verify")
    if not judges:
        raise UsageError("there is no judge to verify with")
    if pictures_each < 1:
        raise UsageError(f"pictures_each must be at least 1, got {pictures_each}")
    nouns = dict.fromkeys(thing.noun for scene in scenes for thing in scene.wanted)
    for judge in judges:
        missing = [noun for noun in nouns if noun not in judge.nouns]
        if missing:
            raise UsageError(
                f"the judge '{judge.name}' does not know {len(missing)} of the scenes' nouns "
                f"('{missing[0]}'); make it from the same vocabulary"
            )


def _dump(row: Verdict) -> dict[str, Any]:
    seen = {name: one.dump() for name, one in row.seen.items()}
    return {"scene": row.scene, "picture": row.picture, "seen": seen}


def _resumed(
    lines: JsonLines, head: Mapping[str, Any], scenes: Mapping[str, Scene]
) -> list[Verdict]:
    """The verdicts that a file holds; a new one begins with `head`."""
    rows = list(lines.read())
    if not rows:
        lines.add([head])
        return []
    if rows[0] != head:
        raise DataError(
            f"{lines.path} holds verdicts on other prompts or by other judges; "
            "give another file, or remove this one"
        )
    try:
        return [
            judged(
                scenes[row["scene"]],
                row["picture"],
                {name: Detections.parse(one) for name, one in row["seen"].items()},
            )
            for row in rows[1:]
        ]
    except (KeyError, TypeError, AttributeError, ValueError, IndexError):
        raise lines.damaged() from None
