"""Models of the Hugging Face hub: downloaded once, checked by hash, available offline.

A model is named `hub:org/name`, with `@revision` to pin it and `/folder` for a part of it. It is
stored in the hub's own cache (`HF_HOME`, `HF_HUB_CACHE`). A note there lists the downloads of this
package, for `list` and `remove`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, OutputError, UsageError
from ..files import relative, write_text
from ._library import Unreachable, hub_errors, library, network_errors
from .cache import Pulled, cache_folder, commit_of, forget, is_sound, pulled, repo_folder
from .names import PREFIX, File, Ref, choose, parse, weights_of

__all__ = ["OnBytes", "Pulled", "Ref", "fetch", "parse", "pulled", "remove"]

SILENCE = 20.0
"""Seconds without data after which a connection to the hub fails."""

LARGEST = 50 * 10**9
"""Largest file in bytes: the hub has no larger ones."""

OnBytes = Callable[[int, int], None]
"""Called with the bytes so far and the total."""


def fetch(
    ref: Ref | str,
    on_progress: OnBytes | None = None,
    variant: str | None = None,
    fresh: bool = False,
) -> Path:
    """Download the missing files of a model; returns its path in the cache.

    Only files that a loader can use are downloaded: safetensors rather than other copies of the
    same weights, and plain weights rather than half-precision copies. Each file is checked against
    the hub's digest. Without a connection, or with `HF_HUB_OFFLINE`, the cached copy is used.

    Args:
        ref: the model.
        on_progress: called with the bytes so far and the total.
        variant: such as 'fp16', preferred if the model has it.
        fresh: download even if another variant is in the cache, and fail without a connection.

    Raises:
        CheckpointError: not found, or the download does not match its digest.
        UsageError: `ref` is not the name of a model.
        UnclipError: huggingface_hub is not installed.
    """
    ref = parse(ref) if isinstance(ref, str) else ref
    known = Pulled(ref, commit_of(ref))
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return known.whole("HF_HUB_OFFLINE is set")
    if known.commit == ref.asked and known.holds(variant, fresh):
        return known.whole("")  # a commit never changes
    try:
        with hub_errors(ref):
            return _pull(ref, variant, on_progress, fresh)
    except Unreachable as error:
        if fresh or not known.is_whole:  # an interrupted download is not a model
            raise CheckpointError(str(error)) from None
        return known.whole(str(error))


def remove(name: str) -> int:
    """Remove a model from the cache, every revision unless one is named; returns bytes freed.

    Raises:
        CheckpointError: this package has not downloaded such a model.
        UsageError: `name` is not the name of a whole model.
    """
    ref = parse(name)
    if ref.part:
        raise UsageError(f"{ref} is a part of a model; remove {PREFIX}{ref.repo} as a whole")
    all_of_it = [one for one in pulled() if one.ref.repo == ref.repo]
    gone = {one.commit for one in all_of_it if ref.revision in (None, one.ref.asked, one.commit)}
    if not gone:
        known = ", ".join(str(one.ref) for one in pulled()) or "none"
        raise CheckpointError(f"{ref} was not pulled (pulled: {known})")
    before = _bytes_on_disk(repo_folder(ref))
    library().scan_cache_dir(cache_folder()).delete_revisions(*gone).execute()
    forget(ref, gone)
    return before - _bytes_on_disk(repo_folder(ref))


def _bytes_on_disk(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())


def _pull(ref: Ref, variant: str | None, on_progress: OnBytes | None, fresh: bool) -> Path:
    api = library().HfApi(endpoint=_endpoint())
    info = api.model_info(ref.repo, revision=ref.asked, files_metadata=True, timeout=SILENCE)
    if not re.fullmatch("[0-9a-f]{40}", str(info.sha)):
        raise CheckpointError(f"the hub names a commit {info.sha!r} of {ref}")
    model = Pulled(ref, info.sha)
    if not model.holds(variant, fresh):
        files = choose([_file(sibling) for sibling in info.siblings], variant, ref.part)
        if not any(weights_of(file.name, variant) for file in files):
            raise CheckpointError(f"{ref} has no weights that can be read")
        _complete(model, files, variant, on_progress)
    if info.sha not in (ref.asked, commit_of(ref)):
        write_text(repo_folder(ref) / "refs" / ref.asked, info.sha)
    return model.whole("")


def _complete(
    model: Pulled, files: list[File], variant: str | None, on_progress: OnBytes | None
) -> None:
    """Download missing files."""
    missing = [file for file in files if model.lacks(file)]
    _check_room(sum(file.bytes for file in missing))
    model.note(variant, files)
    done, total = 0, sum(file.bytes for file in files)

    def tell(more: int) -> None:
        if on_progress is not None:
            on_progress(done + more, total)

    for file in files:
        if file in missing:
            model.link(_download(model, file, tell), file)
        done += file.bytes
        tell(0)


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _file(sibling: Any) -> File:
    """A file from the hub's list. Raises CheckpointError if the entry is invalid."""
    lfs = sibling.lfs
    expected = str(lfs.sha256 if lfs else sibling.blob_id)
    size = int((lfs.size if lfs else sibling.size) or 0)
    try:
        name = relative(sibling.rfilename)
    except ValueError as error:
        raise CheckpointError(f"the hub names a file {error}") from None
    if name != sibling.rfilename or not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", expected):
        raise CheckpointError(f"the hub names a file '{name}' with digest '{expected}'")
    if not 0 <= size <= LARGEST:
        raise CheckpointError(f"the hub names a file '{name}' of {size} bytes")
    return File(name, size, expected)


