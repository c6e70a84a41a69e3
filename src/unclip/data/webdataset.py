"""Tars as img2dataset and webdataset write them: 000000012.jpg, 000000012.txt, 000000012.json, ...

An index of each tar, made when the tar is first needed, says where in it each picture and caption
is. So a sample is read by its place, as from any other source: resuming is exact, and ranks and
workers share one stream, none of which a stream of tars alone can do. What is held in memory is the
number of samples of each tar, and the index of the few that are mixed with each other.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ..errors import DataError, NoCaptionsError, quoted
from ..files import atomic_file, decoded, write_json
from ..media import SUFFIXES
from ..plain import parse_json, read_json
from ._needed import needed
from ._picture import Encoded
from ._shuffle import Memo
from ._stored import MAX_BYTES, StoredConfig, StoredSource, lines_of, texts_of

INDEX = "index.json"
"""Says how many samples each tar of its folder has."""

_SPANS = ("picture", "caption")


class WebDatasetConfig(StoredConfig):
    """`path`: a folder of tars, one tar, or several such as `data/{00000..00041}.tar`.

    How many samples a tar has is known from `index.json` beside it (`unclip data index` writes it)
    or from img2dataset's `00000_stats.json`; other tars are read through once when training starts.
    """

    picture_column: str = Field("", description="suffix of the pictures, such as jpg")
    caption_column: str = Field(
        "txt", min_length=1, description="suffix of the captions; of JSON with a key: json.caption"
    )


class Index(NamedTuple):
    """Where the samples of a tar are.

    Args:
        keys: their names.
        spans: (samples, 4): offset and bytes of the picture and of the caption; -1: not there.
        fault: why there are no more, where the tar is damaged.
    """

    keys: tuple[str, ...]
    spans: NDArray[np.int64]
    fault: str = ""


class WebDataset(StoredSource):
    """The samples of tars.

    Raises:
        DataError: there are no tars, or they have no samples.
        UsageError: the webdataset library is not installed.
    """

    Config = WebDatasetConfig
    units = "tars"

    def __init__(self, config: WebDatasetConfig, size: tuple[int, int]) -> None:
        _library()  # now, and not when the first tar is read
        self.tars = _tars(config.path)
        suffixes = [config.picture_column] if config.picture_column else SUFFIXES
        pictures = frozenset(suffix.strip(".").lower() for suffix in suffixes)
        caption = config.caption_column.strip(".").partition(".")[0].lower()
        self._key = config.caption_column.strip(".").partition(".")[2]
        self._indices = Memo(
            partial(index_of, pictures=pictures, caption=caption), config.shuffle_window + 4
        )
        self._faults: list[str] = []
        super().__init__(config, size, self._counts())

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """A tar, a pattern of tars, or a folder with tars, also in `data/` as the hub has them."""
        if path.suffix.lower() == ".tar":
            return True
        return any(path.glob("*.tar")) or any((path / "data").glob("*.tar"))

    def texts(self, unit: int, number: int) -> tuple[str, ...]:
        """The lines of the text file, or what the JSON file has under the key."""
        name, data = self._read(unit, number, "caption")
        try:
            found = self._of_json(data) if self._key else lines_of(decoded(data))
        except (UnicodeDecodeError, ValueError) as error:
            raise DataError(f"cannot read {name}: {error}") from None
        if not found:
            raise NoCaptionsError(f"{name} is empty")
        return found

    def picture(self, unit: int, number: int) -> Encoded:
        """The picture's file."""
        name, data = self._read(unit, number, "picture")
        return Encoded(data, name)

    def summary(self) -> dict[str, Any]:
        """Samples and tars."""
        return {"kind": "tars of webdataset", **super().summary()}

    def notes(self) -> list[str]:
        """Damaged tars, as far as they had to be read to count their samples."""
        return self._faults

    def _of_json(self, data: bytes) -> tuple[str, ...]:
        value = parse_json(data)
        return texts_of(value.get(self._key) if isinstance(value, dict) else None)

    def _read(self, unit: int, number: int, what: str) -> tuple[str, bytes]:
        """A file's name, for errors, and its content. Raises DataError."""
        tar, index = self.tars[unit], self._indices(self.tars[unit])
        if number >= len(index.keys):
            listed = f"{len(index.keys)} of {self.order.counts[unit]} samples are there"
            raise DataError(index.fault or f"{quoted(tar)}: {listed}")
        name = f"{quoted(tar)}: {index.keys[number]}"
        offset, size = index.spans[number].reshape(2, 2)[_SPANS.index(what)].tolist()
        if offset < 0:
            if what == "caption":
                raise NoCaptionsError(f"{name} has no {self.config.caption_column}")
            raise DataError(f"{name} has no picture")
        if size > MAX_BYTES:
            raise DataError(f"{name}: its {what} has more than {MAX_BYTES // 2**20} MB")
        try:
            with tar.open("rb") as opened:
                opened.seek(offset)
                return name, opened.read(size)
        except OSError as error:
            raise DataError(f"cannot read {quoted(tar)}: {error.strerror or error}") from None

    def _counts(self) -> list[int]:
        """The samples of each tar, from the index of its folder where there is one."""
        known: dict[Path, int] = {}
        for folder in dict.fromkeys(tar.parent for tar in self.tars):
            known |= _listed(folder)
        return [known.get(tar) or _downloaded(tar) or self._counted(tar) for tar in self.tars]

    def _counted(self, tar: Path) -> int:
        about = tar.stat() if tar.exists() else None
        count, fault = _count(tar, (about.st_mtime_ns, about.st_size) if about else (0, 0))
        self._faults += [fault] if fault else []
        return count


_library = partial(needed, "tars need", "webdataset", "train")


