"""Models of the Hugging Face hub: fetched once, checked by hash, found again without a network.

A model is named `hub:org/name`, with `@revision` to pin it and `/folder` for a part of it. It
lies in the hub's own cache (`HF_HOME`, `HF_HUB_CACHE`), which other programs share. What this
package fetched is noted there in `unclip.json`, so that it can be listed and removed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import CheckpointError, OutputError, UsageError
from ._library import SILENCE, Unreachable, hub_errors, library, quiet
from .cache import (
    Pulled,
    add_note,
    bytes_on_disk,
    cache_folder,
    cached,
    digest,
    forget,
    is_here,
    is_noted,
    is_set,
    link,
    point,
    promise,
    pulled,
    read_notes,
    repo_folder,
    snapshot,
)
from .names import PREFIX, File, Ref, choose, parse, weights_of

__all__ = ["OnBytes", "Pulled", "Ref", "fetch", "parse", "pulled", "remove"]

COMMIT = "[0-9a-f]{40}"
LARGEST = 50 * 10**9
"""Most bytes of a file: the hub gives out no more at once."""

OnBytes = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes in all."""


def fetch(
    ref: Ref | str,
    on_progress: OnBytes | None = None,
    revision: str | None = None,
    variant: str | None = None,
    fresh: bool = False,
) -> Path:
    """Fetch a model, or what of it is not here yet, and say where it lies.

    Only files that a loader can use are fetched: of equal weights the safetensors file, and the
    plain one rather than a half-precision copy. Each is checked against the hub's digest. Where
    the hub cannot be reached, or `HF_HUB_OFFLINE` is set, the copy in the cache is taken.

    Args:
        ref: the model.
        on_progress: is told bytes there and bytes in all.
        revision: a branch, tag or commit, in place of the one in `ref`.
        variant: such as 'fp16', to be preferred where the model has it.
        fresh: fetch even where another variant is here, and fail where the hub is not reached.

    Raises:
        CheckpointError: it is nowhere, or what came is not what the hub promised.
        UsageError: `ref` is no name of a model.
        UnclipError: huggingface_hub is not installed.
    """
    ref = parse(ref) if isinstance(ref, str) else ref
    ref = replace(ref, revision=revision) if revision else ref
    if is_set("HF_HUB_OFFLINE"):
        return cached(ref, "HF_HUB_OFFLINE is set")
    if is_here(ref, ref.asked, variant, fresh):
        return cached(ref, "")  # a commit, which never changes
    try:
        with hub_errors(ref):
            return _pull(ref, variant, on_progress, fresh)
    except Unreachable as error:
        if fresh or not is_noted(ref):  # what was cut off is no model
            raise CheckpointError(str(error)) from None
        return cached(ref, str(error))


def remove(ref: Ref | str) -> int:
    """Remove a model from the cache, every revision unless one is named; returns bytes freed.

    Raises:
        CheckpointError: this package has fetched no such model.
        UsageError: `ref` is no name of a whole model.
    """
    ref = parse(ref) if isinstance(ref, str) else ref
    if ref.part:
        raise UsageError(f"{ref} is a part of a model; only {PREFIX}{ref.repo} as a whole can go")
    gone = [
        one
        for one in pulled()
        if one.ref.repo == ref.repo and ref.revision in (None, one.ref.asked, one.commit)
    ]
    if not gone:
        known = ", ".join(str(one.ref) for one in pulled()) or "none"
        raise CheckpointError(f"{ref} was not pulled (pulled: {known})")
    before = bytes_on_disk(repo_folder(ref))
    commits = {one.commit for one in gone}
    library().scan_cache_dir(cache_folder()).delete_revisions(*commits).execute()
    forget(ref, commits)
    return before - bytes_on_disk(repo_folder(ref))


def _pull(ref: Ref, variant: str | None, on_progress: OnBytes | None, fresh: bool) -> Path:
    hub = library()
    api = hub.HfApi(endpoint=_endpoint())
    info = api.model_info(ref.repo, revision=ref.asked, files_metadata=True, timeout=SILENCE)
    if not re.fullmatch(COMMIT, str(info.sha)):
        raise CheckpointError(f"the hub names a commit {info.sha!r} of {ref}")
    if is_here(ref, info.sha, variant, fresh):
        return cached(ref, "", info.sha)
    files = choose([_file(sibling) for sibling in info.siblings], variant, ref.part)
    if not any(weights_of(file.name, variant) for file in files):
        raise CheckpointError(f"{ref} has no weights that can be read")
    missing = [file for file in files if not (snapshot(ref, info.sha) / file.name).is_file()]
    _check_room(sum(file.bytes for file in missing))
    promise(ref, info.sha, files)
    progress = _Progress(on_progress, sum(file.bytes for file in files))
    for file in files:
        if file in missing:
            _download(ref, info.sha, file, progress)
            link(ref, info.sha, file)
        progress.add(0, finished=file)
    point(ref, info.sha)
    _check(ref, info.sha, files)
    add_note(ref, info.sha, files, variant)
    return cached(ref, "", info.sha)


