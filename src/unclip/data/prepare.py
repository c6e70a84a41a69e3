"""Make shards of any source: pictures of one kind, captions in one form, ready to be streamed.

OUT/00000.tar, ...          samples as webdataset reads them: KEY.jpg, KEY.txt, KEY.json
OUT/00000.json, ...         of each shard: its hash, its samples' sizes, what was skipped
OUT/index.json              all shards with their hashes, and the settings
OUT/skipped.txt             what could not be used, and why
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

from PIL import Image
from pydantic import Field

from ..config import Config
from ..errors import DataError, OutputError, UsageError
from ..files import remove_leftovers, write_json, write_text
from ..media import read_image
from ..plain import read_json
from ._captions import normalised
from ._parallel import processes
from .source import Item, Source
from .webdataset import write_shard

FORMAT = 1
INDEX, SKIPPED = "index.json", "skipped.txt"
_SUFFIX = {"jpeg": "jpg", "png": "png", "webp": "webp"}


class PrepareSettings(Config):
    """What prepared samples are like."""

    called = "--{}"

    size: int | None = Field(None, ge=1, le=16384, description="longest shorter side in pixels")
    picture: Literal["jpeg", "png", "webp"] = "jpeg"
    quality: int = Field(95, ge=1, le=100, description="of JPEG and WebP")
    caption_length: int = Field(1000, ge=1, description="most letters of a caption")
    shard_size: int = Field(1000, ge=1, le=1_000_000, description="pictures of a shard, at most")


class Skipped(NamedTuple):
    """An item that is not used."""

    name: str
    why: str


@dataclass(frozen=True)
class Prepared:
    """What stands in the folder.

    Args:
        samples: in all shards.
        shards: their number.
        stored_bytes: of all shards.
        skipped: what was not used.
        kept: shards that were there already.
    """

    samples: int
    shards: int
    stored_bytes: int
    skipped: list[Skipped] = field(default_factory=list)
    kept: int = 0


class _Made(NamedTuple):
    """A sample, or why there is none."""

    files: dict[str, bytes]
    size: tuple[int, int]
    skipped: Skipped | None


def prepare(
    source: Source,
    out: Path,
    settings: PrepareSettings,
    workers: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    total: int | None = None,
) -> Prepared:
    """Write the shards of a source; what an earlier call has finished is kept.

    The bytes depend on the source and the settings, not on the number of processes.

    Args:
        workers: processes.
        on_progress: told how many items are done, and of how many.
        total: how many there are, where somebody knows.

    Raises:
        UsageError: `out` holds shards that were made with other settings.
        OutputError: `out` holds something else, or cannot be written to.
        DataError: the source stores no pictures.
    """
    _begin(out, settings)
    shards: list[dict[str, Any]] = []
    done = kept = 0
    pieces = iter(source.items())
    with processes(workers) as each:
        while items := list(islice(pieces, settings.shard_size)):
            tar, origin = out / f"{len(shards):05d}.tar", _digest(items)
            known = _known(tar, origin)
            kept += known is not None
            numbered = enumerate(each(partial(make, settings), items), done)
            counted = _counted(numbered, on_progress, total)
            shards.append(known or _write(tar, origin, counted))
            done += len(items)
            on_progress(done, max(total or 0, done))
    return _finish(out, settings, shards, kept, source.unused())


def _counted(
    numbered: Iterator[tuple[int, _Made]],
    on_progress: Callable[[int, int], None],
    total: int | None,
) -> Iterator[tuple[int, _Made]]:
    """The same, and how many there were is told on the way."""
    for number, made in numbered:
        yield number, made
        on_progress(number + 1, max(total or 0, number + 1))


def _begin(out: Path, settings: PrepareSettings) -> None:
    """Check that the folder is new, or one's own. Raises UsageError or OutputError."""
    index = out / INDEX
    if out.is_dir() and any(out.iterdir()) and not index.is_file():
        raise OutputError(f"{out} holds something that is no prepared data; choose another --out")
    if index.is_file():
        before = _read(index).get("settings", {})
        now = settings.dump()
        changed = [key for key in now if before.get(key) != now[key]]
        if changed:
            key = changed[0]
            raise UsageError(
                f"{out} was made with {_flag(key)} {before.get(key)}, not {now[key]}: give the "
                "same settings, or choose another --out"
            )
        remove_leftovers(out)
        return
    write_json(index, {"format": FORMAT, "complete": False, "settings": settings.dump()})


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _read(file: Path) -> dict[str, Any]:
    try:
        values = read_json(file)
    except (OSError, ValueError) as error:
        text = f"{file} is damaged: {error}; remove it, or choose another --out"
        raise OutputError(text) from None
    return values if isinstance(values, dict) else {}


