"""Rows of arrays by key on disk, in safetensors files that are written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from ..errors import OutputError
from ..files import atomic_file, writing
from ..plain import parse_json

KEY = 16
"""Bytes of a key."""

_KEYS = "keys"
_TYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "U8": np.dtype("u1")}


def key_of(*parts: bytes | str) -> bytes:
    """A key of `KEY` bytes: other parts, another key (BLAKE2b)."""
    found = hashlib.blake2b(digest_size=KEY)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "little") + data)
    return found.digest()


class _File:
    """A file of rows, read by their places: a file that shrinks would kill the reader of a map."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, ValueError or KeyError: it is damaged."""
        self.path = path
        with path.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = parse_json(opened.read(length))
        start = 8 + length
        self.fields: dict[str, tuple[int, tuple[int, ...], np.dtype[Any]]] = {
            name: (start + entry["data_offsets"][0], tuple(entry["shape"]), _TYPES[entry["dtype"]])
            for name, entry in header.items()
            if name != "__metadata__"
        }
        end = max(start + entry["data_offsets"][1] for entry in header.values() if "shape" in entry)
        if path.stat().st_size != end:
            raise ValueError("it is truncated")

    @cached_property
    def _handle(self) -> int:
        return os.open(self.path, os.O_RDONLY)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "fields": self.fields}

    def __del__(self) -> None:
        if "_handle" in vars(self):
            os.close(self._handle)

    def keys(self) -> NDArray[np.bytes_]:
        """(rows,) of `KEY` bytes each."""
        offset, shape, _ = self.fields[_KEYS]
        data = os.pread(self._handle, shape[0] * KEY, offset)
        return np.frombuffer(data, dtype=f"S{KEY}")

    def row(self, number: int) -> dict[str, NDArray[Any]]:
        """The arrays of one row."""
        found = {}
        for name, (offset, shape, kind) in self.fields.items():
            if name != _KEYS:
                size = int(np.prod(shape[1:], dtype=np.int64)) * kind.itemsize
                data = os.pread(self._handle, size, offset + number * size)
                found[name] = np.frombuffer(data, kind).reshape(shape[1:]).copy()
        return found


class RowStore:
    """A folder of such files. Several processes may read it, and add to it, at the same time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refresh()

    def refresh(self) -> None:
        """See what is there now; files that are damaged are as if they were not there."""
        self._files: list[_File] = []
        parts: list[tuple[NDArray[np.bytes_], int]] = []
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                file = _File(path)
                parts.append((file.keys(), len(self._files)))
            except (OSError, ValueError, KeyError, TypeError, SafetensorError):
                continue
            self._files.append(file)
        keys = np.concatenate([keys for keys, _ in parts] or [np.empty(0, f"S{KEY}")])
        which = [np.stack([np.full(len(k), n), np.arange(len(k))], 1) for k, n in parts]
        rows = np.concatenate(which or [np.empty((0, 2), np.int64)])
        order = np.argsort(keys, kind="stable")
        self._keys, self._rows = keys[order], rows[order]

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: bytes) -> bool:
        return self._place(key) is not None

    def __getitem__(self, key: bytes) -> dict[str, NDArray[Any]]:
        """The arrays of a row. Raises KeyError."""
        place = self._place(key)
        if place is None:
            raise KeyError(key)
        file, row = self._rows[place].tolist()
        arrays: dict[str, NDArray[Any]] = self._files[file].row(row)
        return arrays

    def _place(self, key: bytes) -> int | None:
        wanted = np.frombuffer(key, f"S{KEY}")[0]  # without zeros at the end, as the others are
        place = int(np.searchsorted(self._keys, wanted))
        there = place < len(self._keys) and self._keys[place] == wanted
        return place if there else None

    def add(self, keys: Sequence[bytes], rows: Mapping[str, NDArray[np.float32]]) -> None:
        """Write a file of rows (count, ...). Raises OutputError."""
        # the library writes numbers as they lie in memory, whatever the strides say
        in_order = {field: np.ascontiguousarray(array) for field, array in rows.items()}
        own = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), KEY)
        name = hashlib.blake2b(own.tobytes(), digest_size=8).hexdigest()
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(self.folder / f"{name}.safetensors") as beside:
            try:
                save_file({_KEYS: own, **in_order}, beside)
            except SafetensorError as error:
                raise OutputError(f"cannot write {self.folder}: {error}") from None
