"""Looks at the database of incidents: can it be reached and written, is its schema ours, does its clock agree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection, Engine

from coldaisle.checkup import Finding
from coldaisle.clock import SECOND, Clock
from coldaisle.errors import ColdaisleError, ConfigError
from coldaisle.store.engine import bare_engine, begin, errors, newest_revision, open_engine, refuse_newer
from coldaisle.store.postgres import SEARCH_INDEX, WrongEncoding, make_search_fast

_PART = "incident store"
_OLDEST_TRIED = 15  # the version that the tests run against
_OLDEST = 13  # pg_trgm may be created by a database's owner since then
_CLOCK_SECONDS = 1.0  # leases last six seconds
_TABLES = ("incidents", "outbox", "role_state", "role_leases", "silences", "audit")


def check(url: str, clock: Clock, password: SecretStr | None = None) -> list[Finding]:
    """Return what was found, without side effects. Never raises: what cannot be looked at is a finding."""
    try:
        engine = bare_engine(url, password)
    except ColdaisleError as error:
        return [_unreachable(error)]
    where = engine.url.render_as_string(hide_password=True)
    try:
        if engine.dialect.name == "sqlite" and not Path(engine.url.database or "").is_file():
            return [Finding(_PART, "ok", f"{where}: is not there yet; the first start makes it")]
        with errors(where):
            return list(_findings(engine, clock, where))
    except ColdaisleError as error:
        return [_unreachable(error)]
    finally:
        engine.dispose()


def fix(url: str, clock: Clock, password: SecretStr | None = None) -> list[Finding]:
    """Bring the schema up to date and lay the search's index; return how it stands then. Never raises."""
    try:
        engine = open_engine(url, password)
    except ColdaisleError as error:
        if isinstance(error, WrongEncoding):
            return [_unreachable(error)]
        return [Finding(_PART, "error", f"could not be mended: {error}", "the database's owner may; name that user")]
    try:
        if engine.dialect.name == "postgresql":
            with errors(engine.url.render_as_string(hide_password=True)), begin(engine, write=True) as connection:
                make_search_fast(connection)
    except ColdaisleError as error:
        return [_unreachable(error)]
    finally:
        engine.dispose()
    return check(url, clock, password)


def _unreachable(error: ColdaisleError) -> Finding:
    if isinstance(error, WrongEncoding):
        return Finding(f"{_PART}: encoding", "error", str(error), "move what is kept there, and name the new database")
    if isinstance(error, ConfigError):
        return Finding(_PART, "error", str(error), "correct storage.incidents and its password")
    return Finding(_PART, "error", str(error), "start the server, or correct storage.incidents")


def _findings(engine: Engine, clock: Clock, where: str) -> Iterator[Finding]:
    with begin(engine, write=False) as connection:
        if engine.dialect.name == "postgresql":
            yield _version(connection, where)
            yield _clock(connection, clock)
        else:
            yield Finding(_PART, "ok", f"{where}: can be read")
        schema = _schema(connection, where)
        yield schema
        if schema.severity == "ok" and engine.dialect.name == "postgresql":
            yield _permissions(connection)
            yield _search(connection)


def _version(connection: Connection, where: str) -> Finding:
    number = int(connection.exec_driver_sql("SHOW server_version_num").scalar_one())
    user = connection.exec_driver_sql("SELECT current_user").scalar_one()
    text = f"{where}: PostgreSQL {number // 10_000}.{number % 10_000}, signed in as {user}"
    if connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one():
        return Finding(_PART, "error", f"{text}; it is a replica and cannot be written", "name the primary server")
    if number < _OLDEST * 10_000:
        return Finding(_PART, "error", text, f"upgrade it: PostgreSQL {_OLDEST} is needed, {_OLDEST_TRIED} is tested")
    if number < _OLDEST_TRIED * 10_000:
        return Finding(_PART, "warning", text, f"versions before {_OLDEST_TRIED} are not tested; upgrade when you can")
    return Finding(_PART, "ok", text)


def _clock(connection: Connection, clock: Clock) -> Finding:
    before = clock.now()
    theirs = float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())
    middle = (before + clock.now()) / 2 / SECOND
    ahead = theirs - middle
    text = f"its clock is {abs(ahead):.2f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    if abs(ahead) <= _CLOCK_SECONDS:
        return Finding(f"{_PART}: clock", "ok", text)
    return Finding(
        f"{_PART}: clock", "warning", text, "set both by NTP: processes hold leases by their own machines' clocks"
    )


def _schema(connection: Connection, where: str) -> Finding:
    part, newest = f"{_PART}: schema", newest_revision()
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision == newest:
        return Finding(part, "ok", f"revision {revision}, as this Coldaisle writes it")
    try:
        refuse_newer(revision, where)
    except ConfigError as error:
        return Finding(part, "error", str(error), "upgrade Coldaisle, or use another database")
    has = f"revision {revision}" if revision else "no tables yet"
    return Finding(
        part, "warning", f"{has}; this Coldaisle writes revision {newest}",
        "the first process that starts migrates it; `coldaisle doctor --fix` does it now", fixable=True,
    )  # fmt: skip


def _permissions(connection: Connection) -> Finding:
    part = f"{_PART}: permissions"
    refused = [
        table
        for table in _TABLES
        if not connection.exec_driver_sql(
            "SELECT has_table_privilege(%(t)s, 'SELECT') AND has_table_privilege(%(t)s, 'INSERT')"
            " AND has_table_privilege(%(t)s, 'UPDATE') AND has_table_privilege(%(t)s, 'DELETE')",
            {"t": table},
        ).scalar_one()
    ]
    if not refused:
        return Finding(part, "ok", "every table can be read and written")
    return Finding(
        part, "error", f"may not write {', '.join(refused)}",
        "GRANT SELECT, INSERT, UPDATE, DELETE on them to this user, or make it the database's owner",
    )  # fmt: skip


def _search(connection: Connection) -> Finding:
    part = f"{_PART}: search"
    if connection.exec_driver_sql("SELECT to_regclass(%(i)s)", {"i": SEARCH_INDEX}).scalar_one() is not None:
        return Finding(part, "ok", "the trigram index is there")
    text = "no trigram index: a search for text reads every incident"
    available = connection.exec_driver_sql(
        "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_trgm'"
    ).scalar_one()
    if not available:
        remedy = "install PostgreSQL's contrib package (pg_trgm) on the server, then `coldaisle doctor --fix`"
        return Finding(part, "warning", text, remedy)
    may = connection.exec_driver_sql(
        "SELECT has_database_privilege(current_database(), 'CREATE')"
        " OR EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm')"
    ).scalar_one()
    if may:
        return Finding(part, "warning", text, "`coldaisle doctor --fix` lays it", fixable=True)
    return Finding(
        part, "warning", text, "let the database's owner run CREATE EXTENSION pg_trgm, then `coldaisle doctor --fix`"
    )
