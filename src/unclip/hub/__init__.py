"""Models of the Hugging Face hub: fetched once, checked by hash, found again without a network.

A model is named `hub:org/name`, with `@revision` to pin it and `/folder` for a part of it. It
lies in the hub's own cache (`HF_HOME`, `HF_HUB_CACHE`). What this package fetched is noted there,
so that it can be listed and removed.
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
"""Seconds without a byte of an answer after which the hub is given up."""

LARGEST = 50 * 10**9
"""Most bytes of a file: the hub gives out no more at once."""

OnBytes = Callable[[int, int], None]
"""Called with the bytes that are there and the bytes in all."""


def fetch(
    ref: Ref | str,
    on_progress: OnBytes | None = None,
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
        variant: such as 'fp16', to be preferred where the model has it.
        fresh: fetch even where another variant is here, and fail where the hub is not reached.

    Raises:
        CheckpointError: it is nowhere, or what came is not what the hub promised.
        UsageError: `ref` is no name of a model.
        UnclipError: huggingface_hub is not installed.
    """
    ref = parse(ref) if isinstance(ref, str) else ref
    known = Pulled(ref, commit_of(ref))
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return known.whole("HF_HUB_OFFLINE is set")
    if known.commit == ref.asked and known.holds(variant, fresh):
        return known.whole("")  # a commit, which never changes
    try:
        with hub_errors(ref):
            return _pull(ref, variant, on_progress, fresh)
    except Unreachable as error:
        if fresh or not known.is_whole:  # what was cut off is no model
            raise CheckpointError(str(error)) from None
        return known.whole(str(error))


def remove(name: str) -> int:
    """Remove a model from the cache, every revision unless one is named; returns bytes freed.

    Raises:
        CheckpointError: this package has fetched no such model.
        UsageError: `name` is no name of a whole model.
    """
    ref = parse(name)
    if ref.part:
        raise UsageError(f"{ref} is a part of a model; only {PREFIX}{ref.repo} as a whole can go")
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
    """Fetch what is missing."""
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
    """A file that the hub names. Raises CheckpointError where it cannot be one."""
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
    """Raise OutputError where what is to come does not fit on the disk."""
    cache = cache_folder().absolute()
    free = shutil.disk_usage(next(one for one in (cache, *cache.parents) if one.exists())).free
    if needed > free:
        raise OutputError(
            f"{needed} bytes are to be fetched, and {cache_folder()} has room for {free}: make "
            "room, or set HF_HOME to a folder on another disk"
        )


def _download(model: Pulled, file: File, tell: Callable[[int], None]) -> Path:
    """Put a file among the cache's blobs, going on where an earlier call was cut off.

    Not by `hf_hub_download`: that begins anew in each process, waits minutes for a hub that is
    silent, writes whatever comes, and to wherever the hub's ETag leads.
    """
    from filelock import FileLock

    repo = repo_folder(model.ref)
    blob = repo / "blobs" / file.digest
    part = blob.with_name(f"{file.digest}.unclip.incomplete")
    lock = cache_folder() / ".locks" / repo.name / f"{file.digest}.lock"  # the library's own
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
                if part.stat().st_size <= before:  # else it goes on as long as something comes
                    raise
        if not is_sound(part, file):
            part.unlink()
            raise CheckpointError(
                f"{file.name} of {model.ref} is not what the hub promised: its hash differs. "
                "It was removed; pull it again"
            )
        return part.replace(blob)


def _append(part: Path, model: Pulled, file: File, tell: Callable[[int], None]) -> None:
    """Fetch what `part` lacks. Raises CheckpointError where more comes than was promised."""
    hub, size = library(), part.stat().st_size
    url = hub.hf_hub_url(model.ref.repo, file.name, revision=model.commit, endpoint=_endpoint())
    headers = {**hub.utils.build_hf_headers(), "Accept-Encoding": "identity"}
    headers["Range"] = f"bytes={size}-"
    busy: dict[str, Any] = {"retry_on_exceptions": (), "retry_on_status_codes": (408, 429)}
    request = hub.utils.http_stream_backoff("GET", url, headers=headers, timeout=SILENCE, **busy)
    with request as response, part.open("ab") as opened:
        hub.utils.hf_raise_for_status(response)
        if response.status_code != 206:  # all of it comes
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
            f"{file.name} of {model.ref}: more than the {file.bytes} bytes that the hub promised; "
            "it was removed"
        )
