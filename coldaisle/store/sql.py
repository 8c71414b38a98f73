"""Incidents that survive: the incident store on SQLite or PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Connection, delete, insert, select, update

from coldaisle.clock import SECOND
from coldaisle.errors import ConfigError
from coldaisle.incident import Incident
from coldaisle.prediction import Prediction
from coldaisle.silence import Silence
from coldaisle.store import (
    AuditEntry,
    Change,
    IncidentQuery,
    Notification,
    NotificationState,
    PredictionQuery,
    RoleState,
)
from coldaisle.store.dataclass_json import decoder, encoder
from coldaisle.store.engine import begin, errors, open_engine, sqlite_url
from coldaisle.store.incident_rows import count_incidents, find_incidents, read_incident, write_incident
from coldaisle.store.outbox_rows import (
    is_any_due,
    lease_notifications,
    read_notifications,
    release_notifications,
    requeue_notification,
    settle_notification,
    write_notifications,
)
from coldaisle.store.prediction_rows import read_predictions, write_predictions
from coldaisle.store.role_rows import end_lease, read_state, take_lease, write_state
from coldaisle.store.schema import AUDIT, SILENCES

INCIDENTS_FILE = "incidents.sqlite"


def open_incidents(folder: Path, create: bool = True) -> SqlIncidentStore:
    """
    Open the incident store of a data folder.

    Raises ConfigError when it cannot be opened, or with ``create=False`` when there is none; Transient when
    another process holds it.
    """
    path = folder / INCIDENTS_FILE
    if create:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be made a data folder: {error.strerror or error}") from error
    elif not path.is_file():
        raise ConfigError(f"{path}: no such file; name the folder that `coldaisle up` writes to with --data DIR")
    return SqlIncidentStore(sqlite_url(path))


def connect_incidents(url: str, password: SecretStr | None = None, upgrade: bool = True) -> SqlIncidentStore:
    """
    Open the incident store of a database that several processes share, bringing its schema up to date.

    ``url`` is ``postgresql+psycopg://USER@HOST/DATABASE``, or ``sqlite:///FILE``; ``password`` takes the place
    of one in it. Several processes may do this at once: one migrates, the others wait. Who only looks says
    ``upgrade=False``. Raises ConfigError (wrong user, password or database, another schema than this code's),
    Transient (the server is away).
    """
    return SqlIncidentStore(url, password, upgrade)


class SqlIncidentStore:
    """
    Keeps incidents, their outbox, silences, the audit and the roles' state in one database.

    Safe to use from any thread, and from several processes at once. ``url`` is SQLAlchemy's:
    ``sqlite:///FILE``, or ``postgresql+psycopg://...``. Opening brings the schema up to date. Raises
    ConfigError (not a database, no permission, newer than this code) and Transient (locked, server away);
    after a Transient error every call may be made again: connections come back when the server does.
    """

    def __init__(self, url: str, password: SecretStr | None = None, upgrade: bool = True) -> None:
        self._engine = open_engine(url, password, upgrade)
        self._where = self._engine.url.render_as_string(hide_password=True)

    @contextmanager
    def _transaction(self, write: bool = False) -> Iterator[Connection]:
        with errors(self._where), begin(self._engine, write) as connection:
            yield connection

    def save(self, incident: Incident, notifications: Sequence[Notification] = ()) -> Incident:
        """See the port."""
        return self.save_round([(incident, notifications)])[0]

    def save_round(
        self, changes: Sequence[Change], state: RoleState | None = None, predictions: Sequence[Prediction] = ()
    ) -> list[Incident]:
        """See the port."""
        with self._transaction(write=True) as connection:
            if state is not None:
                write_state(connection, state)
            stored = [write_incident(connection, incident) for incident, _ in changes]
            write_notifications(connection, [one for _, notifications in changes for one in notifications])
            write_predictions(connection, predictions)
        return stored

    def save_predictions(self, predictions: Sequence[Prediction]) -> None:
        """See the port."""
        with self._transaction(write=True) as connection:
            write_predictions(connection, predictions)

    def predictions(self, query: PredictionQuery) -> list[Prediction]:
        """See the port."""
        with self._transaction() as connection:
            return read_predictions(connection, query)

    def state(self, role: str) -> dict[str, str]:
        """See the port."""
        with self._transaction() as connection:
            return read_state(connection, role)

    def hold(self, role: str, holder: str, now: int, seconds: float) -> int:
        """See the port."""
        with self._transaction(write=True) as connection:
            return take_lease(connection, role, holder, now, now + round(seconds * SECOND))

    def let_go(self, role: str, holder: str) -> None:
        """See the port."""
        with self._transaction(write=True) as connection:
            end_lease(connection, role, holder)

    def get(self, incident_id: str) -> Incident | None:
        """See the port."""
        with self._transaction() as connection:
            return read_incident(connection, incident_id)

    def find(self, query: IncidentQuery) -> list[Incident]:
        """See the port."""
        with self._transaction() as connection:
            return find_incidents(connection, query)

    def count(self, query: IncidentQuery) -> int:
        """See the port."""
        with self._transaction() as connection:
            return count_incidents(connection, query)

    def lease(
        self, now: int, limit: int, lease_seconds: float, receivers: Sequence[str] | None = None
    ) -> list[Notification]:
        """See the port."""
        with self._transaction() as connection:
            if not is_any_due(connection, now, receivers):
                return []  # the usual answer: it takes no lock
        with self._transaction(write=True) as connection:
            return lease_notifications(connection, now, limit, lease_seconds, receivers)

    def release(self) -> int:
        """
        End the leases of a worker that was killed, so that what it was sending goes out at once; return how many.

        Only for whoever knows that no other worker runs. A message that had left already goes out twice, with one id.
        """
        with self._transaction(write=True) as connection:
            return release_notifications(connection)

    def settle(self, notification: Notification) -> None:
        """See the port."""
        with self._transaction(write=True) as connection:
            settle_notification(connection, notification)

    def notifications(
        self, incident_id: str | None = None, state: NotificationState | None = None, limit: int = 100
    ) -> list[Notification]:
        """See the port."""
        with self._transaction() as connection:
            return read_notifications(connection, incident_id, state, limit)

    def requeue(self, notification_id: str, now: int) -> bool:
        """See the port."""
        with self._transaction(write=True) as connection:
            return requeue_notification(connection, notification_id, now)

    def save_silence(self, silence: Silence) -> None:
        """See the port."""
        with self._transaction(write=True) as connection:
            connection.execute(delete(SILENCES).where(SILENCES.c.id == silence.id))
            connection.execute(insert(SILENCES).values(**_silence_row(silence)))
            _audit(connection, AuditEntry(silence.starts_at, silence.actor, "silenced", silence.id, silence.comment))

    def silences(self, now: int | None = None) -> list[Silence]:
        """See the port."""
        asked = select(SILENCES.c.document).order_by(SILENCES.c.starts_at.desc(), SILENCES.c.id.desc())
        if now is not None:
            asked = asked.where(SILENCES.c.starts_at <= now, SILENCES.c.ends_at > now)
        with self._transaction() as connection:
            return [_silence(document) for document in connection.execute(asked).scalars()]

    def expire_silence(self, silence_id: str, now: int, actor: str = "coldaisle") -> bool:
        """See the port."""
        with self._transaction(write=True) as connection:
            document = connection.execute(
                select(SILENCES.c.document).where(SILENCES.c.id == silence_id, SILENCES.c.ends_at > now)
            ).scalar()
            if document is None:
                return False
            ended = replace(_silence(document), ends_at=now)
            connection.execute(update(SILENCES).where(SILENCES.c.id == silence_id).values(**_silence_row(ended)))
            _audit(connection, AuditEntry(now, actor, "silence expired", silence_id, ""))
            return True

    def audit(self, subject: str | None = None, limit: int = 100) -> list[AuditEntry]:
        """See the port."""
        columns = (AUDIT.c.timestamp, AUDIT.c.actor, AUDIT.c.action, AUDIT.c.subject, AUDIT.c.text)
        asked = select(*columns).order_by(AUDIT.c.number.desc()).limit(limit)
        if subject is not None:
            asked = asked.where(AUDIT.c.subject == subject)
        with self._transaction() as connection:
            return [AuditEntry(*row) for row in connection.execute(asked)]

    def close(self) -> None:
        """See the port."""
        self._engine.dispose()


def _silence_row(silence: Silence) -> dict[str, Any]:
    return {
        "id": silence.id,
        "starts_at": int(silence.starts_at),
        "ends_at": int(silence.ends_at),
        "document": json.dumps(encoder(Silence)(silence), ensure_ascii=False),
    }


def _silence(document: str) -> Silence:
    silence: Silence = decoder(Silence)(json.loads(document))
    return silence


def _audit(connection: Connection, entry: AuditEntry) -> None:
    connection.execute(insert(AUDIT).values(**entry._asdict()))
