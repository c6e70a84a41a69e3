"""Match the pictures of a folder with captions, and list what has no match."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import DataError, NoCaptionsError, counted, quoted
from ..media import SUFFIXES
from ._picture import is_mask
from ._tables import COLUMNS, TABLES, captions_of, rows_of

Pair = tuple[Path, tuple[str, ...]]
"""A picture and its captions."""

Names = Mapping[str, list[Path]]

NAMED = 3
"""Most files of a kind that a note names."""


@dataclass(frozen=True)
class Listing:
    """The contents of a folder of pictures, sorted by name.

    Args:
        pairs: pictures with their captions.
        uncaptioned: pictures without a caption.
        unpictured: text files without a picture.
        links: linked folders, which are not followed.
        unread: pictures whose text file cannot be read, and why.
    """

    pairs: tuple[Pair, ...]
    uncaptioned: tuple[Path, ...] = ()
    unpictured: tuple[Path, ...] = ()
    links: tuple[Path, ...] = ()
    unread: tuple[tuple[Path, str], ...] = ()

    def notes(self) -> list[str]:
        """What is not used, one line per kind; may be empty."""
        kinds = (
            (self._empty(), "picture is empty or gone", "pictures are empty or gone"),
            (
                [picture for picture, _ in self.unread],
                "picture has a text file that cannot be read",
                "pictures have text files that cannot be read",
            ),
            (self.uncaptioned, "picture has no caption", "pictures have no caption"),
            (self.unpictured, "text file has no picture", "text files have no picture"),
            (self.links, "folder is a link, not followed", "folders are links, not followed"),
        )
        return [
            f"{counted(len(files), one, several)}: {_named(files)}"
            for files, one, several in kinds
            if files
        ]

    def unused(self) -> list[tuple[Path, str]]:
        """Files that no sample is made of, and why."""
        kinds = (
            (self.uncaptioned, "it has no caption"),
            (self.unpictured, "it has no picture"),
            (self.links, "a link to a folder, not followed"),
        )
        return [(file, why) for files, why in kinds for file in files]

    def _empty(self) -> list[Path]:
        """Captioned pictures without content: empty files and broken links."""
        return [picture for picture, _ in self.pairs if not _length(picture)]


def _named(files: Sequence[Path]) -> str:
    """The first few, and how many more there are."""
    more = len(files) - NAMED
    names = ", ".join(map(quoted, files[:NAMED]))
    return f"{names} and {counted(more, 'other')}" if more > 0 else names


def _length(file: Path) -> int:
    """Bytes; 0 where it cannot be read."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def listing(folder: Path, columns: tuple[str, str] = COLUMNS) -> Listing:
    """List a folder with `name.txt` next to `name.png`, or with one of `TABLES`.

    `columns` are the table's, of the pictures' names and of the captions. Hidden files and folders
    are ignored. Names that do not match exactly are compared again without regard to case and to
    the form of Unicode accents.

    Raises:
        DataError: there is no folder, picture or caption; two files match the same name; a
            table cannot be read; a picture of a table is missing.
    """
    if not folder.is_dir():
        raise DataError(f"no dataset folder at {folder}")
    files, links = _files(folder)
    pictures = [path for path in files if is_picture(path) and not is_mask(path)]
    tables = [path for path in files if path.parent == folder and path.name.lower() in TABLES]
    if len(tables) > 1:
        names = " and ".join(quoted(table) for table in tables)
        raise DataError(f"{names} are both tables of captions: keep only one")
    if not tables and not pictures:
        raise DataError(f"{folder} has no pictures (looked for {', '.join(SUFFIXES)})")
    found = _of_table(tables[0], pictures, columns) if tables else _of_texts(pictures, files)
    if not found.pairs:
        if found.unread:
            raise DataError(found.unread[0][1])
        raise NoCaptionsError(_no_captions(folder, tables, pictures))
    return replace(found, links=tuple(links))


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder except hidden ones, with or without captions, sorted.

    Raises:
        DataError: no such folder, a file in its place, no pictures, or a folder that cannot be
            read.
    """
    if not folder.is_dir():
        wrong = "it is a file, not a folder" if folder.exists() else "there is no such folder"
        raise DataError(f"cannot read pictures from {quoted(folder)}: {wrong}")
    found = [path for path in _files(folder)[0] if is_picture(path)]
    if not found:
        raise DataError(f"{quoted(folder)} has no pictures (looked for {', '.join(SUFFIXES)})")
    return found


def is_picture(path: Path) -> bool:
    """Whether a file has the suffix of a picture."""
    return path.suffix.lower() in SUFFIXES


def _no_captions(folder: Path, tables: list[Path], pictures: list[Path]) -> str:
    if tables:
        return f"{quoted(tables[0])} has no captions"
    return (
        f"{folder} has {counted(len(pictures), 'picture')} but no captions "
        f"(looked for {pictures[0].stem}.txt etc., and for {', '.join(TABLES)})"
    )


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    """All files below a folder, and linked folders; without hidden ones; sorted."""
    files: list[Path] = []
    links: list[Path] = []
    waiting = [folder]
    while waiting:
        inside = waiting.pop()
        try:
            with os.scandir(inside) as entries:
                seen = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as error:
            raise DataError(f"cannot read {quoted(inside)}: {error.strerror or error}") from None
        for entry in seen:
            path = inside / entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif entry.is_symlink() and path.is_dir():
                links.append(path)
            elif entry.is_symlink() or entry.is_file():  # broken links are reported later
                files.append(path)
    return sorted(files), sorted(links)


def _alike(name: str) -> str:
    """A form that is equal for names that are equal on some file systems."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _by(names: Iterable[tuple[str, Path]]) -> Names:
    found: dict[str, list[Path]] = defaultdict(list)
    for name, path in names:
        found[name].append(path)
    return found


