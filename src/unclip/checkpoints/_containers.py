"""The files that hold tensors, by their content: safetensors, and the three kinds torch wrote."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from ..plain import parse_json
from ._blob import Blob, Storage, packed
from ._globals import DAMAGE, SCRIPT, Inert
from ._pickles import Bounded, read_pickle

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
HEADER_BYTES = 100 * 2**20
"""Longest header of a safetensors file; that library's own limit."""
PICKLE_BYTES = 2**28
"""Most bytes of a zip that are unpacked: its pickle and source code, tensors are no part of it."""
SCRIPT_ITEMS = 10**6
"""Most attributes of a script's modules, where one in several places counts in each."""
SCRIPT_NAME = 4096
"""Longest name of a module in a script."""

SAFE_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "C64": torch.complex64,
}


def kind_of(file: Path) -> str:
    """`safetensors`, `zip`, `pickle` or `json`, told from the first bytes.

    Raises:
        CheckpointError: the file is missing or is something else, and then what.
    """
    if not file.is_file():
        problem = "is a folder" if file.is_dir() else "is missing"
        raise CheckpointError(f"weights file {file} {problem}")
    try:
        with file.open("rb") as opened:
            head = opened.read(64)
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from None
    if head[:4] == b"PK\x03\x04":
        return "zip"
    if head[8:9] == b"{" and len(head) > 9:
        return "safetensors"
    if head[:1] == b"\x80":
        return "pickle"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text[:1] == b"{":
        return "json"
    raise CheckpointError(f"{file} {_what_else(head, text)}")


def _what_else(head: bytes, text: bytes) -> str:
    if not head:
        return "is empty"
    if text.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer, not the weights themselves: fetch them with `git lfs pull`"
    if text[:1] == b"<":
        return "is a web page, not weights: the download went wrong"
    return "is damaged or holds no weights: neither safetensors nor a file of torch's"


