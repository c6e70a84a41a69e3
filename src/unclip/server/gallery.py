"""The gallery: an owner's pictures, searched, marked, collected and deleted."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from ..errors import UsageError, about
from .job import Drawn, Spec
from .kept import Kept, drawn_of, spec_of, storable
from .tables import collected, collections, jobs, pictures, tags

LONGEST_NAME = 100
"""Most characters of a tag, or of a collection's name."""
MOST_IDS = 1000
"""Most pictures of one call."""

_WITH_JOBS = select(pictures, jobs.c.id.label("job_id"), jobs.c.spec).join(jobs)


class Found(NamedTuple):
    """A picture by its id: what it is, its file, whose it is, and when it was drawn."""

    drawn: Drawn
    path: Path
    owner: str
    created: float


@dataclass(frozen=True)
class Picture:
    """A picture of the gallery.

    Args:
        drawn: the picture.
        job: id of the job that drew it.
        spec: what that was asked for.
        created: when, in seconds since 1970.
        tags: in order of the alphabet.
        collections: ids of those that it is in.
        deleted: when; 0 if it is not.
    """

    drawn: Drawn
    job: str
    spec: Spec
    created: float
    tags: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    deleted: float = 0.0


@dataclass(frozen=True)
class Search:
    """Which pictures; those for which all of it is true.

    Args:
        text: words, each a part of the prompt, in any case.
        favourites: only those.
        collection: id of one that they are in.
        tag: that they have.
        deleted: those whose deletion can be undone, and no others.
    """

    text: str = ""
    favourites: bool = False
    collection: str | None = None
    tag: str | None = None
    deleted: bool = False


@dataclass(frozen=True)
class Collection:
    """A named collection of pictures; `pictures` counts those that are there."""

    id: str
    name: str
    created: float
    pictures: int = 0


@dataclass(frozen=True)
class Changes:
    """What changes of a picture: favourite or not (None: as it is), tags, ids of collections."""

    favourite: bool | None = None
    add_tags: Sequence[str] = ()
    remove_tags: Sequence[str] = ()
    add_collections: Sequence[str] = ()
    remove_collections: Sequence[str] = ()


