"""The incident stores that must pass every check: SQLite, PostgreSQL, and the twin in memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldaisle.store.memory_incidents import MemoryIncidentStore
from coldaisle.store.schema import METADATA
from coldaisle.store.sql import INCIDENTS_FILE, SqlIncidentStore, connect_incidents, open_incidents
from tests.conformance.incidents import Look
from tests.integration.postgres_server import PostgresServer, missing


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with every migration applied, made once: copying it is ten times faster."""
    folder = tmp_path_factory.mktemp("empty")
    open_incidents(folder).close()
    return folder / INCIDENTS_FILE


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all checks; each has an emptied database."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with PostgresServer({"fsync": "off"}) as server:
        connect_incidents(server.url(), server.password).close()
        yield server


ON_POSTGRES = (pytest.mark.integration, pytest.mark.xdist_group("postgres"))


@pytest.fixture(params=["sql", "sql reopened", "memory", pytest.param("postgresql", marks=ON_POSTGRES)])
def look(request: pytest.FixtureRequest, tmp_path: Path, empty: Path) -> Iterator[Look]:
    """Give the store; called again it gives the same incidents, for SQL by a newly opened database where asked."""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        with server.connect() as connection:
            for table in reversed(METADATA.sorted_tables):
                connection.execute(f"TRUNCATE {table.name} RESTART IDENTITY CASCADE".encode())
        shared = connect_incidents(server.url(), server.password)
        yield lambda: shared
        shared.close()
        return
    if request.param == "memory":
        memory = MemoryIncidentStore()
        yield lambda: memory
        return
    shutil.copy(empty, tmp_path)
    opened: list[SqlIncidentStore] = [open_incidents(tmp_path)]

    def again() -> SqlIncidentStore:
        if request.param == "sql reopened":
            opened.append(open_incidents(tmp_path))
        return opened[-1]

    yield again
    for store in opened:
        store.close()