def _tars(path: Path) -> list[Path]:
    """The tars of a folder, or those that a pattern names. Raises DataError."""
    if path.is_dir():
        found = sorted(tar for tar in path.rglob("*.tar") if not tar.name.startswith("."))
        if not found:
            raise DataError(f"{path} has no tars (*.tar)")
        return found
    named = [Path(one) for one in _library().shardlists.expand_urls(str(path))]
    missing = next((tar for tar in named if not tar.is_file()), None)
    if missing is not None:
        raise DataError(f"there is no tar {quoted(missing)}")
    return named


def index_of(tar: Path, pictures: frozenset[str], caption: str) -> Index:
    """Where the samples of a tar are, as far as it can be read.

    Args:
        tar: the file.
        pictures: suffixes of pictures, without a dot, in lower case.
        caption: that of captions.
    """
    members: list[tuple[str, str, int, int]] = []
    fault = ""
    try:
        members.extend(_members(tar))  # which keeps those before a fault
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        fault = f"{quoted(tar)} is damaged after {len(members)} files: {error}"
    grouped = [(key, list(files)) for key, files in groupby(members, lambda one: one[0])]
    spans = [_spans(files, pictures, caption) for _, files in grouped]
    keys = tuple(key for key, _ in grouped)
    return Index(keys, np.array(spans, dtype=np.int64).reshape(len(keys), 4), fault)


@lru_cache(maxsize=100_000)
def _count(tar: Path, changed: tuple[int, int]) -> tuple[int, str]:
    """How many samples a tar has, and its fault, which counts as a sample that cannot be made.

    Kept, as a run opens its data once for each stage.
    """
    index = index_of(tar, frozenset(), "")
    return len(index.keys) + bool(index.fault), index.fault


def _members(tar: Path) -> Iterator[tuple[str, str, int, int]]:
    """(sample, suffix, offset, bytes) of each file. Raises what tarfile does, and ValueError."""
    split = _library().tariterators.base_plus_ext
    length = tar.stat().st_size
    with tarfile.open(tar, "r:") as opened:
        for member in opened:
            key, suffix = split(member.name)
            if not member.isfile() or key is None or Path(key).name.startswith("."):
                continue
            if member.offset_data + member.size > length:
                raise ValueError("it is cut off")
            yield key, suffix.lower(), member.offset_data, member.size
        end = opened.offset
    with tar.open("rb") as file:  # tarfile takes a damaged header for the end
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise ValueError(f"what is at byte {end} is not the beginning of a file")


def _spans(
    files: list[tuple[str, str, int, int]], pictures: frozenset[str], caption: str
) -> tuple[int, int, int, int]:
    """Offset and bytes of a sample's picture and caption; -1 where it has none."""
    picture = next((one[2:] for one in files if one[1] in pictures), (-1, 0))
    text = next((one[2:] for one in files if one[1] == caption), (-1, 0))
    return *picture, *text


def _listed(folder: Path) -> dict[Path, int]:
    """The samples of each tar that a folder's index names. Raises DataError."""
    file = folder / INDEX
    try:
        shards = read_json(file)["shards"] if file.is_file() else []
        return {folder / one["file"]: int(one["samples"]) for one in shards}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{quoted(file)} is damaged: {error!r}") from None


def _downloaded(tar: Path) -> int:
    """How many samples img2dataset says that it put into a tar; 0 where it says nothing."""
    try:
        return int(read_json(tar.with_name(f"{tar.stem}_stats.json"))["successes"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


class Shard(NamedTuple):
    """A tar that was written: its name, its samples, and the SHA-256 of its bytes."""

    file: str
    samples: int
    sha256: str


def write_shard(tar: Path, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> Shard:
    """Write a tar, whole or not at all; the same samples give the same bytes.

    Args:
        tar: the file.
        samples: a key without a dot, and files by their suffix: `("12", {"jpg": ..., "txt": ...})`.

    Raises:
        OutputError: it cannot be written.
        ValueError: a key has a dot, or comes twice in a row.
    """
    count, last = 0, ""
    writer = _library().TarWriter
    with atomic_file(tar) as beside:
        options = {"encoder": False, "mtime": 0, "user": "", "group": ""}
        with beside.open("wb") as stream, writer(stream, **options) as written:
            for key, files in samples:
                if not key or "." in key or key == last:
                    raise ValueError(f"{key!r} is no key: it needs a name, each its own")
                written.write({"__key__": key, **files})
                count, last = count + 1, key
    return Shard(tar.name, count, _digest(tar))


def write_index(folder: Path, shards: Iterable[Shard]) -> Path:
    """Write which tars a folder has, so that training need not read through them first."""
    write_json(folder / INDEX, {"shards": [shard._asdict() for shard in shards]})
    return folder / INDEX


def index_folder(
    folder: Path, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[Shard], list[str]]:
    """Write the index of the tars that are in a folder itself, however they came there.

    Returns:
        The tars, and what is wrong with those that are damaged.

    Raises:
        DataError: there are none, or one cannot be read.
        OutputError: the index cannot be written.
    """
    tars = sorted(tar for tar in folder.glob("*.tar") if not tar.name.startswith("."))
    if not tars:
        raise DataError(f"{folder} has no tars (*.tar)")
    shards, faults = [], []
    for number, tar in enumerate(tars):
        on_progress(number, len(tars))
        index = index_of(tar, frozenset(), "txt")
        faults += [index.fault] if index.fault else []
        shards.append(Shard(tar.name, len(index.keys), _digest(tar)))
    write_index(folder, shards)
    return shards, faults


def _digest(tar: Path) -> str:
    """SHA-256. Raises DataError."""
    try:
        with tar.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {quoted(tar)}: {error.strerror or error}") from None


SOURCE = WebDataset