def read_safetensors(file: Path) -> tuple[dict[str, Blob], dict[str, str]]:
    """The tensors and the metadata of a safetensors file, from its header.

    Raises:
        CheckpointError: it is truncated, or its header does not fit it.
    """
    try:
        with file.open("rb") as opened:
            size = file.stat().st_size
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > min(size - 8, HEADER_BYTES):
                raise CheckpointError(f"{file} is truncated or not safetensors")
            header = parse_json(opened.read(length), _unique)
        metadata = header.pop("__metadata__", {})
        blobs = {key: _entry(file, 8 + length, entry) for key, entry in header.items()}
        _check_cover(file, 8 + length, size, blobs)
        return blobs, {str(key): str(value) for key, value in metadata.items()}
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from None
    except (*DAMAGE, struct.error) as error:
        raise CheckpointError(f"{file} is damaged: its header says {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"'{twice}' twice")
    return values


def _entry(file: Path, base: int, entry: dict[str, Any]) -> Blob:
    begin, end = entry["data_offsets"]
    if not type(begin) is type(end) is int or not 0 <= begin <= end:
        raise ValueError("offsets that are none")
    if entry["dtype"] not in SAFE_DTYPES:
        raise ValueError(f"numbers of type {entry['dtype']}, which this cannot read")
    storage = Storage(file, base + begin, end - begin)
    blob = packed(storage, SAFE_DTYPES[entry["dtype"]], tuple(entry["shape"]))
    if blob.numel * blob.dtype.itemsize != end - begin:
        raise ValueError(f"{end - begin} bytes for a shape of {blob.shape}")
    return blob


def _check_cover(file: Path, base: int, size: int, blobs: dict[str, Blob]) -> None:
    """The tensors must fill the file without holes or overlaps, as the format demands."""
    at = base
    for storage in sorted((b.storage for b in blobs.values()), key=lambda s: (s.start, s.bytes)):
        if storage.start != at:
            raise ValueError("tensors that overlap or leave holes")
        at += storage.bytes
    if at > size:
        raise CheckpointError(f"{file} is truncated: {size} bytes of {at}")
    if at < size:
        raise CheckpointError(f"{file} is damaged: {size} bytes where its header names {at}")


def read_torch(file: Path, kind: str) -> Any:
    """The data of a file of torch's (`kind` zip or pickle) with a `Blob` for each tensor.

    A TorchScript archive gives its state dict.
    """
    return _read_zip(file) if kind == "zip" else _read_legacy(file)


def _read_zip(file: Path) -> Any:
    try:
        with zipfile.ZipFile(file) as archive, file.open("rb") as opened:
            return _Zip(file, archive, opened).read()
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from None
    except (*DAMAGE, zipfile.BadZipFile, NotImplementedError, RuntimeError, struct.error,
            zlib.error) as error:  # fmt: skip
        raise CheckpointError(f"{file} is damaged or truncated: {error}") from None


class _Zip:
    """A zip as torch writes it: ROOT/data.pkl, ROOT/data/KEY stored plainly, for scripts code/."""

    def __init__(self, file: Path, archive: zipfile.ZipFile, opened: io.BufferedReader) -> None:
        self.file = file
        self.archive = archive
        self.opened = opened
        self.storages: dict[str, Storage] = {}
        self.size = file.stat().st_size
        self.room = PICKLE_BYTES
        names = archive.namelist()
        pickles = [name for name in names if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(pickles) != 1:
            raise CheckpointError(f"{file} is a zip, but none that torch wrote: it has no data.pkl")
        self.root = pickles[0].removesuffix("/data.pkl")
        self.script = f"{self.root}/constants.pkl" in names

    def read(self) -> Any:
        if f"{self.root}/byteorder" in self.archive.namelist():
            order = self._bytes("byteorder").decode()
            if order != "little":
                raise CheckpointError(f"{self.file} has numbers in {order}-endian order")
        data = read_pickle(
            io.BytesIO(self._bytes("data.pkl")), self.file, self._locate, self.script
        )
        if not self.script:
            return data
        return dict(script_tensors(data, _ScriptClasses(self)))

    def _bytes(self, name: str) -> bytes:
        info = self.archive.getinfo(f"{self.root}/{name}")
        self.room -= info.file_size
        if self.room < 0:
            raise CheckpointError(f"{self.file}: {name} is too long: {info.file_size} bytes")
        return self.archive.read(info)

    def text(self, name: str) -> str | None:
        """A text file of the archive, None where there is none."""
        if f"{self.root}/{name}" not in self.archive.NameToInfo:
            return None
        return self._bytes(name).decode()

    def _locate(self, key: str, count: int) -> Storage:
        if key not in self.storages:
            self.storages[key] = self._find(key)
        if count > self.storages[key].bytes:
            raise CheckpointError(f"{self.file} is damaged: storage {key} is too short")
        return self.storages[key]

    def _find(self, key: str) -> Storage:
        info = self.archive.getinfo(f"{self.root}/data/{key}")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise CheckpointError(f"{self.file}: storage {key} is compressed; unpack and repack it")
        self.opened.seek(info.header_offset)
        magic, name, extra = struct.unpack("<4s22xHH", self.opened.read(30))
        start = info.header_offset + 30 + name + extra
        if magic != b"PK\x03\x04" or start + info.file_size > self.size:
            raise CheckpointError(f"{self.file} is damaged or truncated: storage {key}")
        return Storage(self.file, start, info.file_size)


class _ScriptClasses:
    """Which attributes of a TorchScript class are parameters or buffers: its source says so."""

    def __init__(self, archive: _Zip) -> None:
        self.archive = archive
        self.files: dict[str, dict[str, set[str]]] = {}
        self.items = 0

    def count(self, items: int) -> None:
        """So many attributes more are looked at. Raises ValueError where they are too many."""
        self.items += 1 + items
        if self.items > SCRIPT_ITEMS:
            raise ValueError(f"its modules have more than {SCRIPT_ITEMS} attributes")

    def tensors_of(self, name: str) -> set[str] | None:
        """Names of its parameters and buffers, None where its source is not there."""
        module, _, name = name.rpartition(".")
        if module not in self.files:
            text = self.archive.text(f"code/{module.replace('.', '/')}.py") or ""
            self.files[module] = dict(_script_classes(text))
        return self.files[module].get(name)


def _script_classes(text: str) -> Iterator[tuple[str, set[str]]]:
    parts = re.split(r"^class (\w+)\(.*\):$", text, flags=re.MULTILINE)
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        lists = re.findall(r"^  __(?:parameters|buffers)__ = \[(.*)\]$", body, re.MULTILINE)
        yield name, {word for each in lists for word in re.findall(r'"([^"]+)"', each)}


def script_tensors(
    module: Any, classes: _ScriptClasses, prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, Blob]]:
    """Names and tensors of a TorchScript module, as its `state_dict()` would have them."""
    if not isinstance(module, Inert) or not isinstance(module.state, dict) or depth > 100:
        raise ValueError("its modules are none")
    if len(prefix) > SCRIPT_NAME:
        raise ValueError(f"a module's name is longer than {SCRIPT_NAME} letters")
    classes.count(len(module.state))
    known = classes.tensors_of(module.name)
    for name, value in module.state.items():
        if isinstance(value, Blob) and (known is None or name in known):
            yield f"{prefix}{name}", value
    for name, value in module.state.items():
        if isinstance(value, Inert) and value.name.startswith(f"{SCRIPT}."):
            yield from script_tensors(value, classes, f"{prefix}{name}.", depth + 1)


def _read_legacy(file: Path) -> Any:
    """Before torch 1.6: five pickles after each other, then each storage behind its length."""
    storages: dict[str, Storage] = {}
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            stream: Any = Bounded(opened, size)
            if read_pickle(stream, file) != LEGACY_MAGIC:
                raise CheckpointError(f"{file} is a pickle, but none that torch wrote")
            if read_pickle(stream, file) != LEGACY_PROTOCOL:
                raise CheckpointError(f"{file} is of a protocol that this does not know")
            if read_pickle(stream, file)["little_endian"] is not True:
                raise CheckpointError(f"{file} has numbers in big-endian order")

            def locate(key: str, count: int) -> Storage:
                storage = storages.setdefault(key, Storage(file, -1, count))
                if storage.bytes != count:
                    raise ValueError(f"storage {key} has two lengths")
                return storage

            data = read_pickle(stream, file, locate)
            order = read_pickle(stream, file)
            _place(opened, size, [storages[str(key)] for key in order])
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from None
    except (*DAMAGE, struct.error) as error:
        raise CheckpointError(f"{file} is damaged or truncated: {error}") from None
    if any(storage.start < 0 for storage in storages.values()):
        raise CheckpointError(f"{file} is damaged: it lacks the values of some tensors")
    return data


def _place(opened: io.BufferedReader, size: int, storages: list[Storage]) -> None:
    """Find where each storage begins. The number before it counts elements, not bytes."""
    for storage in storages:
        (count,) = struct.unpack("<q", opened.read(8))
        storage.start = opened.tell()
        if storage.bytes % count if count > 0 else storage.bytes or count:
            raise ValueError("a storage has two lengths")
        if storage.start + storage.bytes > size:
            raise EOFError("it ends too early")
        opened.seek(storage.bytes, io.SEEK_CUR)
