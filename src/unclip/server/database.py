"""The server's SQLite database: opened once a folder, migrated, with errors of one line."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from ..errors import OutputError, UsageError
from ..files import writing
from ..train.lock import Lock

MIGRATIONS = Path(__file__).parent / "migrations"
FILE = "unclip.db"
BUSY = 5.0
"""Seconds to wait for another program that writes in the database."""

_DAMAGED = "it is damaged; put a copy back, or move it away to begin with an empty queue"
_LOCKED = "another program has locked it; close that program"
_FAULTS = {
    "SQLITE_FULL": "the disk is full; make room on it",
    "SQLITE_READONLY": "it is read-only; make it and its folder writable",
    "SQLITE_CANTOPEN": "it cannot be opened; make it and its folder writable",
    "SQLITE_BUSY": _LOCKED,
    "SQLITE_LOCKED": _LOCKED,
    "SQLITE_PROTOCOL": _LOCKED,
    "SQLITE_NOTADB": _DAMAGED,
    "SQLITE_CORRUPT": _DAMAGED,
    "SQLITE_IOERR": "the disk fails; look at the system's log",
}


class Database:
    """The database of a folder, which one process at a time may have open.

    Nobody else in this process may open its file: closing that would drop SQLite's locks.

    Args:
        folder: made if it is not there.

    Raises:
        UsageError: another process has it open, or a later version made it.
        OutputError: it cannot be written, is damaged, or is locked by another program.
    """

    def __init__(self, folder: Path) -> None:
        with writing(folder):
            folder.mkdir(0o700, parents=True, exist_ok=True)  # prompts and pictures are private
        self.path = folder / FILE
        self._lock = Lock(folder / "lock", str(folder))
        self._engine = _engine(self.path)
        self._one = threading.RLock()  # writers wait here, not in SQLite's busy loop
        try:
            with self.write() as connection:
                _migrate(connection, self.path)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees the database as it is now. Raises OutputError."""
        with self._errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A connection in a transaction, committed to the disk at the end, or as if never begun.

        Raises:
            OutputError: the disk is full or read-only, the database is damaged or locked.
        """
        writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        with self._errors(), self._one, writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close the database, and let another process open it."""
        self._engine.dispose()
        self._lock.release()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            cause = getattr(error, "orig", None) or error
            kind = "_".join(getattr(cause, "sqlite_errorname", "").split("_")[:2])
            if kind not in _FAULTS:
                raise
            raise OutputError(f"cannot use {self.path}: {_FAULTS[kind]} ({cause})") from error


def _engine(path: Path) -> Engine:
    """Connections in WAL mode, whose transactions SQLAlchemy begins and not the module sqlite3."""
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        max_overflow=-1,  # as many as the server has threads
        connect_args={"timeout": BUSY, "check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, record: Any) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise UsageError(
                f"the file system of {path} has no shared memory, which the database needs; "
                "choose a folder on a local disk"
            )
        # FULL: a commit is on the disk before a client hears of it, even if the power fails then.
        # NORMAL would keep it through a kill, but not through that, and saves a millisecond.
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def migration_config(connection: Connection) -> Config:
    """What alembic's commands need to work in a connection's transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _migrate(connection: Connection, path: Path) -> None:
    """Bring the tables to the newest revision."""
    try:
        command.upgrade(migration_config(connection), "head")
    except CommandError as error:
        raise UsageError(
            f"database {path} is of a later version of unclip ({error}): update unclip, or choose "
            "another folder"
        ) from None
