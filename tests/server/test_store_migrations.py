"""Migrations make the tables that the code knows, and bring an old database to them."""

from __future__ import annotations

import sqlite3
from importlib import resources
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from unclip.errors import UsageError
from unclip.server import database
from unclip.server.database import Database, migration_config
from unclip.server.job import Drawn, Spec
from unclip.server.store import Search, Store
from unclip.server.tables import metadata

FIRST = """
INSERT INTO jobs VALUES (1, 'aa', 'me', 'done', 5.0, 6.0, 7.0, 0, 0, 'tiny', '', 2, '',
  '{"ability": "generate", "fields": {"prompt": "Ein FUCHS"}, "inputs": {}, "model": "tiny",
    "pictures": 2, "batch": "", "finish": {"size": [8, 4], "format": "png", "quality": 95}}', NULL);
INSERT INTO jobs VALUES (2, 'bb', 'me', 'running', 6.0, 7.0, 0, 1, 0, 'tiny', 'x', 1, 'f',
  '{"ability": "vary", "fields": {}, "inputs": {}, "model": "tiny",
    "pictures": 1, "batch": "x", "finish": {"size": null, "format": "png", "quality": 95}}', NULL);
INSERT INTO pictures VALUES (1, '0123', 1, 'me', 7.0, 42, 8, 4, 2, 1, 99, 'png');
"""
"""A job that is done, one that ran, and a picture, as the first revision kept them."""


def old(folder: Path, revision: str) -> None:
    """A database of a revision, filled as that allows."""
    database = Database(folder)
    database.close()
    with sqlite3.connect(folder / "unclip.db") as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (
            revision,
        )
        connection.executescript(FIRST)
    connection.close()


def stop_at(monkeypatch: pytest.MonkeyPatch, revision: str) -> None:
    upgrade = command.upgrade
    monkeypatch.setattr(command, "upgrade", lambda config, _: upgrade(config, revision))


def test_a_database_of_the_first_revision_comes_along(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, "0001")
        old(tmp_path, "0001")
    store = Store(tmp_path)
    done, ran = store.job("aa"), store.job("bb")
    assert done is not None and ran is not None
    assert done.pictures == (Drawn("0123", 42, 8, 4, (2, 1), 99),)
    assert (done.started, done.finished, done.spec.finish.size) == (6, 7, (8, 4))
    assert (ran.state, ran.deaths, ran.spec) == ("queued", 1, Spec("vary", {}, {}, "tiny", 1, "x"))
    for text, count in (("fuchs", 1), ("hase", 0)):
        assert len(store.pictures("me", Search(text))) == count
    assert store.mark("me", ["0123"], True) == ["0123"]
    store.close()


def test_migrations_make_the_tables_of_the_code(tmp_path: Path) -> None:
    database = Database(tmp_path)
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    with database.write() as connection:
        script = ScriptDirectory.from_config(migration_config(connection))
    assert len(script.get_heads()) == 1 and script.get_bases() == ["0001"]
    database.close()


def test_a_second_start_changes_nothing(tmp_path: Path) -> None:
    def schema() -> list[tuple[str]]:
        with sqlite3.connect(tmp_path / "unclip.db") as connection:
            found = connection.execute("SELECT sql FROM sqlite_schema ORDER BY sql").fetchall()
        connection.close()
        return found

    Store(tmp_path).close()
    before = schema()
    Store(tmp_path).close()
    assert schema() == before != []


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, "0001")
        old(tmp_path, "0001")
    upgrade = command.upgrade

    def fails(config: object, revision: str) -> None:
        upgrade(config, revision)  # type: ignore[arg-type]
        raise RuntimeError("the power fails")

    with sqlite3.connect(tmp_path / "unclip.db") as connection:
        before = list(connection.iterdump())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "upgrade", fails)
        with pytest.raises(RuntimeError):
            Store(tmp_path)
    assert list(connection.iterdump()) == before
    connection.close()
    store = Store(tmp_path)
    assert len(store.jobs("me")) == 2
    store.close()


def test_a_database_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.add("me", Spec("vary", {}), 1)
    store.close()
    with sqlite3.connect(tmp_path / "unclip.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = list(connection.iterdump())
    with pytest.raises(UsageError, match=r"unclip\.db is of a later version .*9999.*update unclip"):
        Store(tmp_path)
    assert list(connection.iterdump()) == before
    connection.close()


def test_migrations_are_packaged() -> None:
    """They are data of the package, which pyproject.toml has to name."""
    folder = resources.files("unclip") / "server" / "migrations"
    assert Path(str(folder)) == database.MIGRATIONS
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    assert '"server/migrations/**/*.py"' in project
    files = sorted(path.name for path in database.MIGRATIONS.rglob("*.py"))
    assert files == ["env.py", "gallery.py", "queue.py"]
