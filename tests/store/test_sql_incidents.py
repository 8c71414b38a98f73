"""What only a database can get wrong: its schema, its transactions, its files."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from coldaisle.clock import SECOND
from coldaisle.errors import ConfigError, Transient
from coldaisle.incident import Incident, IncidentState
from coldaisle.severity import Severity
from coldaisle.store import IncidentQuery, Notification, engine
from coldaisle.store.engine import open_engine, sqlite_url
from coldaisle.store.schema import METADATA
from coldaisle.store.sql import INCIDENTS_FILE, SqlIncidentStore, open_incidents

NOON = 1_790_000_000 * SECOND


def incident(incident_id: str = "inc-1") -> Incident:
    return Incident(
        incident_id, "Node n1 is silent", Severity.PAGE, IncidentState.OPEN, "node/n1", ("node/n1",),
        NOON, NOON, NOON, "No sample for 60 s.", "Look.", ("60 s",), 0.5, (),
    )  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A closed database with one incident."""
    store = open_incidents(tmp_path)
    store.save(incident())
    store.close()
    return tmp_path / INCIDENTS_FILE


def one_line(caught: pytest.ExceptionInfo[Exception]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_the_migrations_lead_to_the_tables_that_the_code_knows(file: Path) -> None:
    bare = create_engine(sqlite_url(file))
    with bare.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _: kind != "table" or "search" not in name}
        )
        differences = compare_metadata(context, METADATA)
    bare.dispose()
    assert differences == []


def test_commits_are_durable_and_readers_never_wait(file: Path) -> None:
    opened = open_engine(sqlite_url(file))
    with opened.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    opened.dispose()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


def test_opening_again_changes_nothing(file: Path) -> None:
    store = SqlIncidentStore(sqlite_url(file))
    assert [one.id for one in store.find(IncidentQuery())] == ["inc-1"]
    store.close()


def test_a_database_newer_than_the_code_is_refused_and_left_alone(file: Path) -> None:
    with sqlite3.connect(file) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(
        ConfigError, match=r"written by a newer Coldaisle \(schema 9999, this one knows \d{4}\)"
    ) as caught:
        SqlIncidentStore(sqlite_url(file))
    assert str(file) in one_line(caught)
    with sqlite3.connect(file) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_a_migration_that_fails_leaves_nothing_half_done(tmp_path: Path) -> None:
    path = tmp_path / INCIDENTS_FILE
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE silences (id TEXT)")  # in the way of a later step of the same migration
    with pytest.raises(Transient, match="silences already exists"):
        SqlIncidentStore(sqlite_url(path))
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("silences",)]


def test_an_incident_and_its_notifications_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    store = open_incidents(tmp_path)
    broken = Notification("m1", "inc-1", "oncall", "opened", "{}", NOON, last_error=None)  # type: ignore[arg-type]
    with pytest.raises(Transient, match="NOT NULL"):
        store.save(incident(), [broken])
    assert store.count(IncidentQuery()) == 0
    assert store.count(IncidentQuery(text="silent")) == 0
    assert store.notifications() == []
    store.close()


def test_a_locked_database_is_transient(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_SETTINGS", ("PRAGMA busy_timeout = 1",))
    store = SqlIncidentStore(sqlite_url(file))
    with sqlite3.connect(file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Transient, match="another process is writing") as caught:
            store.save(incident("inc-2"))
        assert store.count(IncidentQuery()) == 1  # readers do not wait
        other.execute("ROLLBACK")
    assert str(file) in one_line(caught)
    assert store.save(incident("inc-2")).version == 1
    store.close()


def test_a_full_disk_is_transient_and_nothing_is_half_written(file: Path) -> None:
    store = SqlIncidentStore(sqlite_url(file))
    with store._transaction() as connection:  # the nearest thing to a full disk that SQLite offers
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    big = Notification("m1", "inc-2", "oncall", "opened", "x" * 1_000_000, NOON)
    with pytest.raises(Transient, match="the disk is full: free some space") as caught:
        store.save(incident("inc-2"), [big])
    assert str(file) in one_line(caught)
    assert [one.id for one in store.find(IncidentQuery())] == ["inc-1"]
    assert store.notifications() == []
    store.close()


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / INCIDENTS_FILE
    path.write_text("these are not the rows you are looking for" * 100)
    with pytest.raises(ConfigError, match="is not an SQLite database") as caught:
        SqlIncidentStore(sqlite_url(path))
    assert str(path) in one_line(caught)
    assert path.read_text().startswith("these are not")


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigError, match="cannot be made a data folder"):
        open_incidents(tmp_path / "data")


def test_a_folder_where_a_file_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / INCIDENTS_FILE).mkdir()
    with pytest.raises(ConfigError, match="cannot be opened: check the path and its permissions"):
        open_incidents(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_that_may_not_be_written_is_named(file: Path) -> None:
    file.chmod(0o444)
    file.parent.chmod(0o555)
    with pytest.raises(ConfigError, match="permissions"):
        SqlIncidentStore(sqlite_url(file)).save(incident("inc-2"))
    file.parent.chmod(0o755)


def test_looking_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        open_incidents(tmp_path, create=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("nonsense", "is no database URL"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////nowhere/at/all/x.sqlite", "no such folder"),
        ("dbase:///x", "is no database URL"),
    ],
)
def test_a_wrong_url_is_told_with_its_remedy(url: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy) as caught:
        SqlIncidentStore(url)
    one_line(caught)


def test_a_document_of_a_newer_format_is_refused(file: Path) -> None:
    with sqlite3.connect(file) as raw:
        raw.execute("""UPDATE incident_documents SET document = replace(document, '"format":1', '"format":2')""")
    store = SqlIncidentStore(sqlite_url(file))
    with pytest.raises(ConfigError, match="inc-1 is stored in format 2"):
        store.get("inc-1")
    store.close()


def test_what_a_killed_worker_was_sending_is_due_at_once_when_its_leases_end(tmp_path: Path) -> None:
    store = open_incidents(tmp_path)
    held = Notification("m1", "inc-1", "oncall", "opened", "{}", NOON, next_attempt_at=NOON)
    store.save(incident(), [held])
    assert store.lease(NOON, 10, 300.0) == [held]
    store.close()

    store = open_incidents(tmp_path)
    assert store.lease(NOON, 10, 300.0) == []
    assert store.release() == 1
    assert store.release() == 0
    assert store.lease(NOON, 10, 300.0) == [held]
    store.close()
