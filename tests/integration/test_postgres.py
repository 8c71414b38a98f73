"""The incident store on a real PostgreSQL: away and back, many processes, wrong settings, a look at it."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from time import monotonic
from zlib import crc32

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from pydantic import SecretStr

from coldaisle.clock import SECOND, ManualClock, SystemClock
from coldaisle.errors import ConfigError, Transient
from coldaisle.incident import Incident, IncidentState
from coldaisle.severity import Severity
from coldaisle.store import IncidentQuery, Notification
from coldaisle.store.engine import bare_engine
from coldaisle.store.schema import METADATA
from coldaisle.store.sql import SqlIncidentStore, connect_incidents
from coldaisle.store.sql_checkup import check, fix
from tests.integration.postgres_server import PASSWORD, PostgresServer, missing

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("postgres")]
NOON = 1_790_000_000 * SECOND


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """One server for this file; who stops it starts it again."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    with PostgresServer() as server:
        yield server


@pytest.fixture
def url(server: PostgresServer, request: pytest.FixtureRequest) -> str:
    """An empty database of a test's own."""
    return server.create_database(f"t{crc32(request.node.name.encode())}")


def incident(incident_id: str = "inc-1", title: str = "Node n1 is silent") -> Incident:
    return Incident(
        incident_id, title, Severity.PAGE, IncidentState.OPEN, "node/n1", ("node/n1",),
        NOON, NOON, NOON, "No sample for 60 s.", "Look.", ("60 s",), 0.5, (),
    )  # fmt: skip


def _open_and_save(url: str, name: str, said: multiprocessing.Queue[str]) -> None:
    try:
        store = connect_incidents(url, SecretStr(PASSWORD))
        store.save(incident(name))
        store.close()
        said.put("saved")
    except Exception as error:
        said.put(repr(error))


def test_the_migrations_lead_to_the_tables_that_the_code_knows(server: PostgresServer, url: str) -> None:
    connect_incidents(url, server.password).close()
    engine = bare_engine(url, server.password)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _: "search" not in (name or "")}
        )
        differences = compare_metadata(context, METADATA)
        found = connection.exec_driver_sql("SELECT to_regclass('incident_search_by_trigram')").scalar()
    engine.dispose()
    assert differences == []
    assert found is not None


def test_processes_that_start_at_once_migrate_once(server: PostgresServer, url: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    said: multiprocessing.Queue[str] = spawn.Queue()
    starts = [spawn.Process(target=_open_and_save, args=(url, f"inc-{n}", said)) for n in range(4)]
    for one in starts:
        one.start()
    answers = [said.get(timeout=60) for _ in starts]
    for one in starts:
        one.join(20)
    assert answers == ["saved"] * 4
    store = connect_incidents(url, server.password)
    assert store.count(IncidentQuery()) == 4
    store.close()


def test_a_server_that_goes_away_under_load_is_transient_and_work_goes_on_when_it_is_back(
    server: PostgresServer, url: str
) -> None:
    store = connect_incidents(url, server.password)
    leaving, troubles, saved = threading.Event(), [0, 0, 0], [0, 0, 0]
    wrong: list[BaseException] = []
    told: set[str] = set()

    def work(mine: int) -> None:
        while not leaving.is_set():
            try:
                store.save(incident(f"i-{mine}-{saved[mine]}-{troubles[mine]}"))
                saved[mine] += 1
            except Transient as error:
                told.add(str(error))
                troubles[mine] += 1
                leaving.wait(0.05)
            except BaseException as error:
                wrong.append(error)
                return

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    pause = threading.Event()
    pause.wait(0.5)
    back = server.away(3.0)
    back.join()
    until = monotonic() + 20
    before = list(saved)
    while monotonic() < until and any(now < then + 5 for now, then in zip(saved, before, strict=True)):
        pause.wait(0.05)
    leaving.set()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert all(troubles)
    assert not any(PASSWORD in text for text in told)
    assert all(now >= then + 5 for now, then in zip(saved, before, strict=True))
    assert store.count(IncidentQuery()) >= sum(saved)  # a round may be written whose answer was lost
    store.close()


def test_a_connection_that_hangs_in_a_lock_gives_up(server: PostgresServer, url: str) -> None:
    store = connect_incidents(url, server.password)
    store.save(incident())
    with server.connect(url.rpartition("/")[2]) as other, other.transaction():
        other.execute("SELECT 1 FROM incidents FOR UPDATE")
        began = monotonic()
        first = store.get("inc-1")
        assert first is not None
        with pytest.raises(Transient, match="holds a lock"):
            store.save(first)
        assert monotonic() - began < 8
    store.close()


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ({"password": SecretStr("canary-7f3a")}, "the user or the password is wrong"),
        ({"database": "nowhere"}, "there is no such database: create it"),
        ({"user": "nobody-here"}, "the user or the password is wrong"),
    ],
)
def test_wrong_settings_are_told_with_their_remedy_and_without_the_password(
    server: PostgresServer, change: dict[str, object], remedy: str
) -> None:
    password = change.pop("password", server.password)
    with pytest.raises(ConfigError, match=remedy) as caught:
        connect_incidents(server.url(**change), password)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    assert PASSWORD not in text
    assert "canary" not in text


