"""A full, read-only, damaged or locked disk gives one clear line, and nothing is lost by it."""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from unclip.errors import OutputError, UsageError
from unclip.server import database
from unclip.server.database import Database
from unclip.server.job import Drawn, Spec
from unclip.server.store import Store

SPEC = Spec("generate", {"prompt": "a fox"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A closed store with a job that waits and one that ran."""
    store = Store(tmp_path / "data")
    for _ in range(2):
        store.add("me", SPEC, 9)
    store.lease(1)
    store.close()
    return tmp_path / "data"


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert "\n" not in text and "sqlalche" not in text and len(text) < 400
    return text


def drawn(data: bytes = b"x", count: int = 1) -> list[tuple[Drawn, bytes]]:
    return [(Drawn(secrets.token_hex(16), 0, 1, 1, (1, 1), len(data)), data) for _ in range(count)]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def limit(store: Store, pages: int | None) -> None:
    """Let the database grow to so many pages, as a full disk does."""
    with store._db.read() as connection:
        now = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def bound(connection: Connection) -> None:
        most = 2**30 if pages is None else now + pages
        connection.exec_driver_sql(f"PRAGMA max_page_count = {most}")

    event.listen(store._db._engine, "begin", bound)


def test_a_full_database_refuses_jobs_and_keeps_those_it_has(folder: Path) -> None:
    store = Store(folder)
    limit(store, 2)
    accepted = [job.id for job in store.jobs("me")]
    with pytest.raises(OutputError) as error:
        accepted.extend(store.add("me", SPEC, 10**6).id for _ in range(100))
    assert "unclip.db: the disk is full; make room on it" in one_line(error)
    assert {job.id for job in store.jobs("me", limit=1000)} == set(accepted)
    limit(store, None)
    assert store.add("me", SPEC, 10**6).state == "queued"
    store.close()


def test_a_job_runs_on_where_the_database_is_full(folder: Path) -> None:
    store = Store(folder)
    job = store.add("me", Spec("generate", {"prompt": "a fox " * 4000}), 9)
    while store.lease(1):
        pass
    limit(store, 1)
    made = drawn(b"a picture", 5)
    with pytest.raises(OutputError, match="the disk is full"):
        store.finish(job.id, made)
    found = store.job(job.id)
    assert found is not None and found.state == "running"  # and may be tried again
    assert files(folder / "pictures") == []  # what takes room on the full disk is away
    limit(store, None)
    ended = store.finish(job.id, made)
    assert ended is not None and ended.pictures == tuple(one for one, _ in made)
    again = [store.picture(one.id) for one, _ in made]
    assert [one.path.read_bytes() for one in again if one] == [b"a picture"] * 5
    store.close()


def test_a_write_that_the_system_refuses(folder: Path) -> None:
    """The system itself stops the write, here by a limit of the size of files."""
    program = """
import resource, sys
from pathlib import Path
from unclip.errors import OutputError
from unclip.server.job import Spec
from unclip.server.store import Store
store = Store(Path(sys.argv[1]))
accepted = []
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
def add():
    for _ in range(999):
        accepted.append(store.add("me", Spec("vary", {}), 10**6).id)
for write in (lambda: store.put_input(bytes(300_000)), add):
    try:
        write()
    except OutputError as error:
        print(error)
print(len(accepted))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=True
    )
    upload, jobs, count = done.stdout.splitlines()
    assert upload.startswith("cannot write") and upload.endswith("File too large")
    assert jobs.startswith("cannot use") and "disk" in jobs
    store = Store(folder)
    assert len(store.jobs("me", limit=10**6)) == 2 + int(count)
    assert files(folder / "inputs") == []
    store.close()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 1 MB of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    folder = Path(tempfile.mkdtemp())
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("only root on Linux mounts a disk")
    if libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, b"size=1m") != 0:
        pytest.skip("this system lets nobody mount a disk")
    try:
        yield folder
    finally:
        libc.umount2(bytes(folder), 2)
        folder.rmdir()


def test_a_disk_that_is_full(small_disk: Path) -> None:
    store = Store(small_disk / "data")
    job = store.add("me", SPEC, 9)
    store.lease(1)
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    made, accepted = drawn(bytes(100_000), 3), [job.id]
    with pytest.raises(OutputError, match=r"cannot write .*: No space left on device"):
        store.finish(job.id, made)
    assert files(small_disk / "data" / "pictures") == []
    with pytest.raises(OutputError) as error:
        accepted.extend(store.add("me", SPEC, 10**6).id for _ in range(2000))
    assert "make room" in one_line(error)
    filler.unlink()
    ended = store.finish(job.id, made)
    assert ended is not None and ended.state == "done"
    picture = store.picture(made[0][0].id)
    assert picture is not None and picture.path.read_bytes() == bytes(100_000)
    assert {one.id for one in store.jobs("me", limit=10**6)} == set(accepted)
    store.close()