class Gallery(Kept):
    """Pictures that jobs drew.

    An owner changes and sees only their own: other ids are as if they were not there. Methods that
    change pictures return the ids of those that they found.
    """

    def picture(self, id: str) -> Found | None:
        """Anybody's picture by its id, which is a secret; None if it is not there or deleted."""
        query = select(pictures).where((pictures.c.id == id) & (pictures.c.deleted == 0))
        with self._db.read() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        drawn = drawn_of(row)
        return Found(drawn, self._files.picture(drawn.id, drawn.format), row.owner, row.created)

    def file_of(self, drawn: Drawn) -> Path:
        """Where the file of a picture is as long as it can be restored, deleted or not."""
        return self._files.picture(drawn.id, drawn.format)

    def own_file(self, owner: str, id: str) -> Path | None:
        """Where the file of an owner's picture is, also of a deleted one that can be restored."""
        found = self.own_picture(owner, id)
        return self._files.picture(id, found.drawn.format) if found else None

    def own_picture(self, owner: str, id: str) -> Picture | None:
        """An owner's picture, also a deleted one that can be restored; None if it is not there."""
        mine = (pictures.c.owner == storable(owner)) & (pictures.c.id == id)
        with self._db.read() as connection:
            found = _read(connection, _WITH_JOBS.where(mine))
        return found[0] if found else None

    def pictures(
        self, owner: str, search: Search = Search(), limit: int = 50, before: str | None = None
    ) -> list[Picture]:
        """An owner's pictures, the newest first.

        Args:
            owner: whose.
            search: which.
            limit: most of them.
            before: id of the last one of the page before.
        """
        mine = pictures.c.owner == storable(owner)
        query = _WITH_JOBS.where(mine, *_conditions(search))
        if before is not None:
            last = select(pictures.c.number).where((pictures.c.id == before) & mine)
            query = query.where(pictures.c.number < last.scalar_subquery())
        with self._db.read() as connection:
            return _read(connection, query.order_by(pictures.c.number.desc()).limit(limit))

    def change(self, owner: str, id: str, changes: Changes) -> bool:
        """Change a picture: all of it, or nothing. False if it is not there.

        Raises:
            UsageError: a tag is empty or too long, or there is no such collection.
        """
        add = [_name(name, "tags") for name in changes.add_tags]
        with self._db.write() as connection:
            found = _own(connection, owner, [id]).values()
            into = [_number(connection, owner, one) for one in changes.add_collections]
            out_of = [_number(connection, owner, one) for one in changes.remove_collections]
            if found and changes.favourite is not None:
                _set(connection, found, favourite=changes.favourite)
            _tag(connection, found, add)
            _untag(connection, found, changes.remove_tags)
            for number in into:
                _collect(connection, found, number)
            for number in out_of:
                _uncollect(connection, found, number)
        return bool(found)

    def mark(self, owner: str, ids: Sequence[str], favourite: bool) -> list[str]:
        """Make pictures favourites, or no longer. Retention keeps favourites."""
        with self._db.write() as connection:
            found = _own(connection, owner, ids)
            _set(connection, found.values(), favourite=favourite)
        return list(found)

    def tag(self, owner: str, ids: Sequence[str], names: Sequence[str]) -> list[str]:
        """Add tags. Raises UsageError where one is empty or too long."""
        names = [_name(name, "tags") for name in names]
        with self._db.write() as connection:
            found = _own(connection, owner, ids)
            _tag(connection, found.values(), names)
        return list(found)

    def untag(self, owner: str, ids: Sequence[str], names: Sequence[str]) -> list[str]:
        """Take tags away."""
        with self._db.write() as connection:
            found = _own(connection, owner, ids)
            _untag(connection, found.values(), names)
        return list(found)

    def tags(self, owner: str) -> dict[str, int]:
        """An owner's tags in order of the alphabet, and how many pictures have each."""
        there = (pictures.c.owner == storable(owner)) & (pictures.c.deleted == 0)
        query = select(tags.c.name, func.count()).join(pictures).where(there)
        with self._db.read() as connection:
            return dict(connection.execute(query.group_by(tags.c.name).order_by(tags.c.name)).all())

    def delete(self, owner: str, ids: Sequence[str]) -> list[str]:
        """Delete pictures; `restore` undoes it until `prune` removes them."""
        with self._db.write() as connection:
            found = _own(connection, owner, ids)
            _set(connection, found.values(), deleted=self._now())
        return list(found)

    def restore(self, owner: str, ids: Sequence[str]) -> list[str]:
        """Undo a deletion; favourites, tags and collections come back too."""
        with self._db.write() as connection:
            found = _own(connection, owner, ids, deleted=True)
            _set(connection, found.values(), deleted=0)
        return list(found)

    def collections(self, owner: str) -> list[Collection]:
        """An owner's collections, by name."""
        with self._db.read() as connection:
            return _collections(connection, collections.c.owner == storable(owner))

    def make_collection(self, owner: str, name: str) -> Collection:
        """A new, empty collection. Raises UsageError where there is one of that name."""
        values = {
            "id": secrets.token_hex(16),
            "owner": storable(owner),
            "name": _name(name, "name"),
            "created": self._now(),
        }
        with self._db.write() as connection:
            if not _add(connection, collections, [values]):
                raise _taken(name)
            return _collections(connection, collections.c.id == values["id"])[0]

    def rename_collection(self, owner: str, id: str, name: str) -> Collection | None:
        """A collection under another name. Raises UsageError where that is taken."""
        name, mine = _name(name, "name"), _collection(owner, id)
        with self._db.write() as connection:
            other = (collections.c.owner == storable(owner)) & (collections.c.name == name)
            rows = connection.execute(
                select(collections.c.id).where(other & (collections.c.id != id))
            )
            if rows.first():
                raise _taken(name)
            connection.execute(update(collections).where(mine).values(name=name))
            found = _collections(connection, mine)
        return found[0] if found else None

    def remove_collection(self, owner: str, id: str) -> bool:
        """Remove a collection; its pictures stay. False if it is not there."""
        with self._db.write() as connection:
            return (
                connection.execute(delete(collections).where(_collection(owner, id))).rowcount > 0
            )

    def collect(self, owner: str, id: str, ids: Sequence[str]) -> list[str]:
        """Put pictures into a collection, which retention then keeps. Raises UsageError if none."""
        with self._db.write() as connection:
            number = _number(connection, owner, id)
            found = _own(connection, owner, ids)
            _collect(connection, found.values(), number)
        return list(found)

    def uncollect(self, owner: str, id: str, ids: Sequence[str]) -> list[str]:
        """Take pictures out of a collection. Raises UsageError if there is none."""
        with self._db.write() as connection:
            number = _number(connection, owner, id)
            found = _own(connection, owner, ids)
            _uncollect(connection, found.values(), number)
        return list(found)


