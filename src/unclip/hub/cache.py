"""The hub's cache, shared with other programs, and the downloads of this package in it.

`unclip.json` next to a model's blobs lists each pull and its files before it starts. A file appears
only when it is complete and verified. So an incomplete pull is never taken for a model.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from ..files import atomic_file, write_json
from ..plain import read_json
from .names import File, Ref, is_within

NOTES = "unclip.json"


def cache_folder() -> Path:
    """As in the library, but read each time; the library reads the environment only once."""
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if cache:
        return Path(cache).expanduser()
    above = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HOME") or above).expanduser() / "hub"


def repo_folder(ref: Ref) -> Path:
    """The folder of all revisions of a model."""
    return cache_folder().resolve() / f"models--{ref.repo.replace('/', '--')}"


def commit_of(ref: Ref) -> str:
    """The commit of its revision at the last look-up."""
    pointer = repo_folder(ref) / "refs" / ref.asked
    return pointer.read_text().strip() if pointer.is_file() else ref.asked


def read_notes(ref: Ref) -> dict[str, dict[str, Any]]:
    """By commit: the requested `revision`, and `pulls` by what was requested."""
    try:
        notes = read_json(repo_folder(ref) / NOTES)
    except (OSError, ValueError):
        return {}
    known = notes.items() if isinstance(notes, dict) else ()
    return {c: note for c, note in known if isinstance(note, dict) and "pulls" in note}


@dataclass(frozen=True)
class Pulled:
    """One revision of a model, or of a part of it, in the cache."""

    ref: Ref
    commit: str

    @property
    def path(self) -> Path:
        """The folder of the whole revision."""
        return repo_folder(self.ref) / "snapshots" / self.commit

    @property
    def bytes(self) -> int:
        """Size of all files of the revision in the cache."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    @property
    def _gone(self) -> dict[str, list[str]]:
        """Missing files of this part by pull; a complete pull has none."""
        pulls = read_notes(self.ref).get(self.commit, {}).get("pulls", {})
        mine = {
            key: [name for name in names if is_within(name, self.ref.part)]
            for key, names in pulls.items()
        }
        return {
            key: [name for name in names if not (self.path / name).is_file()]
            for key, names in mine.items()
            if names
        }

    @property
    def is_whole(self) -> bool:
        """Whether a complete pull includes files of it."""
        return [] in self._gone.values()

    def whole(self, why: str) -> Path:
        """Its path, with all pulled files. An incomplete pull of another variant does not matter.

        `why` it is not downloaded now is for the error.

        Raises:
            CheckpointError: it is not in the cache, or files are missing.
        """
        path, gone = self.path / self.ref.part, self._gone
        whole = [key.rpartition(" ")[0] for key, names in gone.items() if not names]
        missing = [name for names in gone.values() for name in names]
        if any(is_within(self.ref.part, part) for part in whole):
            missing = []
        if path.exists() and not missing:
            return path
        what = f"of {self.ref} {missing[0]}" if missing else f"{self.ref}"
        because = f", and {why}" if why else ""
        raise CheckpointError(f"{what} is not in the cache {cache_folder()}{because}")

    def holds(self, variant: str | None, exactly: bool) -> bool:
        """Whether this variant is complete, or any if none is requested.

        A variant that was not requested by name does not count while another is incomplete: a
        loader might use that one.

        Args:
            variant: variant of the weights.
            exactly: without a variant, only a pull without one counts.
        """
        gone = self._gone
        whole = [key for key, names in gone.items() if not names]
        any_other = variant is None and not exactly and len(whole) == len(gone)
        return self._key(variant) in whole or (
            any_other and any(key.startswith(self._key()) for key in whole)
        )

    def note(self, variant: str | None, files: list[File]) -> None:
        """Record the start of a pull; it is complete when all its files exist."""
        notes = read_notes(self.ref)
        note = notes.setdefault(self.commit, {"pulls": {}})
        note["revision"] = self.ref.asked
        note["pulls"][self._key(variant)] = [file.name for file in files]
        write_json(repo_folder(self.ref) / NOTES, notes)

    def _key(self, variant: str | None = None) -> str:
        return f"{self.ref.part} {variant or ''}"

    def lacks(self, file: File) -> bool:
        """Whether a file is missing or damaged; a damaged one is removed."""
        path = self.path / file.name
        if path.is_file() and is_sound(path, file):
            return False
        path.unlink(missing_ok=True)
        return True

    def link(self, blob: Path, file: File) -> None:
        """Link a blob to its name, or copy it if links are not supported."""
        place = self.path / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            place.symlink_to(os.path.relpath(blob, place.parent))
        except OSError:
            with atomic_file(place) as beside:
                shutil.copyfile(blob, beside)


def pulled() -> list[Pulled]:
    """The models in the cache downloaded by this package, by name."""
    found = []
    for file in sorted(cache_folder().glob(f"models--*/{NOTES}")):
        repo = file.parent.name.removeprefix("models--").replace("--", "/", 1)
        for commit, note in read_notes(Ref(repo)).items():
            revision = note["revision"]
            ref = Ref(repo, None if revision == Ref(repo).asked else revision)
            found.append(Pulled(ref, commit))
    return [one for one in found if one.is_whole]


def forget(ref: Ref, commits: set[str]) -> None:
    """Remove records of deleted revisions."""
    if repo_folder(ref).is_dir():
        kept = {commit: note for commit, note in read_notes(ref).items() if commit not in commits}
        write_json(repo_folder(ref) / NOTES, kept)


def is_sound(path: Path, file: File) -> bool:
    """Whether the file at `path` has the hub's digest of `file`."""
    with path.open("rb") as opened:
        if len(file.digest) == 64:
            return hashlib.file_digest(opened, "sha256").hexdigest() == file.digest
        header = b"blob %d\0" % os.fstat(opened.fileno()).st_size
        blob = hashlib.sha1(header, usedforsecurity=False)
        return hashlib.file_digest(opened, lambda: blob).hexdigest() == file.digest