def test_a_folder_that_may_not_be_written(folder: Path) -> None:
    """As another user than root, whom no mode of a folder stops."""
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    data = place / "data"
    shutil.copytree(folder, data)
    for path in (place, data, *data.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    program = """
import os, sys
from pathlib import Path
from unclip.errors import UnclipError
from unclip.server.store import Store
if hasattr(os, "setuid") and os.getuid() == 0:
    os.setuid(65534)
for name in ("data", "new"):
    try:
        Store(Path(sys.argv[1]) / name)
    except UnclipError as error:
        print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(place)], capture_output=True, text=True, check=True
    )
    data_line, new_line = done.stdout.splitlines()
    assert data_line.startswith(f"OutputError cannot write {data}") and "denied" in data_line
    assert new_line.startswith(f"OutputError cannot write {place / 'new'}") and "denied" in new_line
    for path in (place, data):
        path.chmod(0o755)
    shutil.rmtree(place)


def test_a_database_that_becomes_read_only(folder: Path) -> None:
    store = Store(folder)
    (job,) = store.lease(1)
    event.listen(
        store._db._engine, "begin", lambda one: one.exec_driver_sql("PRAGMA query_only = ON")
    )
    made = drawn()
    for change in (lambda: store.add("me", SPEC, 9), lambda: store.finish(job.id, made)):
        with pytest.raises(OutputError) as error:
            change()
        assert "it is read-only; make it and its folder writable" in one_line(error)
    assert [one.state for one in store.jobs("me")] == ["queued", "running"]
    assert files(folder / "pictures") == []
    store.close()


@pytest.mark.parametrize("damage", ["text", "cut", "holes"])
def test_a_damaged_database_is_reported_and_left_alone(folder: Path, damage: str) -> None:
    file = folder / "unclip.db"
    store = Store(folder)
    for _ in range(100):
        store.cancel(store.add("me", SPEC, 9).id)
    store.close()
    whole = file.read_bytes()
    page = 4096
    damaged = {
        "text": b"this is no database " * 1000,
        "cut": whole[: 3 * page],
        "holes": whole[:100] + b"\xff" * (len(whole) - 100),
    }[damage]
    file.write_bytes(damaged)
    with pytest.raises(OutputError) as error:
        Store(folder)
    assert f"cannot use {file}: it is damaged; put a copy back" in one_line(error)
    assert file.read_bytes() == damaged
    file.write_bytes(whole)
    store = Store(folder)
    assert len(store.jobs("me", limit=1000)) == 102
    store.close()


def test_damage_in_the_middle_is_reported_when_it_is_met(folder: Path) -> None:
    file = folder / "unclip.db"
    store = Store(folder)
    for _ in range(100):
        store.cancel(store.add("me", SPEC, 9).id)
    store.close()
    with sqlite3.connect(file) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'jobs'"
        ).fetchone()
    connection.close()
    with file.open("r+b") as opened:
        opened.seek((root - 1) * 4096)
        opened.write(b"\xff" * 4096)
    store = Store(folder)
    with pytest.raises(OutputError, match="it is damaged"):
        store.jobs("me")
    store.close()


def test_a_database_that_another_program_locks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY", 0.1)
    other = sqlite3.connect(folder / "unclip.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OutputError) as error:
        Store(folder)
    assert "another program has locked it; close that program" in one_line(error)
    other.execute("ROLLBACK")
    store = Store(folder)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OutputError, match="another program has locked it"):
        store.add("me", SPEC, 9)
    assert len(store.jobs("me")) == 2  # which can be read meanwhile
    other.execute("ROLLBACK")
    other.close()
    assert store.add("me", SPEC, 9).state == "queued"
    store.close()


def test_a_new_folder_is_its_owners_alone(tmp_path: Path) -> None:
    Store(tmp_path / "made" / "data").close()
    assert (tmp_path / "made" / "data").stat().st_mode & 0o777 == 0o700


def test_one_server_has_a_folder(folder: Path) -> None:
    program = """
import sys
from pathlib import Path
from unclip.server.store import Store
store = Store(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "open\n"
        with pytest.raises(UsageError) as error:
            Store(folder)
        assert f"{folder} is in use by process {process.pid}" in one_line(error)
        process.kill()
    Store(folder).close()


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(OutputError, match=r"cannot write .*data: File exists"):
        Store(tmp_path / "data")


def test_a_system_without_shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as some network disks: SQLite then stays in another mode."""
    connect = sqlite3.dbapi2.connect

    class Old(sqlite3.Connection):
        def execute(self, sql: str, *more: object) -> sqlite3.Cursor:
            return super().execute("SELECT 'delete'" if "journal_mode" in sql else sql, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(sqlite3.dbapi2, "connect", lambda *a, **k: connect(*a, **k, factory=Old))
    with pytest.raises(UsageError, match=r"no shared memory, .*choose a folder on a local disk"):
        Database(tmp_path)
