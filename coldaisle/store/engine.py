"""Opens the database of incidents: its settings, its schema's version, its errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from coldaisle.errors import ConfigError, Transient
from coldaisle.store.postgres import lock_for_migration, postgres_engine, translated

BUSY_SECONDS = 5.0
"""How long a writer waits for another one; a transaction of ours takes milliseconds."""

_SETTINGS = (
    f"PRAGMA busy_timeout = {round(BUSY_SECONDS * 1000)}",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # a commit is on the disk, not only in the system's cache
    "PRAGMA foreign_keys = ON",
)


def sqlite_url(path: Path) -> str:
    """Return the URL of the SQLite database in the file ``path``."""
    return f"sqlite:///{path}"


def open_engine(url: str, password: SecretStr | None = None, upgrade: bool = True) -> Engine:
    """
    Return an engine whose schema is this version's. Raises ConfigError, Transient.

    ``password`` takes the place of one in ``url``. With ``upgrade=False`` an older schema is refused, not changed.
    """
    engine = bare_engine(url, password)
    where = engine.url.render_as_string(hide_password=True)
    try:
        with errors(where):
            revision = None if upgrade and engine.dialect.name == "sqlite" else schema_revision(engine)
            if revision != newest_revision() and not upgrade:
                refuse_newer(revision, where)
                raise ConfigError(
                    f"{where}: has {f'schema {revision}' if revision else 'no tables yet'}, this Coldaisle needs "
                    f"{newest_revision()}: start it there once, or run `coldaisle doctor --fix`"
                )
            if revision != newest_revision():
                with begin(engine, write=True) as connection:
                    migrate(connection, where)
    except BaseException:
        engine.dispose()
        raise
    return engine


def bare_engine(url: str, password: SecretStr | None = None) -> Engine:
    """Return an engine of a database as it is; nothing connects yet. Raises ConfigError."""
    parsed = _parsed(url)
    if password is not None:
        parsed = parsed.set(password=password.get_secret_value())
    try:
        if parsed.get_backend_name() == "postgresql":
            return postgres_engine(parsed)
        if parsed.get_backend_name() != "sqlite":
            raise ConfigError(f"{_masked(url)!r} is no database URL of ours: {_EXPECTED}")
    except NoSuchModuleError as error:
        raise ConfigError(f"{_masked(url)!r} is no database URL: {_EXPECTED}") from error
    except ModuleNotFoundError as error:
        raise ConfigError(f"the database URL needs the Python package {error.name}: install it") from error
    if not parsed.database or parsed.database == ":memory:":
        raise ConfigError(f"{url!r} names no file: write sqlite:///FILE")
    if not Path(parsed.database).parent.is_dir():
        raise ConfigError(f"{Path(parsed.database).parent}: no such folder; make it, or name another")
    engine = create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


_EXPECTED = "write sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise ConfigError(f"{_masked(url)!r} is no database URL: {_EXPECTED}") from error
    if parsed.drivername in ("postgres", "postgresql"):
        return parsed.set(drivername="postgresql+psycopg")  # what people write, and the one client that we have
    return parsed


def _masked(url: str) -> str:
    """What may be a password is not shown: everything between the scheme and the last @."""
    scheme, found, rest = url.partition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}" if found and "@" in rest else url


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins transactions too late; _begin_sqlite does it
    cursor = connection.cursor()
    for setting in _SETTINGS:
        cursor.execute(setting)
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: one that read first could not wait for another writer's end.
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def begin(engine: Engine, write: bool) -> Iterator[Connection]:
    """Give a connection inside one transaction: committed at the end, rolled back on any error."""
    with engine.connect().execution_options(write=write) as connection, connection.begin():
        yield connection


def migrate(connection: Connection, where: str) -> None:
    """Bring the schema up to this version, in the caller's transaction. Raises ConfigError when it is newer."""
    if connection.dialect.name == "postgresql":
        lock_for_migration(connection)
    current = MigrationContext.configure(connection).get_current_revision()
    if current == newest_revision():
        return
    refuse_newer(current, where)
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def refuse_newer(revision: str | None, where: str) -> None:
    """Raise ConfigError if ``revision`` is none that this code knows."""
    if revision is not None and revision not in _steps():
        raise ConfigError(
            f"{where}: was written by a newer Coldaisle (schema {revision}, this one knows {newest_revision()}): "
            "upgrade Coldaisle, or use another database"
        )


def schema_revision(engine: Engine) -> str | None:
    """Return the revision of a database's schema, None where there is none yet."""
    with begin(engine, write=False) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def newest_revision() -> str:
    """Return the revision that this code writes."""
    return _steps()[0]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


@lru_cache(maxsize=1)
def _steps() -> tuple[str, ...]:
    """Return the revisions that this code knows, the newest first."""
    return tuple(step.revision for step in ScriptDirectory.from_config(_config()).walk_revisions())


# What SQLite says, and what an operator can do about it.
_REMEDIES: tuple[tuple[str, type[ConfigError | Transient], str], ...] = (
    ("database is locked", Transient, "another process is writing; it will be tried again"),
    ("database table is locked", Transient, "another process is writing; it will be tried again"),
    ("database or disk is full", Transient, "the disk is full: free some space"),
    ("disk i/o error", Transient, "the disk does not read or write: look at the system's log"),
    ("unable to open database file", ConfigError, "cannot be opened: check the path and its permissions"),
    ("readonly database", ConfigError, "cannot be written: check the permissions of the file and its folder"),
    ("not a database", ConfigError, "is not an SQLite database: move it away, or name another file"),
    ("malformed", ConfigError, "is damaged: restore a backup, or save what is left with `sqlite3 FILE .recover`"),
    ("no such module: fts5", ConfigError, "this Python's SQLite lacks FTS5: use one that has it"),
)


@contextmanager
def errors(where: str) -> Iterator[None]:
    """Turn the database's errors into Transient and ConfigError that name ``where`` and the remedy."""
    try:
        yield
    except DBAPIError as error:
        if type(error.orig).__module__.partition(".")[0] == "psycopg":
            raise translated(error, where) from error
        said = str(error.orig)
        for sign, kind, remedy in _REMEDIES:
            if sign in said.lower():
                raise kind(f"{where}: {remedy} ({said})" if kind is Transient else f"{where}: {remedy}") from error
        raise Transient(f"{where}: the database failed: {said}") from error
    except SQLAlchemyError as error:
        raise Transient(f"{where}: the database failed: {error}") from error
