"""What PostgreSQL needs beside the common model: its settings, its locks, its index for the search, its errors."""

from __future__ import annotations

import re
from typing import Any

from psycopg.types.string import StrDumper
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from coldaisle.errors import ConfigError, Transient

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 30.0
LOCK_SECONDS = 5.0
_MIGRATE_SECONDS = 120.0
_POOL_SECONDS = 10.0  # how long a thread waits for a connection that others use
_RECYCLE_SECONDS = 1800  # firewalls forget connections that are older and idle
_IDLE_SECONDS = 60.0  # a transaction of ours takes milliseconds; one this old belongs to a process that hangs
_MIGRATION_LOCK = 0x436F6C64  # "Cold", the same in every process
SEARCH_INDEX = "incident_search_by_trigram"


ENCODING_REMEDY = "create the database with ENCODING 'UTF8': `createdb --encoding UTF8 --template template0 NAME`"


class WrongEncoding(ConfigError):
    """The database keeps text in another encoding than UTF-8: not every text can be kept or read back."""


class _Text(StrDumper):
    """A text without NUL, which PostgreSQL cannot keep and nobody reads."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\0", "") if "\0" in obj else obj)


def postgres_engine(url: URL) -> Engine:
    """Return an engine with a pool that survives a restart of the server, and with a limit on every wait."""
    limits = {
        "statement_timeout": STATEMENT_SECONDS,
        "lock_timeout": LOCK_SECONDS,
        "idle_in_transaction_session_timeout": _IDLE_SECONDS,
    }
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=5,
        pool_timeout=_POOL_SECONDS,
        pool_recycle=_RECYCLE_SECONDS,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "coldaisle",
            "options": " ".join(f"-c {name}={round(seconds * 1000)}" for name, seconds in limits.items()),
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 20_000,
        },
    )
    where = url.render_as_string(hide_password=True)

    def configure(connection: Any, _record: object) -> None:
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            connection.close()
            raise WrongEncoding(f"{where}: keeps text as {encoding}: {ENCODING_REMEDY}")
        connection.adapters.register_dumper(str, _Text)

    # First of all: what SQLAlchemy asks of a new server cannot be read in another encoding.
    event.listen(engine, "connect", configure, insert=True)
    return engine


def lock_for_migration(connection: Connection) -> None:
    """Wait until no other process migrates; held until the transaction ends."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(_MIGRATE_SECONDS * 1000)}")
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # an index over years of incidents takes its time
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")


def make_search_fast(connection: Connection) -> bool:
    """
    Lay the trigram index of the search; return whether there is one now.

    Where the extension ``pg_trgm`` is missing and may not be created, the search reads every row instead.
    """
    try:
        with connection.begin_nested():
            connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            connection.exec_driver_sql(
                f"CREATE INDEX IF NOT EXISTS {SEARCH_INDEX} ON incident_search USING gin (text gin_trgm_ops)"
            )
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) is None:
            raise  # the connection is gone, which says nothing of the extension
        return False
    return True


# What the server says while it lets nobody in (then there is no code), and what an operator can do about it.
_REFUSALS: tuple[tuple[str, type[ConfigError | Transient], str], ...] = (
    (r"password authentication failed", ConfigError, "the user or the password is wrong: check both"),
    (r"no password supplied", ConfigError, "asks for a password: give one in the settings"),
    (r'database ".*" does not exist', ConfigError, "there is no such database: create it with `createdb`"),
    (r'role ".*" does not exist', ConfigError, "there is no such user: create it with `createuser --pwprompt`"),
    (r"no pg_hba.conf entry", ConfigError, "pg_hba.conf lets this machine not in: add a line for it, or use TLS"),
    (r"permission denied for", ConfigError, "this user may not do that: GRANT it, or make it the database's owner"),
    (r"does not support SSL|root certificate file|certificate verify failed", ConfigError, "TLS does not fit: check"),
    (r"invalid (sslmode|connection option|port)|invalid integer value", ConfigError, "the URL is wrong: check it"),
)
_CODES: dict[str, tuple[type[ConfigError | Transient], str]] = {
    "28P01": (ConfigError, "the user or the password is wrong: check both"),
    "28000": (ConfigError, "this user may not connect: check the user, its role and pg_hba.conf"),
    "3D000": (ConfigError, "there is no such database: create it with `createdb`"),
    "42501": (ConfigError, "this user may not do that: GRANT it, or make it the database's owner"),
    "25006": (ConfigError, "is read-only: name the primary server"),
    "53100": (Transient, "the disk is full: free some space"),
    "53300": (Transient, "has no connection left: raise max_connections, or run fewer processes"),
    "55P03": (Transient, "another process holds a lock; it will be tried again"),
    "57014": (Transient, "took longer than it may; it will be tried again"),
    "40001": (Transient, "another process was quicker; it will be tried again"),
    "40P01": (Transient, "another process was quicker; it will be tried again"),
    "57P01": (Transient, "is being stopped; it will be tried again"),
    "57P02": (Transient, "is being stopped; it will be tried again"),
    "57P03": (Transient, "is starting; it will be tried again"),
}


def translated(error: DBAPIError, where: str) -> ConfigError | Transient:
    """Return what the server said as Transient or ConfigError, in one line that names ``where`` and the remedy."""
    said = " ".join(str(error.orig).split("\n", 1)[0].split())
    known = _CODES.get(getattr(error.orig, "sqlstate", None) or "")
    if known is not None:
        kind, remedy = known
        return kind(f"{where}: {remedy} ({said})")
    # A refused login has no code; libpq tells several addresses' answers line by line.
    whole = " ".join(str(error.orig).split())
    for sign, kind, remedy in _REFUSALS:
        if re.search(sign, whole):
            return kind(f"{where}: {remedy} ({_short(whole)})")
    if error.connection_invalidated or type(error.orig).__name__ in ("OperationalError", "ConnectionTimeout"):
        return Transient(f"{where}: the server does not answer; it will be tried again ({_short(whole)})")
    return Transient(f"{where}: the database failed: {_short(whole)}")


def _short(text: str, most: int = 300) -> str:
    return text if len(text) <= most else text[:most] + "..."
