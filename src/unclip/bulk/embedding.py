"""CLIP embeddings of many pictures and their captions, from which priors train without a picture.

Without captions they are those of the pictures alone.

They lie in shards as `data/embeddings.py` reads them: of shard 3 `img_emb/img_emb_3.npy`,
`text_emb/text_emb_3.npy`, `text_encodings/text_encodings_3.npy` and `metadata/metadata_3.jsonl`, or
`metadata_3.parquet` as clip-retrieval has it. A picture with several captions has a row for each.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..data import source_at
from ..data._picture import read_cropped
from ..data._pictures import Uncaptioned
from ..data.embeddings import ENCODINGS, IMAGES, TEXTS, Embeddings, write_about, write_array
from ..data.folder import Folder
from ..data.source import Item, ListedSource
from ..errors import DataError, NoCaptionsError
from ..files import write_text
from .shards import Make, Note, Shards, Tell, Work, cut

if TYPE_CHECKING:
    from ..facade import Pipeline
    from ..stages.clip import ClipStage

SKIPPED = "skipped.txt"
"""Names the pictures that could not be embedded, and says why."""

METADATA = "metadata"

LOOKED_AT = 100
"""Of how many pictures it is seen whether the data have captions at all."""

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Embedding(Work):
    """Embeddings of the pictures of a source.

    Args:
        read: opens the source with pictures of a (height, width); another process can call it.
        where: the data, as a person knows them.
        count: their pictures.
        made_of: of each shard what `digest` says.
        load: gives the model; another process can call it.
        model, model_hash: its name, and its hash.
        layout: "unclip", or "clip-retrieval" with its tables of captions.
        encodings: write a text's encodings too, one a token, which some priors read.
        number: format of what is written.
        batch: pictures that are embedded at once.
        readers: threads that read pictures.
        shard_size: most pictures of a shard.
        captions: whether a picture has a row for each of its captions; else it has one without.
    """

    read: Callable[[tuple[int, int]], ListedSource]
    where: str
    count: int
    made_of: Sequence[str]
    load: Callable[[], Pipeline]
    model: str
    model_hash: str
    layout: Literal["unclip", "clip-retrieval"] = "unclip"
    encodings: bool = False
    number: Literal["float16", "float32"] = "float16"
    batch: int = 64
    readers: int = 4
    shard_size: int = 10_000
    captions: bool = True

    command = "embed"

    @cached_property
    def things(self) -> Sequence[int]:
        """Pictures of each shard."""
        return cut(self.count, self.shard_size)

    @property
    def settings(self) -> Mapping[str, Any]:
        """See `Work`."""
        return {
            "source": self.where,
            "model_hash": self.model_hash,
            "format": self.layout if self.captions else f"{self.layout} without captions",
            "encodings": self.encodings,
            "number": self.number,
            "shard_size": self.shard_size,
        }

    def digest(self, number: int) -> str:
        """The names of its first and its last picture: where files were added, it is made again."""
        return self.made_of[number]

    def open(self, folder: Path) -> Make:
        """See `Work`. Raises UsageError where the model's CLIP sees no pictures."""
        pipe = self.load()
        clip = clip_of(pipe)
        assert clip.image_size is not None
        return _Maker(self, folder, pipe, clip, self.read(clip.image_size))


def opened(path: Path, settings: Mapping[str, str | None], size: tuple[int, int]) -> ListedSource:
    """The source at a path; of a folder of pictures that have no captions, these.

    Raises:
        DataError: there are no pictures, or none that are stored.
    """
    try:
        source = source_at(path, size, settings)
    except NoCaptionsError:
        source = Uncaptioned(path, size)
    if not isinstance(source, ListedSource) or isinstance(source, Embeddings):
        kind = type(source).__name__.lower()
        raise DataError(f"{path} holds no picture files: it is read as '{kind}'").about("source")
    return source