def _stem(path: Path) -> str:
    return os.path.splitext(path)[0]


def _of_texts(pictures: list[Path], files: list[Path]) -> Listing:
    """Pictures with their text files."""
    texts = [path for path in files if path.suffix.lower() == ".txt"]
    exact = _by((_stem(text), text) for text in texts)
    stems = {picture: _stem(picture) for picture in pictures}
    owned = set(stems.values())
    free = _by(
        (_alike(stem), text)
        for stem, several in exact.items()
        if stem not in owned
        for text in several
    )
    claims: dict[Path, Path] = {}
    pairs: list[Pair] = []
    unread: list[tuple[Path, str]] = []
    for picture, stem in stems.items():
        text = _one(exact.get(stem) or free.get(_alike(stem), []), picture)
        if text is None:
            continue
        first = claims.setdefault(text, picture)
        if stems[first] != stem:
            raise DataError(
                f"{quoted(text)} may belong to {quoted(first)} or to {quoted(picture)}: "
                "give each picture a text file with exactly its name"
            )
        try:
            pairs.append((picture, captions_of(text)))
        except DataError as error:
            unread.append((picture, str(error)))
    captioned = tuple(pair for pair in pairs if pair[1])
    uncaptioned = _left(pictures, [*captioned, *unread])
    unpictured = _left(texts, ((text, ()) for text in claims))
    return Listing(captioned, uncaptioned, unpictured, unread=tuple(unread))


def _of_table(table: Path, pictures: list[Path], columns: tuple[str, str]) -> Listing:
    """Pictures with the rows of a table."""
    alike: Names | None = None
    found: dict[Path, list[str]] = {}
    folder = table.parent
    for row in rows_of(table, lambda name: os.path.isfile(os.path.join(folder, name)), columns):
        picture = folder / row.picture
        if not os.path.isfile(picture):
            alike = alike or _by((_alike(str(picture)), picture) for picture in pictures)
            where = f"{quoted(table)}, line {row.line}"
            near = _one(alike.get(_alike(str(picture)), []), picture, where + ": ")
            if near is None:
                hint = "; use / between folders" if "\\" in row.picture else ""
                raise DataError(f"{where}: no picture {quoted(picture)}{hint}")
            picture = near
        if row.caption.strip():
            found.setdefault(picture, []).append(row.caption.strip())
    pairs = tuple((picture, tuple(captions)) for picture, captions in sorted(found.items()))
    return Listing(pairs, _left(pictures, pairs))


def _one(paths: list[Path], picture: Path, where: str = "") -> Path | None:
    if len(paths) > 1:
        names = " and ".join(quoted(path) for path in paths)
        raise DataError(f"{where}{names} both match {quoted(picture)}: keep only one")
    return paths[0] if paths else None


def _left(files: list[Path], taken: Iterable[tuple[Path, object]]) -> tuple[Path, ...]:
    used = {path for path, _ in taken}
    return tuple(path for path in files if path not in used)
