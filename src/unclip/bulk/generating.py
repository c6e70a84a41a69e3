"""Many generated pictures with their captions, to train on: drawn, judged, told apart."""

from __future__ import annotations

import hashlib
import io
import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError, UnclipWarning
from ..plain import read_json
from .drawing import note_template
from .formats import LAYOUTS, Layout, Sample, kept
from .shards import MANIFEST, Make, Note, Shards, Tell, Work, cut

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..abilities.generate import GenerateRequest
    from ..facade import Pipeline
    from .jobs import Job
    from .scores import Judge

SCORE, DUPLICATE = "score", "duplicate"
"""Why pictures are dropped."""


@dataclass(frozen=True)
class Asked:
    """A request, its prompt before choices were made, and the line of the file it is from."""

    request: GenerateRequest
    written: str = ""
    row: int | None = None

    @classmethod
    def of(cls, job: Job) -> Asked:
        """Of a job of everyday use."""
        from ..abilities.generate import GenerateRequest

        assert isinstance(job.request, GenerateRequest)
        return cls(job.request, job.written, job.row.line)

    def part(self, first: int, count: int) -> Asked:
        """Some of its pictures: picture i is of seed + i."""
        changes = {"seed": self.request.seed + first, "n": count}
        return Asked(self.request.model_copy(update=changes), self.written, self.row)


