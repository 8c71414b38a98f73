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
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from coldaisle.errors import ConfigError, Transient

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


def open_engine(url: str) -> Engine:
    """Return an engine whose schema is this version's. Raises ConfigError, Transient."""
    engine = _engine(url)
    where = engine.url.render_as_string(hide_password=True)
    try:
        with errors(where), begin(engine, write=True) as connection:
            migrate(connection, where)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return create_engine(parsed, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(f"{url!r} is no database URL: write sqlite:///FILE or postgresql+psycopg://...") from error
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
    steps = _steps()
    newest = steps[0]
    current = MigrationContext.configure(connection).get_current_revision()
    if current == newest:
        return
    if current is not None and current not in steps:
        raise ConfigError(
            f"{where}: was written by a newer Coldaisle (schema {current}, this one knows {newest}): "
            "upgrade Coldaisle, or use another database"
        )
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


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
        said = str(error.orig)
        for sign, kind, remedy in _REMEDIES:
            if sign in said.lower():
                raise kind(f"{where}: {remedy} ({said})" if kind is Transient else f"{where}: {remedy}") from error
        raise Transient(f"{where}: the database failed: {said}") from error
    except SQLAlchemyError as error:
        raise Transient(f"{where}: the database failed: {error}") from error
