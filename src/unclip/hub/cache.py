"""The hub's cache: where things lie in it, and what this package has fetched into it."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..files import atomic_file, write_json, write_text
from ..plain import read_json
from .names import MAIN, File, Ref, is_within

NOTES = "unclip.json"


@dataclass(frozen=True)
class Pulled:
    """A revision of a model in the cache. `bytes` counts the files that were asked for."""

    ref: Ref
    commit: str
    path: Path
    bytes: int


def pulled() -> list[Pulled]:
    """The models in the cache that this package fetched, by name."""
    found = []
    for file in sorted(cache_folder().glob(f"models--*/{NOTES}")):
        repo = file.parent.name.removeprefix("models--").replace("--", "/", 1)
        for commit, note in read_notes(Ref(repo)).items():
            path = file.parent / "snapshots" / commit
            here = [path / name for name in note["files"] if (path / name).is_file()]
            if here:
                size = sum(one.stat().st_size for one in here)
                revision = note["revision"]
                ref = Ref(repo, None if revision == MAIN else revision)
                found.append(Pulled(ref, commit, path, size))
    return found


def cache_folder() -> Path:
    """As the library has it, but read anew, since it looks at the environment only once."""
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if cache:
        return Path(cache).expanduser()
    above = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HOME") or above).expanduser() / "hub"


def repo_folder(ref: Ref) -> Path:
    """Where all revisions of a model lie."""
    return cache_folder().resolve() / f"models--{ref.repo.replace('/', '--')}"


def snapshot(ref: Ref, commit: str) -> Path:
    """Where one revision lies."""
    return repo_folder(ref) / "snapshots" / commit


def cached(ref: Ref, why: str, commit: str | None = None) -> Path:
    """Where a model lies, all that was fetched of it being there.

    Another variant of which a part is here, as its pull was cut off, takes nothing from it.

    Args:
        ref: the model.
        why: it is not fetched now, for the error's text.
        commit: what its revision stands for; looked up if left out.

    Raises:
        CheckpointError: it is not here, or files of it have gone.
    """
    commit = commit or _commit(ref)
    path = snapshot(ref, commit) / ref.part
    missing = _gone(ref, commit, _files(ref, commit))
    if not _was_finished(ref, commit):
        missing += _gone(ref, commit, _promised(ref, commit))
    if path.exists() and not missing:
        return path
    what = f"of {ref} {missing[0]} is not in the cache" if missing else f"{ref} is not in the cache"
    raise CheckpointError(f"{what} {cache_folder()}{f', and {why}' if why else ''}")


def is_here(ref: Ref, commit: str, variant: str | None, exactly: bool) -> bool:
    """Whether that was fetched already: this variant, or any where none is asked for.

    Args:
        ref: the model.
        commit: what its revision stands for.
        variant: of the weights.
        exactly: without a variant, only the choice without one counts.

    A variant that was not asked for by name does not do while another is half here: a loader
    might take that one.
    """
    asked = read_notes(ref).get(commit, {}).get("asks", ())
    wanted = asks(ref, variant)
    anything = variant is None and not exactly
    if _gone(ref, commit, _files(ref, commit)):
        return False
    if wanted in asked:
        return True
    here = anything and any(one.startswith(wanted) for one in asked)
    return here and not _gone(ref, commit, _promised(ref, commit))


def _was_finished(ref: Ref, commit: str) -> bool:
    """Whether a pull of it, of whichever variant, came to its end."""
    asked = read_notes(ref).get(commit, {}).get("asks", ())
    return any(is_within(ref.part, one.rpartition(" ")[0]) for one in asked)


def _files(ref: Ref, commit: str) -> list[str]:
    """What was fetched of a model."""
    noted = read_notes(ref).get(commit, {}).get("files", ())
    return [name for name in noted if is_within(name, ref.part)]


def _promised(ref: Ref, commit: str) -> list[str]:
    """What was to be fetched of a model by pulls that have not come to their end."""
    noted = read_notes(ref).get(commit, {}).get("promised", ())
    return [name for name in noted if is_within(name, ref.part)]


def _gone(ref: Ref, commit: str, names: list[str]) -> list[str]:
    """Which of these files are not here."""
    return [name for name in names if not (snapshot(ref, commit) / name).is_file()]


def is_noted(ref: Ref) -> bool:
    """Whether this package fetched what the revision stood for when it was last looked up."""
    noted = read_notes(ref).get(_commit(ref), {}).get("files", {})
    return any(is_within(name, ref.part) for name in noted)


def _commit(ref: Ref) -> str:
    pointer = repo_folder(ref) / "refs" / ref.asked
    return pointer.read_text().strip() if pointer.is_file() else ref.asked


def read_notes(ref: Ref) -> dict[str, dict[str, Any]]:
    """By commit: the revision it was asked by, its files and their digests, what was asked."""
    try:
        notes = read_json(repo_folder(ref) / NOTES)
    except (OSError, ValueError):
        return {}
    keys = {"revision", "files", "asks"}
    known = notes.items() if isinstance(notes, dict) else ()
    return {c: note for c, note in known if isinstance(note, dict) and keys <= note.keys()}


def promise(ref: Ref, commit: str, files: list[File]) -> None:
    """Note what is about to be fetched: until all of it is here, it is no model."""
    notes = read_notes(ref)
    note = notes.setdefault(commit, {"revision": ref.asked, "files": {}, "asks": []})
    note["promised"] = sorted({*note.get("promised", ()), *(file.name for file in files)})
    write_json(repo_folder(ref) / NOTES, notes)


def link(ref: Ref, commit: str, file: File) -> None:
    """Give a blob its name in the snapshot; where links cannot be made, a copy of it."""
    place = snapshot(ref, commit) / file.name
    blob = repo_folder(ref) / "blobs" / file.digest
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    try:
        place.symlink_to(os.path.relpath(blob, place.parent))
    except OSError:
        with atomic_file(place) as beside:
            shutil.copyfile(blob, beside)


def point(ref: Ref, commit: str) -> None:
    """Note what a branch or tag stands for, where the library does."""
    if ref.asked != commit:
        write_text(repo_folder(ref) / "refs" / ref.asked, commit)


def add_note(ref: Ref, commit: str, files: list[File], variant: str | None) -> None:
    """Note what was fetched."""
    notes = read_notes(ref)
    note = notes.setdefault(commit, {"revision": ref.asked, "files": {}, "asks": []})
    note["revision"] = ref.asked
    note["files"] |= {file.name: file.digest for file in files}
    fetched = {file.name for file in files}
    note["promised"] = [name for name in note.get("promised", ()) if name not in fetched]
    note["asks"] = sorted({*note["asks"], asks(ref, variant)})
    write_json(repo_folder(ref) / NOTES, notes)


def forget(ref: Ref, commits: set[str]) -> None:
    """Drop the notes on revisions that are gone."""
    if repo_folder(ref).is_dir():
        notes = read_notes(ref)
        kept = {commit: note for commit, note in notes.items() if commit not in commits}
        write_json(repo_folder(ref) / NOTES, kept)


def asks(ref: Ref, variant: str | None) -> str:
    """What of a revision was asked for."""
    return f"{ref.part} {variant or ''}"


def bytes_on_disk(folder: Path) -> int:
    """Bytes on the disk, links not followed."""
    files = (file.lstat() for file in folder.rglob("*") if not file.is_dir())
    return sum(stat.st_size for stat in files)


def is_set(name: str) -> bool:
    """Whether an environment variable is on, as the library reads them."""
    return os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")


def digest(path: Path, file: File) -> str:
    """The hash of what lies at `path`, of the kind that the hub has for `file`."""
    with path.open("rb") as opened:
        if len(file.digest) == 64:
            return hashlib.file_digest(opened, "sha256").hexdigest()
        data = opened.read()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