@dataclass(frozen=True)
class Generating(Work):
    """Pictures of many requests.

    Args:
        asked: the requests, in order.
        load: gives the model; it can be sent to another process.
        model_hash: of the model.
        judge: gives the model whose CLIP scores pictures; None: the model's own.
        judge_hash: of that model.
        layout: one of `LAYOUTS`.
        shard_size: most pictures of a shard.
        seed: of all pictures that have none of their own; None: random ones, of `random_seed`,
            which is kept for the next run.
        min_score: least score of a picture that is kept.
        dedupe: drop pictures that look like an earlier one.
    """

    asked: Sequence[Asked]
    load: Callable[[], Pipeline]
    model_hash: str
    judge: Callable[[], Pipeline] | None = None
    judge_hash: str = ""
    layout: str = "folder"
    shard_size: int = 256
    seed: int | None = None
    random_seed: int = 0
    min_score: float | None = None
    dedupe: bool = False

    command = "bulk"

    @cached_property
    def things(self) -> Sequence[int]:
        """Pictures of each shard."""
        return cut(self._ends[-1] if self._ends else 0, self.shard_size)

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Work`; prompts may be added."""
        return {
            "model_hash": self.model_hash,
            "format": self.layout,
            "shard_size": self.shard_size,
            "min_score": self.min_score,
            "judge_hash": self.judge_hash or None,
            "dedupe": self.dedupe,
            "seed": self.seed,
            "random_seed": self.random_seed,
        }

    def digest(self, number: int) -> str:
        """Of the requests of a shard."""
        if number not in self._digests:
            found = hashlib.sha256()
            for one in self.part(number):
                found.update(f"{one.row} {one.written} {one.request.model_dump_json()}\n".encode())
            self._digests[number] = found.hexdigest()
        return self._digests[number]

    def part(self, number: int) -> list[Asked]:
        """What a shard is asked for."""
        first = number * self.shard_size
        last = min(first + self.shard_size, self._ends[-1])
        parts = []
        for index in range(bisect_right(self._ends, first), len(self.asked)):
            begin = self._ends[index] - self.asked[index].request.n
            if begin >= last:
                break
            low, high = max(first, begin), min(last, self._ends[index])
            parts.append(self.asked[index].part(low - begin, high - low))
        return parts

    def open(self, folder: Path) -> Make:
        """See `Work`."""
        from .scores import Judge

        pipe = self.load()
        pipe.limit = None  # each request was found to be within it
        judge = Judge(self.judge() if self.judge else pipe) if self.min_score is not None else None
        return _Maker(self, LAYOUTS[self.layout](folder), pipe, judge)

    @cached_property
    def _digests(self) -> dict[int, str]:
        return {}

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(one.request.n for one in self.asked))


@dataclass
class _Maker:
    """Draws shards."""

    work: Generating
    layout: Layout
    pipe: Pipeline
    judge: Judge | None

    def __call__(self, number: int, tell: Tell) -> Note:
        """See `Make`."""
        asked, first = self.work.part(number), number * self.work.shard_size
        places = list(accumulate((one.request.n for one in asked), initial=first))
        found: dict[int, tuple[Sample | None, dict[str, Any]]] = {}
        for batch in self._batches(asked):
            chosen = [asked[index] for index in batch]
            with warnings.catch_warnings():  # the same were given before the first picture
                warnings.simplefilter("ignore", UnclipWarning)
                drawn = self.pipe.run_many([one.request for one in chosen])
            for index, one, pictures in zip(batch, chosen, drawn, strict=True):
                note_template(pictures, one.written)
                for place, made in enumerate(self._samples(one, pictures), places[index]):
                    found[place] = self._named(place, *made)
            tell(sum(map(len, drawn)))
        every = [found[place] for place in sorted(found)]
        file = self.layout.write(number, (sample for sample, _ in every if sample is not None))
        return {"file": file, "pictures": [entry for _, entry in every]}

    def _batches(self, asked: Sequence[Asked]) -> list[list[int]]:
        from ..abilities._several import batches

        return batches([one.request for one in asked])

    def _samples(
        self, asked: Asked, pictures: Sequence[Image]
    ) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Each picture's file, empty where it is dropped, and what is known of it."""
        from ..weighting import plain

        caption = plain(asked.request.prompt)
        scores = self.judge.scores(pictures, [caption] * len(pictures)) if self.judge else []
        for index, picture in enumerate(pictures):
            entry = {
                "caption": caption,
                "prompt": asked.request.prompt,
                "seed": asked.request.seed + index,
                "row": asked.row,
                "size": [picture.height, picture.width],
            }
            if scores:
                entry["score"] = round(scores[index], 6)
            if self._is_low(entry):
                yield b"", {**entry, "dropped": SCORE}
                continue
            if self.work.dedupe:
                entry["print"] = _print(picture)
            yield _png(picture), entry

    def _is_low(self, entry: Mapping[str, Any]) -> bool:
        least = self.work.min_score
        return least is not None and not entry["score"] >= least

    def _named(
        self, place: int, data: bytes, entry: Mapping[str, Any]
    ) -> tuple[Sample | None, dict[str, Any]]:
        known = {"key": f"{place:09d}", **{k: v for k, v in entry.items() if v is not None}}
        shown = {name: value for name, value in known.items() if name != "print"}
        return (Sample(data, shown) if data else None), known


def _png(picture: Image) -> bytes:
    """With its record."""
    from ..media.writing import encode

    stream = io.BytesIO()
    encode(picture, stream)
    return stream.getvalue()


def _print(picture: Image) -> list[Any]:
    """What it is recognised by, as JSON."""
    from ..data.duplicates import print_of

    found = print_of(picture.convert("RGB"))
    return [found.bits, found.colours.hex()]


@dataclass(frozen=True)
class Generated:
    """What became of the pictures.

    Args:
        drawn: all of them.
        kept: those that are there.
        dropped: how many were, by reason.
    """

    drawn: int = 0
    kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)


def finish(shards: Shards, work: Generating) -> Generated:
    """Drop what looks like an earlier picture, and say what the folder holds.

    Raises:
        DataError: no picture is left.
        OutputError: it cannot be written.
    """
    layout = LAYOUTS[work.layout](shards.folder)
    for name in shards.remove_further():
        layout.remove(int(name))
    if work.dedupe:
        _drop_duplicates(shards, layout)
    counts: Counter[str] = Counter()
    for note in shards.notes():
        counts.update(entry.get("dropped", "") for entry in note["pictures"])
    left = counts.pop("", 0)
    dropped = {reason: counts[reason] for reason in (SCORE, DUPLICATE) if counts[reason]}
    drawn = left + sum(dropped.values())
    layout.finish(shards.notes())
    files = [{"file": n["file"], "pictures": sum(1 for _ in kept(n))} for n in shards.notes()]
    found = {"pictures": left, "drawn": drawn, "dropped": dropped, "shards": files}
    shards.write_manifest(complete=True, **found)
    if not left:
        raise DataError(
            f"no picture of {drawn:,} is left: all have a score below {work.min_score:g}"
        )
    return Generated(drawn, left, dropped)


def _drop_duplicates(shards: Shards, layout: Layout) -> None:
    """Of pictures that look the same the first stays, in the order of the prompts.

    Those that were dropped before are compared too, so that it may stop anywhere and begin again.
    """
    from ..data.duplicates import Print, groups

    keys: list[str] = []
    prints: list[Print] = []
    for note in shards.notes():
        for entry in note["pictures"]:
            if "print" in entry:
                bits, colours = entry["print"]
                keys.append(entry["key"])
                prints.append(Print(int(bits), bytes.fromhex(colours)))
    again = {keys[index] for group in groups(prints) for index in sorted(group)[1:]}
    for number, note in enumerate(shards.notes()):
        mine = {entry["key"] for entry in kept(note)} & again
        if mine:
            layout.drop(number, mine)
            marked = [
                {**one, "dropped": DUPLICATE} if one["key"] in mine else one
                for one in note["pictures"]
            ]
            shards.rewrite(number, {**note, "pictures": marked})


def random_seed_of(folder: Path) -> int | None:
    """From what seed an earlier run took random ones."""
    try:
        return int(read_json(folder / MANIFEST)["settings"]["random_seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