def _digest(items: list[Item]) -> str:
    """Of what a shard is made of: names, captions, and when and how long the files are."""
    found = hashlib.sha256()
    for item in items:
        found.update(json.dumps([item.name, item.captions, _state(item)]).encode())
    return found.hexdigest()


def _state(item: Item) -> object:
    if not isinstance(item.picture, Path):
        return hashlib.sha256(item.read()).hexdigest()
    try:
        stat = item.picture.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _known(tar: Path, origin: str) -> dict[str, Any] | None:
    """What an earlier call says of a shard; None where it is not finished, or of other items."""
    beside = tar.with_suffix(".json")
    if not (beside.is_file() and tar.is_file()):
        return None
    values = _read(beside)
    whole = values.get("bytes") == tar.stat().st_size
    return values if whole and values.get("origin") == origin else None


def _write(tar: Path, origin: str, numbered: Iterable[tuple[int, _Made]]) -> dict[str, Any]:
    """A shard, and then what is said of it."""
    skipped: list[Skipped] = []
    sizes: list[tuple[str, int, int]] = []

    def sound() -> Iterator[tuple[str, dict[str, bytes]]]:
        for number, made in numbered:
            if made.skipped is not None:
                skipped.append(made.skipped)
            else:
                key = f"{number:09d}"
                sizes.append((key, *made.size))
                yield key, made.files

    tar.with_suffix(".json").unlink(missing_ok=True)
    shard = write_shard(tar, sound())
    values = {
        **shard._asdict(),
        "origin": origin,
        "bytes": tar.stat().st_size,
        "sizes": sizes,
        "skipped": skipped,
    }
    write_json(tar.with_suffix(".json"), values)
    return values


def make(settings: PrepareSettings, item: Item) -> _Made:
    """One sample: a picture in sRGB, its captions one a line, and what is known of both."""
    if item.fault:
        return _Made({}, (0, 0), Skipped(item.name, item.fault))
    captions = [normalised(text, settings.caption_length) for text in item.captions]
    captions = list(dict.fromkeys(filter(None, captions)))
    if not captions:
        return _Made({}, (0, 0), Skipped(item.name, "it has no caption"))
    try:
        picture = read_image(item.picture)
    except (UsageError, OSError) as error:
        return _Made({}, (0, 0), Skipped(item.name, str(error)))
    before, picture = picture.size, shrunk(picture, settings.size)
    content = _encoded(picture, settings)
    told = {
        "name": item.name,
        "captions": captions,
        "width": picture.width,
        "height": picture.height,
        "original_width": before[0],
        "original_height": before[1],
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    files = {
        _SUFFIX[settings.picture]: content,
        "txt": "\n".join(captions).encode(),
        "json": json.dumps(told, ensure_ascii=False, sort_keys=True).encode(),
    }
    return _Made(files, (picture.height, picture.width), None)


def shrunk(picture: Image.Image, size: int | None) -> Image.Image:
    """A picture whose shorter side is `size` at most: never enlarged, its proportions kept."""
    shorter = min(picture.size)
    if size is None or shorter <= size:
        return picture
    width, height = (max(size, round(side * size / shorter)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _encoded(picture: Image.Image, settings: PrepareSettings) -> bytes:
    stream = io.BytesIO()
    options: dict[str, Any] = {
        "jpeg": {"quality": settings.quality, "subsampling": 0},
        "png": {},
        "webp": {"quality": settings.quality, "method": 4},
    }[settings.picture]
    picture.save(stream, format=settings.picture, **options)
    return stream.getvalue()


def _finish(
    out: Path,
    settings: PrepareSettings,
    shards: list[dict[str, Any]],
    kept: int,
    unused: list[tuple[str, str]],
) -> Prepared:
    """Write the index and the log; shards of items that are gone are removed."""
    skipped = [Skipped(*pair) for shard in shards for pair in shard["skipped"]]
    own = {shard["file"] for shard in shards}
    for old in sorted(out.glob("[0-9]*.tar")):
        if old.name not in own and old.stem.isdecimal():
            old.unlink()
            old.with_suffix(".json").unlink(missing_ok=True)
    lines = "".join(f"{name}: {why}\n" for name, why in [*skipped, *unused])
    write_text(out / SKIPPED, lines)
    samples = sum(shard["samples"] for shard in shards)
    if not samples:
        raise DataError(f"not one picture could be used; {out / SKIPPED} says why")
    keys = ("file", "samples", "bytes", "sha256")
    listed = [{key: shard[key] for key in keys} for shard in shards]
    values = {"format": FORMAT, "complete": True, "settings": settings.dump()}
    write_json(
        out / INDEX,
        {**values, "samples": samples, "skipped": len(skipped), "shards": listed},
    )
    stored = sum(shard["bytes"] for shard in shards)
    return Prepared(samples, len(shards), stored, skipped, kept)