def _check_room(needed: int) -> None:
    """Raise OutputError where what is to come does not fit on the disk."""
    cache = cache_folder().absolute()
    free = shutil.disk_usage(next(one for one in (cache, *cache.parents) if one.exists())).free
    if needed > free:
        raise OutputError(
            f"{needed} bytes are to be fetched, and {cache_folder()} has room for {free}: make "
            "room, or set HF_HOME to a folder on another disk"
        )


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _file(sibling: Any) -> File:
    name, lfs = sibling.rfilename, sibling.lfs
    expected = str(lfs.sha256 if lfs else sibling.blob_id)
    path = PurePosixPath(name)
    if (
        path.is_absolute()
        or ".." in path.parts
        or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", expected)
    ):
        raise CheckpointError(f"the hub names a file '{name}' with digest '{expected}'")
    size = int((lfs.size if lfs else sibling.size) or 0)
    if not 0 <= size <= LARGEST:
        raise CheckpointError(f"the hub names a file '{name}' of {size} bytes")
    return File(name, size, expected)


class _Progress:
    """Counts bytes over all files."""

    def __init__(self, report: OnBytes | None, total: int) -> None:
        self.report = report or (lambda _done, _total: None)
        self.total = total
        self.finished = 0
        self.current = 0

    def add(self, count: int, finished: File | None = None) -> None:
        """`count` more bytes of the current file have come, or it is whole."""
        self.current += count
        if finished is not None:
            self.finished += finished.bytes
            self.current = 0
        self.report(min(self.finished + self.current, self.total), self.total)


class _TooLong(CheckpointError):
    """More comes than was promised."""


class _Counting:
    """A file being written that tells how much it has been given, and takes `most` bytes."""

    def __init__(self, opened: Any, progress: _Progress, most: int) -> None:
        self.opened = opened
        self.progress = progress
        self.most = most

    def write(self, data: bytes) -> int:
        """Write and count. Raises _TooLong, and then nothing is written."""
        if self.opened.tell() + len(data) > self.most:
            raise _TooLong(f"more than the {self.most} bytes that the hub promised")
        self.progress.add(len(data))
        return int(self.opened.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.opened, name)


def _download(ref: Ref, commit: str, file: File, progress: _Progress) -> None:
    """Put a file among the cache's blobs, going on where an earlier call was cut off.

    The library starts a file anew in each process, and writes whatever comes. A file of gigabytes
    is worth more care.
    """
    from filelock import FileLock

    blob = repo_folder(ref) / "blobs" / file.digest
    locks = cache_folder() / ".locks" / repo_folder(ref).name  # the library's own
    part = blob.with_name(f"{file.digest}.unclip.incomplete")
    for needed in (blob.parent, locks):
        needed.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{file.digest}.lock"):
        if blob.exists():
            return
        if part.is_file() and part.stat().st_size > file.bytes:
            part.unlink()
        try:
            _append(part, ref, commit, file, progress)
        except _TooLong as error:
            part.unlink()
            raise CheckpointError(f"{file.name} of {ref}: {error}; it was removed") from None
        if digest(part, file) != file.digest:
            part.unlink()
            raise _not_promised(ref, file)
        part.replace(blob)


def _append(part: Path, ref: Ref, commit: str, file: File, progress: _Progress) -> None:
    """Fetch what `part` lacks."""
    from huggingface_hub.file_download import http_get

    hub = library()
    with part.open("ab") as opened, quiet(hub):
        progress.add(opened.tell())
        http_get(
            hub.hf_hub_url(ref.repo, file.name, revision=commit, endpoint=_endpoint()),
            _Counting(opened, progress, file.bytes),  # type: ignore[arg-type]
            resume_size=opened.tell(),
            headers=hub.utils.build_hf_headers(),
            expected_size=file.bytes,
        )


def _check(ref: Ref, commit: str, files: list[File]) -> None:
    """Hash what has not been hashed before; what is wrong leaves the cache."""
    known = read_notes(ref).get(commit, {}).get("files", {})
    for file in files:
        path = snapshot(ref, commit) / file.name
        if known.get(file.name) != file.digest and digest(path, file) != file.digest:
            while path.is_symlink():  # snapshot -> blob -> where repositories share it
                path, link = path.parent / path.readlink(), path
                link.unlink()
            path.unlink(missing_ok=True)
            raise _not_promised(ref, file)


def _not_promised(ref: Ref, file: File) -> CheckpointError:
    return CheckpointError(
        f"{file.name} of {ref} is not what the hub promised: its hash differs. "
        "It was removed; pull it again"
    )
