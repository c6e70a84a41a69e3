"""The hub's cache, which other programs share, and what this package has fetched into it.

`unclip.json` beside a model's blobs notes each pull, with its files, before it begins. A file is
there only once it is whole and sound. So half a pull is never taken for a model.
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
    """As the library has it, but read anew, since it looks at the environment only once."""
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if cache:
        return Path(cache).expanduser()
    above = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(os.environ.get("HF_HOME") or above).expanduser() / "hub"


def repo_folder(ref: Ref) -> Path:
    """Where all revisions of a model lie."""
    return cache_folder().resolve() / f"models--{ref.repo.replace('/', '--')}"


def commit_of(ref: Ref) -> str:
    """What its revision stood for when it was last looked up."""
    pointer = repo_folder(ref) / "refs" / ref.asked
    return pointer.read_text().strip() if pointer.is_file() else ref.asked


def read_notes(ref: Ref) -> dict[str, dict[str, Any]]:
    """By commit: `revision`, by which it was asked for, and `pulls`, by what was asked for."""
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
        """Where the whole revision lies."""
        return repo_folder(self.ref) / "snapshots" / self.commit

    @property
    def bytes(self) -> int:
        """Of all files of the revision that are there."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    @property
    def _gone(self) -> dict[str, list[str]]:
        """By what was pulled, files of this part that are not there; of a whole pull none."""
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
        """Whether a pull that was not cut off has brought files of it."""
        return [] in self._gone.values()

    def whole(self, why: str) -> Path:
        """Where it lies, with all that was pulled of it.

        Another variant of which a part is here, as its pull was cut off, takes nothing from it.

        Args:
            why: it is not fetched now, for the error's text.

        Raises:
            CheckpointError: it is not here, or files of it have gone.
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
        """Whether that was fetched already: this variant, or any where none is asked for.

        A variant that was not asked for by name does not do while another is half here: a loader
        might take that one.

        Args:
            variant: of the weights.
            exactly: without a variant, only the choice without one counts.
        """
        gone = self._gone
        whole = [key for key, names in gone.items() if not names]
        any_other = variant is None and not exactly and len(whole) == len(gone)
        return self._key(variant) in whole or (
            any_other and any(key.startswith(self._key()) for key in whole)
        )

    def note(self, variant: str | None, files: list[File]) -> None:
        """Note a pull that begins; it is whole when all of its files are there."""
        notes = read_notes(self.ref)
        note = notes.setdefault(self.commit, {"pulls": {}})
        note["revision"] = self.ref.asked
        note["pulls"][self._key(variant)] = [file.name for file in files]
        write_json(repo_folder(self.ref) / NOTES, notes)

    def _key(self, variant: str | None = None) -> str:
        return f"{self.ref.part} {variant or ''}"

    def lacks(self, file: File) -> bool:
        """Whether a file is not there as the hub has it; a damaged one goes."""
        path = self.path / file.name
        if path.is_file() and is_sound(path, file):
            return False
        path.unlink(missing_ok=True)
        return True

    def link(self, blob: Path, file: File) -> None:
        """Give a blob its name; where links cannot be made, a copy of it."""
        place = self.path / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            place.symlink_to(os.path.relpath(blob, place.parent))
        except OSError:
            with atomic_file(place) as beside:
                shutil.copyfile(blob, beside)


def pulled() -> list[Pulled]:
    """The models in the cache that this package fetched, by name."""
    found = []
    for file in sorted(cache_folder().glob(f"models--*/{NOTES}")):
        repo = file.parent.name.removeprefix("models--").replace("--", "/", 1)
        for commit, note in read_notes(Ref(repo)).items():
            revision = note["revision"]
            ref = Ref(repo, None if revision == Ref(repo).asked else revision)
            found.append(Pulled(ref, commit))
    return [one for one in found if one.is_whole]


def forget(ref: Ref, commits: set[str]) -> None:
    """Drop the notes on revisions that are gone."""
    if repo_folder(ref).is_dir():
        kept = {commit: note for commit, note in read_notes(ref).items() if commit not in commits}
        write_json(repo_folder(ref) / NOTES, kept)


def is_sound(path: Path, file: File) -> bool:
    """Whether what lies at `path` has the digest that the hub has for `file`."""
    with path.open("rb") as opened:
        if len(file.digest) == 64:
            return hashlib.file_digest(opened, "sha256").hexdigest() == file.digest
        data = opened.read()
    sha1 = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
    return sha1.hexdigest() == file.digest