def test_a_server_that_is_not_there_is_transient(server: PostgresServer) -> None:
    with pytest.raises(Transient, match="does not answer"):
        connect_incidents("postgresql://coldaisle:canary-7f3a@127.0.0.1:1/coldaisle")


def test_a_text_with_nul_is_kept_without_it(server: PostgresServer, url: str) -> None:
    store = connect_incidents(url, server.password)
    store.save(incident(title="a\0b fell silent"), [Notification("m\0", "inc-1", "x", "opened", "{}", NOON)])
    assert [one.id for one in store.find(IncidentQuery(text="ab fell"))] == []
    assert [one.id for one in store.find(IncidentQuery(text="fell"))] == ["inc-1"]
    store.close()


def test_without_the_right_to_create_the_extension_the_search_reads_every_row(server: PostgresServer) -> None:
    with server.connect("postgres") as admin:
        admin.execute(f"CREATE ROLE plain LOGIN PASSWORD '{PASSWORD}'".encode())
        admin.execute("CREATE DATABASE plain OWNER coldaisle")
    with server.connect("plain") as admin:
        admin.execute("GRANT CREATE, USAGE ON SCHEMA public TO plain")
        admin.execute("REVOKE CREATE ON DATABASE plain FROM PUBLIC, plain")
    url = server.url("plain", "plain")
    store = connect_incidents(url, server.password)
    store.save(incident())
    assert [one.id for one in store.find(IncidentQuery(text="silent"))] == ["inc-1"]
    store.close()
    search = next(one for one in check(url, SystemClock(), server.password) if one.part.endswith("search"))
    assert (search.severity, search.fixable) == ("warning", False)
    assert "CREATE EXTENSION pg_trgm" in search.remedy

    with server.connect("plain") as admin:
        admin.execute("CREATE EXTENSION pg_trgm")
    mended = fix(url, SystemClock(), server.password)
    assert {one.severity for one in mended} == {"ok"}, mended


def test_a_look_at_an_empty_database_changes_nothing_and_fix_lays_the_tables(server: PostgresServer, url: str) -> None:
    before = check(url, SystemClock(), server.password)
    assert [(one.part, one.fixable) for one in before if one.severity != "ok"] == [("incident store: schema", True)]
    with server.connect(url.rpartition("/")[2]) as raw:
        assert raw.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    assert {one.severity for one in fix(url, SystemClock(), server.password)} == {"ok"}


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_does_not_keep_text_as_utf_8_is_refused_with_the_remedy(
    server: PostgresServer, encoding: str
) -> None:
    name = f"old_{encoding.lower()}"
    with server.connect("postgres") as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LOCALE 'C'".encode())
    for url in (server.url(name), server.url(name).replace("+psycopg", "")):
        with pytest.raises(ConfigError, match=rf"{name}: keeps text as {encoding}: .*ENCODING 'UTF8'") as caught:
            connect_incidents(url, server.password)
        assert "\n" not in str(caught.value)
        assert PASSWORD not in str(caught.value)
        for look in (check, fix):
            (told,) = look(url, SystemClock(), server.password)
            assert (told.part, told.severity, told.fixable) == ("incident store: encoding", "error", False)
            assert "ENCODING 'UTF8'" in told.text
    with server.connect(name) as raw:
        assert raw.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() in ((0,), (b"0",))


def test_a_clock_that_differs_is_told(server: PostgresServer, url: str) -> None:
    behind = ManualClock(SystemClock().now() - 90 * SECOND)
    told = next(one for one in check(url, behind, server.password) if one.part.endswith("clock"))
    assert told.severity == "warning"
    assert "ahead of this machine's" in told.text


def test_what_cannot_be_reached_is_a_finding_without_the_password(server: PostgresServer) -> None:
    for url, password in (
        (server.url(), SecretStr("canary-7f3a")),
        ("postgresql://u@127.0.0.1:1/x", SecretStr("canary")),
    ):
        (told,) = check(url, SystemClock(), password)
        assert told.severity == "error"
        assert told.remedy
        assert "canary" not in repr(told)


def test_a_server_that_is_killed_comes_back_with_everything_that_was_saved(server: PostgresServer, url: str) -> None:
    store = connect_incidents(url, server.password)
    stored = [store.save(incident(f"inc-{n}")) for n in range(20)]
    server.kill()
    with pytest.raises(Transient):
        store.save(incident("inc-20"))
    server.start()
    assert store.count(IncidentQuery()) == len(stored)
    store.close()
    assert isinstance(store, SqlIncidentStore)
