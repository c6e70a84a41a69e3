"""The three kinds of file that torch wrote: its zips, TorchScript archives, and older pickles."""

from __future__ import annotations

import copy
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import CheckpointError
from ._unpickler import DAMAGE, SCRIPT, Inert, read_pickle
from .lazy_tensor import LazyTensor, Storage

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
PICKLE_BYTES = 2**28
"""Most bytes of a zip that are unpacked: its pickle and source code, tensors are no part of it."""
SCRIPT_ITEMS = 10**6
"""Most attributes of a script's modules, where one in several places counts in each."""
SCRIPT_NAME = 4096
"""Longest name of a module in a script."""


def read_torch(file: Path) -> Any:
    """The data of a file of torch's, with a `LazyTensor` for each tensor.

    A TorchScript archive gives its state dict.

    Raises:
        CheckpointError: it is damaged or of another kind, or wants to run code.
    """
    try:
        with file.open("rb") as opened:
            if opened.read(2) == b"PK":
                with zipfile.ZipFile(opened) as archive:
                    return _Zip(file, archive, opened).data()
            opened.seek(0)
            return _legacy(file, opened)
    except OSError as error:
        raise CheckpointError(f"cannot read {file}: {error.strerror or error}") from None
    except (*DAMAGE, zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error) as error:
        raise CheckpointError(f"{file} is damaged or truncated: {error}") from None


class _Zip:
    """A zip as torch writes it: ROOT/data.pkl, ROOT/data/KEY stored plainly, for scripts code/."""

    def __init__(self, file: Path, archive: zipfile.ZipFile, opened: BinaryIO) -> None:
        self.file = file
        self.archive = archive
        self.opened = opened
        self.size = file.stat().st_size
        self.room = PICKLE_BYTES
        names = archive.namelist()
        pickles = [name for name in names if re.fullmatch(r"[^/]+/data\.pkl", name)]
        if len(pickles) != 1:
            raise CheckpointError(f"{file} is a zip, but none that torch wrote: it has no data.pkl")
        self.root = pickles[0].removesuffix("/data.pkl")
        self.names = {name.removeprefix(f"{self.root}/") for name in names}
        self.storages: dict[str, Storage] = {}

    def data(self) -> Any:
        """What its pickle holds; of a TorchScript the state dict of its module."""
        if "byteorder" in self.names and self.unpacked("byteorder") != b"little":
            raise CheckpointError(f"{self.file} has numbers in big-endian order")
        raw, script = self.unpacked("data.pkl"), "constants.pkl" in self.names
        data = read_pickle(io.BytesIO(raw), len(raw), self.file, self._locate, script)
        return dict(_Script(self).tensors(data)) if script else data

    def unpacked(self, name: str) -> bytes:
        """One of its files, of the length that the zip says: never more is unpacked."""
        info = copy.copy(self.archive.getinfo(f"{self.root}/{name}"))
        size = info.file_size
        self.room -= size
        if self.room < 0:
            raise CheckpointError(f"{self.file}: {name} is too long: {size} bytes")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # unbounded there
            raise CheckpointError(f"{self.file}: {name} is compressed in a way that torch never is")
        info.file_size += 1  # shows whether more follows, which `open` would cut off
        with self.archive.open(info) as opened:
            data = opened.read(info.file_size)
        if len(data) != size:
            raise CheckpointError(f"{self.file} is damaged: {name} is not of {size} bytes")
        return data

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


class _Script:
    """The modules of a TorchScript, whose source says what is a parameter or a buffer."""

    def __init__(self, archive: _Zip) -> None:
        self.archive = archive
        self.files: dict[str, dict[str, set[str]]] = {}
        self.items = 0

    def tensors(self, module: Any, prefix: str = "") -> Iterator[tuple[str, LazyTensor]]:
        """Names and tensors of a module, as its `state_dict()` would have them."""
        if not isinstance(module, Inert) or not isinstance(module.state, dict):
            raise ValueError("its modules are none")
        if len(prefix) > SCRIPT_NAME:
            raise ValueError(f"a module's name is longer than {SCRIPT_NAME} letters")
        self.items += 1 + len(module.state)
        if self.items > SCRIPT_ITEMS:
            raise ValueError(f"its modules have more than {SCRIPT_ITEMS} attributes")
        known = self._known(module.name)
        for name, value in module.state.items():
            if isinstance(value, LazyTensor) and (known is None or name in known):
                yield f"{prefix}{name}", value
        for name, value in module.state.items():
            if isinstance(value, Inert) and value.name.startswith(f"{SCRIPT}."):
                yield from self.tensors(value, f"{prefix}{name}.")

    def _known(self, name: str) -> set[str] | None:
        """Parameters and buffers of a class, None where its source is not there."""
        module, _, name = name.rpartition(".")
        if module not in self.files:
            file = f"code/{module.replace('.', '/')}.py"
            text = self.archive.unpacked(file).decode() if file in self.archive.names else ""
            self.files[module] = dict(_classes(text))
        return self.files[module].get(name)


def _classes(text: str) -> Iterator[tuple[str, set[str]]]:
    parts = re.split(r"^class (\w+)\(.*\):$", text, flags=re.MULTILINE)
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        lists = re.findall(r"^  __(?:parameters|buffers)__ = \[(.*)\]$", body, re.MULTILINE)
        yield name, {word for each in lists for word in re.findall(r'"([^"]+)"', each)}


def _legacy(file: Path, opened: BinaryIO) -> Any:
    """Before torch 1.6: five pickles after each other, then each storage behind its length."""
    storages: dict[str, Storage] = {}
    size = file.stat().st_size

    def locate(key: str, count: int) -> Storage:
        storage = storages.setdefault(key, Storage(file, -1, count))
        if storage.bytes != count:
            raise ValueError(f"storage {key} has two lengths")
        return storage

    if read_pickle(opened, size, file) != LEGACY_MAGIC:
        raise CheckpointError(f"{file} is a pickle, but none that torch wrote")
    if read_pickle(opened, size, file) != LEGACY_PROTOCOL:
        raise CheckpointError(f"{file} is of a protocol that this does not know")
    if read_pickle(opened, size, file)["little_endian"] is not True:
        raise CheckpointError(f"{file} has numbers in big-endian order")
    data = read_pickle(opened, size, file, locate)
    for key in read_pickle(opened, size, file):
        _place(opened, size, storages[str(key)])
    if any(storage.start < 0 for storage in storages.values()):
        raise CheckpointError(f"{file} is damaged: it lacks the values of some tensors")
    return data


def _place(opened: BinaryIO, size: int, storage: Storage) -> None:
    """Find where a storage begins. The number before it counts elements, not bytes."""
    (count,) = struct.unpack("<q", opened.read(8))
    storage.start = opened.tell()
    if storage.bytes % count if count > 0 else storage.bytes or count:
        raise ValueError("a storage has two lengths")
    if storage.start + storage.bytes > size:
        raise EOFError("it ends too early")
    opened.seek(storage.bytes, io.SEEK_CUR)