def _check_room(needed: int) -> None:
    """Raise OutputError if the download does not fit on the disk."""
    cache = cache_folder().absolute()
    free = shutil.disk_usage(next(one for one in (cache, *cache.parents) if one.exists())).free
    if needed > free:
        raise OutputError(
            f"the download has {needed} bytes, and {cache_folder()} has room for {free}: free "
            "space, or set HF_HOME to a folder on another disk"
        )


def _download(model: Pulled, file: File, tell: Callable[[int], None]) -> Path:
    """Download a file into the cache's blobs, resuming an interrupted download.

    `hf_hub_download` is not used: it restarts in each process, waits minutes for an unresponsive
    hub, writes any amount of data, and to any path in the hub's ETag.
    """
    from filelock import FileLock

    repo = repo_folder(model.ref)
    blob = repo / "blobs" / file.digest
    part = blob.with_name(f"{file.digest}.unclip.incomplete")
    lock = cache_folder() / ".locks" / repo.name / f"{file.digest}.lock"  # as in the library
    for needed in (blob.parent, lock.parent):
        needed.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        if blob.exists() and is_sound(blob, file):
            return blob
        part.touch()
        while (before := part.stat().st_size) < file.bytes:
            try:
                _append(part, model, file, tell)
                break
            except network_errors():
                if part.stat().st_size <= before:  # otherwise it resumes as long as data arrive
                    raise
        if not is_sound(part, file):
            part.unlink()
            raise CheckpointError(
                f"{file.name} of {model.ref} does not match the hub's digest and was "
                "removed; pull it again"
            )
        return part.replace(blob)


def _append(part: Path, model: Pulled, file: File, tell: Callable[[int], None]) -> None:
    """Download the rest of `part`. Raises CheckpointError if more arrives than announced."""
    hub, size = library(), part.stat().st_size
    url = hub.hf_hub_url(model.ref.repo, file.name, revision=model.commit, endpoint=_endpoint())
    headers = {**hub.utils.build_hf_headers(), "Accept-Encoding": "identity"}
    headers["Range"] = f"bytes={size}-"
    busy: dict[str, Any] = {"retry_on_exceptions": (), "retry_on_status_codes": (408, 429)}
    request = hub.utils.http_stream_backoff("GET", url, headers=headers, timeout=SILENCE, **busy)
    with request as response, part.open("ab") as opened:
        hub.utils.hf_raise_for_status(response)
        if response.status_code != 206:  # the server sends the whole file
            size = opened.truncate(0)
        for data in response.iter_bytes():
            size += len(data)
            if size > file.bytes:
                break
            opened.write(data)
            tell(size)
    if size > file.bytes:
        part.unlink()
        raise CheckpointError(
            f"{file.name} of {model.ref}: more than the {file.bytes} bytes that the hub announced; "
            "it was removed"
        )
