"""How generated pictures lie in a folder: each layout is one that training reads.

folder        00000/000000000.png with 000000000.txt beside it
coco          train/00000/000000000.png, and annotations/captions_train.json for all
webdataset    00000.tar with 000000000.png, .txt and .json, and index.json for all
"""

from __future__ import annotations

import json
import shutil
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..files import atomic_folder, write_json

Entry = Mapping[str, Any]
"""What is known of a picture: its key, caption, (height, width), seed, ..."""


@dataclass(frozen=True)
class Sample:
    """A picture's file, and what is known of it."""

    picture: bytes
    entry: Entry

    @property
    def key(self) -> str:
        """Its name, without suffix."""
        return str(self.entry["key"])


class Layout(ABC):
    """A layout of pictures in a folder, shard by shard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def write(self, number: int, samples: Iterable[Sample]) -> str:
        """Write a shard, whole or not at all; returns its path within the folder."""

    @abstractmethod
    def drop(self, number: int, keys: Collection[str]) -> None:
        """Take pictures out of a shard; those that are not there are none."""

    @abstractmethod
    def remove(self, number: int) -> None:
        """Take a shard away, where it is there."""

    @abstractmethod
    def finish(self, notes: Iterable[Mapping[str, Any]]) -> None:
        """Write what is of all shards; of each its path, and its pictures (`kept`)."""


class Folder(Layout):
    """Pictures with text files beside them."""

    home = ""

    def write(self, number: int, samples: Iterable[Sample]) -> str:
        """See `Layout`: a folder is a shard."""
        with atomic_folder(self._place(number)) as beside:
            for sample in samples:
                (beside / f"{sample.key}.png").write_bytes(sample.picture)
                self._describe(beside, sample)
        return str(self._place(number).relative_to(self.folder))

    def drop(self, number: int, keys: Collection[str]) -> None:
        """See `Layout`."""
        for key in keys:
            for suffix in ("txt", "png"):
                (self._place(number) / f"{key}.{suffix}").unlink(missing_ok=True)

    def remove(self, number: int) -> None:
        """See `Layout`."""
        shutil.rmtree(self._place(number), ignore_errors=True)

    def finish(self, notes: Iterable[Mapping[str, Any]]) -> None:
        """See `Layout`: there is nothing to write."""

    def _place(self, number: int) -> Path:
        return self.folder / self.home / f"{number:05d}"

    def _describe(self, beside: Path, sample: Sample) -> None:
        text = f"{sample.entry['caption']}\n"
        (beside / f"{sample.key}.txt").write_text(text, encoding="utf-8")


class Coco(Folder):
    """COCO captions."""

    home = "train"

    def _describe(self, beside: Path, sample: Sample) -> None:
        """Captions are in one file for all."""

    def finish(self, notes: Iterable[Mapping[str, Any]]) -> None:
        """See `Layout`: the file of captions."""
        images, annotations = [], []
        for note in notes:
            place = Path(note["file"]).relative_to(self.home)
            for entry in kept(note):
                number, (height, width) = int(entry["key"]), entry["size"]
                file = f"{place.as_posix()}/{entry['key']}.png"
                images.append({"id": number, "file_name": file, "height": height, "width": width})
                about = {"id": number, "image_id": number, "caption": entry["caption"]}
                annotations.append(about)
        values = {"images": images, "annotations": annotations}
        write_json(self.folder / "annotations" / "captions_train.json", values)


class WebDataset(Layout):
    """Tars as webdataset reads them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        needs("webdataset", "train", "tars of webdataset")

    def write(self, number: int, samples: Iterable[Sample]) -> str:
        """See `Layout`: a tar is a shard."""
        return self._write(number, ((sample.key, _files(sample)) for sample in samples))

    def drop(self, number: int, keys: Collection[str]) -> None:
        """See `Layout`: the tar is written again without them."""
        tar = self._place(number)
        there = list(_read(tar))
        if any(key in keys for key, _ in there):
            self._write(number, (pair for pair in there if pair[0] not in keys))

    def remove(self, number: int) -> None:
        """See `Layout`."""
        self._place(number).unlink(missing_ok=True)

    def finish(self, notes: Iterable[Mapping[str, Any]]) -> None:
        """See `Layout`: the index, by which training knows how long each tar is."""
        from ..data.webdataset import Shard, write_index

        shards = []
        for note in notes:
            digest = _sha256(self.folder / note["file"])
            shards.append(Shard(note["file"], sum(1 for _ in kept(note)), digest))
        write_index(self.folder, shards)

    def _write(self, number: int, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> str:
        from ..data.webdataset import write_shard

        return write_shard(self._place(number), samples).file

    def _place(self, number: int) -> Path:
        return self.folder / f"{number:05d}.tar"


LAYOUTS: dict[str, type[Layout]] = {"folder": Folder, "coco": Coco, "webdataset": WebDataset}
"""Layouts by name."""


def kept(note: Mapping[str, Any]) -> Iterator[Entry]:
    """The pictures of a shard that were not dropped."""
    return (entry for entry in note["pictures"] if not entry.get("dropped"))


def needs(library: str, extra: str, what: str) -> None:
    """Raise UsageError where a library is not installed."""
    if find_spec(library) is None:
        raise UsageError(f"{what} need {library}: pip install 'unclip[{extra}]'")


def _files(sample: Sample) -> dict[str, bytes]:
    about = json.dumps(dict(sample.entry), ensure_ascii=False, sort_keys=True)
    text = f"{sample.entry['caption']}\n"
    return {"png": sample.picture, "txt": text.encode(), "json": about.encode()}


def _read(tar: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples of a tar that `WebDataset` wrote."""
    files: dict[str, dict[str, bytes]] = {}
    with tarfile.open(tar, "r:") as opened:
        for member in opened:
            key, _, suffix = member.name.partition(".")
            data = opened.extractfile(member)
            assert data is not None
            files.setdefault(key, {})[suffix] = data.read()
    yield from files.items()


def _sha256(file: Path) -> str:
    import hashlib

    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