def uncaptioned(
    path: Path, settings: Mapping[str, str | None], size: tuple[int, int]
) -> ListedSource:
    """All pictures at a path, whether or not they have captions. Raises as `opened` does."""
    source = opened(path, settings, size)
    return Uncaptioned(path, size) if isinstance(source, Folder) else source


def looked_at(source: ListedSource) -> range:
    """The pictures, from all over a source, that tell whether it has captions."""
    return range(0, source.count, max(1, source.count // LOOKED_AT))


def has_captions(source: ListedSource) -> bool:
    """Whether any of `looked_at` has a caption, or has what cannot be read and might be one."""
    for number in looked_at(source):
        try:
            if source.item(number).captions:
                return True
        except NoCaptionsError:
            continue
        except DataError:
            return True
    return False


def ends_of(source: ListedSource, shard_size: int, captions: bool = True) -> list[str]:
    """Of each shard the names of its first and its last picture, and how many there are."""
    ends, first, item = [], 0, source.item if captions else source.bare
    for things in cut(source.count, shard_size):
        names = []
        for number in (first, first + things - 1):
            try:
                names.append(item(number).name)
            except DataError as error:
                names.append(str(error))
        ends.append(json.dumps([things, *names], ensure_ascii=False))
        first += things
    return ends


def clip_of(pipe: Pipeline) -> ClipStage:
    """The CLIP that embeds. Raises UsageError where it has no image encoder."""
    from ..checkpoints.format import GIVE_CLIP

    reader = pipe.ranker or pipe
    advice = dict.fromkeys(("clip", "vision"), GIVE_CLIP)
    return reader.model.clip("embedding pictures", "vision", advice=advice)


class _Read(NamedTuple):
    """A picture and its captions, or why there is none."""

    name: str
    picture: NDArray[np.uint8] | None  # (H, W, 3)
    captions: tuple[str, ...]
    fault: str = ""

    def rows(self) -> list[dict[str, str]]:
        """What the metadata say of it."""
        if not self.captions:
            return [{"key": self.name}]
        return [{"key": self.name, "caption": caption} for caption in self.captions]


@dataclass
class _Maker:
    """Makes shards."""

    work: Embedding
    folder: Path
    pipe: Pipeline
    clip: ClipStage
    source: ListedSource
    pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.pool = ThreadPoolExecutor(self.work.readers)

    def __call__(self, number: int, tell: Tell) -> Note:
        """See `Make`."""
        first = number * self.work.shard_size
        numbers = range(first, first + self.work.things[number])
        found: dict[str, list[NDArray[Any]]] = {}
        rows: list[dict[str, str]] = []
        skipped: list[str] = []
        reads = _ahead(self.pool, self._read, numbers, 2 * self.work.batch)
        while several := list(islice(reads, self.work.batch)):
            good = [one for one in several if one.picture is not None]
            skipped += [f"{one.name}: {one.fault}" for one in several if one.picture is None]
            if good:
                rows += [row for one in good for row in one.rows()]
                for kind, values in self._embedded(good).items():
                    found.setdefault(kind, []).append(values)
            tell(len(several))
        remove(self.folder, number)
        for kind, parts in found.items():
            write_array(self.folder, kind, number, np.concatenate(parts))
        if rows:
            self._describe(number, rows)
        return {"rows": len(rows), "pictures": len(numbers) - len(skipped), "skipped": skipped}

    def _read(self, number: int) -> _Read:
        captions, source = self.work.captions, self.source
        try:
            item = source.item(number) if captions else source.bare(number)
        except DataError as error:
            return _Read(f"number {number}", None, (), str(error))
        return _read_item(item, source.size, captions)

    def _embedded(self, reads: Sequence[_Read]) -> dict[str, NDArray[Any]]:
        """By folder, a row for each caption, or without captions for each picture."""
        import torch

        from ..media import from_arrays
        from ..types import Cond

        z_i = self.clip.embed_images(
            from_arrays([one.picture for one in reads if one.picture is not None])
        )
        if not self.work.captions:
            return {IMAGES: self._numbers(z_i)}
        texts = [text for one in reads for text in one.captions]
        counts = torch.tensor([len(one.captions) for one in reads], device=z_i.device)
        made = {IMAGES: self._numbers(z_i.repeat_interleave(counts, 0))}
        if self.clip.reads:
            tokenizer, device = (self.pipe.ranker or self.pipe).tokenizer, self.clip.device
            tokens, mask = (value.to(device) for value in tokenizer.encode(texts))
            with torch.inference_mode():
                read = self.clip.encode_text(Cond(text_tokens=tokens, text_mask=mask))
            made[TEXTS] = self._numbers(read.text_embed)
            if self.work.encodings:
                made[ENCODINGS] = self._numbers(read.text_encodings)
        return made

    def _numbers(self, values: Any) -> NDArray[Any]:
        array: NDArray[Any] = values.float().cpu().numpy().astype(self.work.number)
        return array

    def _describe(self, number: int, rows: Sequence[Mapping[str, str]]) -> None:
        file = self.folder / METADATA / f"{METADATA}_{number}"
        if self.work.layout == "unclip":
            lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
            write_text(file.with_suffix(".jsonl"), lines)
            return
        from ..data.parquet import write_columns

        columns = {"image_path": [row["key"] for row in rows]}
        if self.work.captions:
            columns["caption"] = [row["caption"] for row in rows]
        write_columns(file.with_suffix(".parquet"), columns)


def _read_item(item: Item, size: tuple[int, int], wanted: bool) -> _Read:
    """Raises nothing: a fault is a reason to go on without it, and so is a caption, if wanted."""
    captions = tuple(text for text in item.captions if text.strip())
    if wanted and not captions:
        return _Read(item.name, None, (), item.fault or "it has no caption")
    try:
        picture = read_cropped(item.picture, size)
    except (DataError, OSError) as error:
        return _Read(item.name, None, (), str(error))
    return _Read(item.name, picture, captions)


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[A], B], tasks: Iterable[A], most: int
) -> Iterator[B]:
    """Results in the order of the tasks, of which at most so many are under way."""
    left = iter(tasks)
    waiting: deque[Future[B]] = deque(pool.submit(work, one) for one in islice(left, most))
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(work, one) for one in islice(left, 1))


