"""Tars of samples as webdataset lays them out, the same bytes for the same samples."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from typing import BinaryIO


class Shard:
    """A tar in which KEY.jpg, KEY.txt, ... stand one after another.

    Nothing of the machine is in it: no owner, no time.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._tar = tarfile.TarFile(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, key: str, files: Mapping[str, bytes]) -> None:
        """Add the files of one sample, by their suffixes without a dot."""
        for suffix, content in files.items():
            info = tarfile.TarInfo(f"{key}.{suffix}")
            info.size, info.mode = len(content), 0o644
            self._tar.addfile(info, io.BytesIO(content))

    def close(self) -> None:
        """Write its end."""
        self._tar.close()