def _conditions(search: Search) -> list[ColumnElement[bool]]:
    conditions = [pictures.c.deleted > 0 if search.deleted else pictures.c.deleted == 0]
    words = storable(search.text.casefold()).split()
    conditions += [func.instr(pictures.c.words, word) > 0 for word in words]
    if search.favourites:
        conditions.append(pictures.c.favourite)
    if search.tag is not None:
        name = storable(search.tag.strip())
        conditions.append(pictures.c.number.in_(select(tags.c.picture).where(tags.c.name == name)))
    if search.collection is not None:
        these = select(collected.c.picture).join(collections)
        conditions.append(pictures.c.number.in_(these.where(collections.c.id == search.collection)))
    return conditions


def _read(connection: Connection, query: Select[Any]) -> list[Picture]:
    rows = connection.execute(query).all()
    numbers = [row.number for row in rows]
    tagged = select(tags.c.picture, tags.c.name).where(tags.c.picture.in_(numbers))
    within = select(collected.c.picture, collections.c.id).join(collections)
    names = _grouped(connection, tagged.order_by(tags.c.name))
    holders = _grouped(connection, within.where(collected.c.picture.in_(numbers)))
    return [
        Picture(
            drawn=drawn_of(row),
            job=row.job_id,
            spec=spec_of(row.spec),
            created=row.created,
            tags=tuple(names[row.number]),
            collections=tuple(holders[row.number]),
            deleted=row.deleted,
        )
        for row in rows
    ]


def _grouped(connection: Connection, query: Select[int, str]) -> defaultdict[int, list[str]]:
    found = defaultdict[int, list[str]](list)
    for picture, value in connection.execute(query):
        found[picture].append(value)
    return found


def _own(
    connection: Connection, owner: str, ids: Sequence[str], deleted: bool = False
) -> dict[str, int]:
    """Id -> number of an owner's pictures. Raises UsageError for too many."""
    if len(ids) > MOST_IDS:
        raise UsageError(f"at most {MOST_IDS:,} pictures at once, got {len(ids):,}").about("ids")
    state = pictures.c.deleted > 0 if deleted else pictures.c.deleted == 0
    mine = (pictures.c.owner == storable(owner)) & pictures.c.id.in_(list(ids)) & state
    return dict(connection.execute(select(pictures.c.id, pictures.c.number).where(mine)).all())


def _set(connection: Connection, numbers: Iterable[int], **values: Any) -> None:
    these = pictures.c.number.in_(list(numbers))
    connection.execute(update(pictures).where(these).values(**values))


def _tag(connection: Connection, numbers: Iterable[int], names: Sequence[str]) -> None:
    _add(connection, tags, [{"picture": one, "name": name} for one in numbers for name in names])


def _untag(connection: Connection, numbers: Iterable[int], names: Sequence[str]) -> None:
    gone = tags.c.name.in_([storable(name.strip()) for name in names])
    connection.execute(delete(tags).where(tags.c.picture.in_(list(numbers)) & gone))


def _collect(connection: Connection, numbers: Iterable[int], number: int) -> None:
    _add(connection, collected, [{"collection": number, "picture": one} for one in numbers])


def _uncollect(connection: Connection, numbers: Iterable[int], number: int) -> None:
    these = collected.c.picture.in_(list(numbers))
    connection.execute(delete(collected).where((collected.c.collection == number) & these))


def _add(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> bool:
    """Insert what is not there yet. Whether any was not."""
    if not rows:
        return False
    return connection.execute(insert(table).on_conflict_do_nothing(), rows).rowcount > 0


def _name(name: str, field: str) -> str:
    name = storable(name.strip())
    with about(field):
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise UsageError(f"a name must be 1 to {LONGEST_NAME} printable characters")
    return name


def _taken(name: str) -> UsageError:
    return UsageError(f"there is a collection '{name.strip()}' already").about("name")


def _collection(owner: str, id: str) -> ColumnElement[bool]:
    return (collections.c.owner == storable(owner)) & (collections.c.id == id)


def _number(connection: Connection, owner: str, id: str) -> int:
    query = select(collections.c.number).where(_collection(owner, id))
    number: int | None = connection.execute(query).scalar()
    if number is None:
        raise UsageError("there is no such collection").about("collection")
    return number


def _collections(connection: Connection, which: ColumnElement[bool]) -> list[Collection]:
    there = (collected.c.picture == pictures.c.number) & (pictures.c.deleted == 0)
    count = select(func.count()).select_from(collected).join(pictures, there)
    inside = count.where(collected.c.collection == collections.c.number).scalar_subquery()
    query = select(collections.c.id, collections.c.name, collections.c.created, inside.label("n"))
    rows = connection.execute(query.where(which).order_by(collections.c.name))
    return [Collection(row.id, row.name, row.created, row.n) for row in rows]