def remove(folder: Path, number: int) -> None:
    """Take the files of a shard away."""
    for kind in (IMAGES, TEXTS, ENCODINGS, METADATA):
        for suffix in ("npy", "jsonl", "parquet"):
            (folder / kind / f"{kind}_{number}.{suffix}").unlink(missing_ok=True)


@dataclass(frozen=True)
class Embedded:
    """What became of the pictures.

    Args:
        rows: of embeddings.
        pictures: that were embedded.
        skipped: why others were not, a line each.
    """

    rows: int
    pictures: int
    skipped: Sequence[str]


def finish(shards: Shards, work: Embedding) -> Embedded:
    """Say what the folder holds, and of which model.

    Raises:
        DataError: not one picture could be embedded.
        OutputError: it cannot be written.
    """
    for name in shards.remove_further():
        remove(shards.folder, int(name))
    rows = pictures = 0
    skipped: list[str] = []
    for note in shards.notes():
        rows, pictures = rows + note["rows"], pictures + note["pictures"]
        skipped += note["skipped"]
    if skipped:
        write_text(shards.folder / SKIPPED, "".join(f"{line}\n" for line in skipped))
    else:
        (shards.folder / SKIPPED).unlink(missing_ok=True)
    write_about(shards.folder, work.model, work.model_hash)
    shards.write_manifest(complete=True, rows=rows, pictures=pictures, skipped=len(skipped))
    if not pictures:
        why = skipped[0] if skipped else "there are none"
        raise DataError(f"not one picture could be embedded: {why}")
    return Embedded(rows, pictures, skipped)
