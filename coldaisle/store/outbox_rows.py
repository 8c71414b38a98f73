"""Notifications as rows: written with their incident, leased by one worker at a time, settled once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite

from coldaisle.clock import SECOND
from coldaisle.store import Notification, NotificationState
from coldaisle.store.schema import OUTBOX

_WAITING = NotificationState.WAITING.value
_FIELDS = [column for column in OUTBOX.c if column.name not in ("number", "leased_until")]


def write_notifications(connection: Connection, notifications: Sequence[Notification]) -> None:
    """Write notifications in the caller's transaction; one whose id is known is left as it is."""
    if not notifications:
        return
    statement: Any = (
        postgresql.insert(OUTBOX) if connection.dialect.name == "postgresql" else sqlite.insert(OUTBOX)
    ).on_conflict_do_nothing(index_elements=["id"])
    connection.execute(statement, [_row(notification) for notification in notifications])


def _row(notification: Notification) -> dict[str, Any]:
    return {
        "id": notification.id,
        "incident_id": notification.incident_id,
        "receiver": notification.receiver,
        "kind": notification.kind,
        "body": notification.body,
        "created_at": int(notification.created_at),
        "state": notification.state.value,
        "attempts": notification.attempts,
        "next_attempt_at": int(notification.next_attempt_at),
        "leased_until": 0,
        "last_error": notification.last_error,
        "sent_at": notification.sent_at,
    }


def _notification(row: Any) -> Notification:
    values = dict(row._mapping)
    values["state"] = NotificationState(values["state"])
    return Notification(**values)


def _due(now: int, receivers: Sequence[str] | None) -> list[ColumnElement[bool]]:
    earlier = OUTBOX.alias("earlier")
    conditions: list[ColumnElement[bool]] = [
        OUTBOX.c.state == _WAITING,
        OUTBOX.c.next_attempt_at <= now,
        OUTBOX.c.leased_until <= now,
        ~exists().where(
            earlier.c.incident_id == OUTBOX.c.incident_id,
            earlier.c.receiver == OUTBOX.c.receiver,
            earlier.c.state == _WAITING,
            earlier.c.number < OUTBOX.c.number,
        ),
    ]
    if receivers is not None:
        conditions.append(OUTBOX.c.receiver.in_(list(receivers)))
    return conditions


def is_any_due(connection: Connection, now: int, receivers: Sequence[str] | None) -> bool:
    """Return whether a lease would find anything."""
    return connection.execute(select(OUTBOX.c.number).where(*_due(now, receivers)).limit(1)).first() is not None


def lease_notifications(
    connection: Connection, now: int, limit: int, lease_seconds: float, receivers: Sequence[str] | None
) -> list[Notification]:
    """Return due notifications that are now the caller's until the lease ends."""
    rows = connection.execute(
        select(*_FIELDS)
        .where(*_due(now, receivers))
        .order_by(OUTBOX.c.number)
        .limit(limit)
        .with_for_update(skip_locked=True)  # SQLite has no such words: there the transaction alone excludes others
    ).all()
    if rows:
        connection.execute(
            update(OUTBOX).where(OUTBOX.c.id == bindparam("leased")),
            [{"leased": row.id, "leased_until": now + round(lease_seconds * SECOND)} for row in rows],
        )
    return [_notification(row) for row in rows]


def release_notifications(connection: Connection) -> int:
    """End every lease; return how many there were."""
    held = and_(OUTBOX.c.state == _WAITING, OUTBOX.c.leased_until > 0)
    return connection.execute(update(OUTBOX).where(held).values(leased_until=0)).rowcount


def settle_notification(connection: Connection, notification: Notification) -> None:
    """Write what became of a notification; a late word never makes one that was sent unsent."""
    this = OUTBOX.c.id == notification.id
    if notification.state is not NotificationState.SENT:
        this = and_(this, OUTBOX.c.state == _WAITING)
    connection.execute(
        update(OUTBOX)
        .where(this)
        .values(
            state=notification.state.value,
            attempts=notification.attempts,
            next_attempt_at=int(notification.next_attempt_at),
            leased_until=0,
            last_error=notification.last_error,
            sent_at=notification.sent_at,
        )
    )


def read_notifications(
    connection: Connection, incident_id: str | None, state: NotificationState | None, limit: int
) -> list[Notification]:
    """Return notifications, the newest first."""
    asked = select(*_FIELDS).order_by(OUTBOX.c.number.desc()).limit(limit)
    if incident_id is not None:
        asked = asked.where(OUTBOX.c.incident_id == incident_id)
    if state is not None:
        asked = asked.where(OUTBOX.c.state == state.value)
    return [_notification(row) for row in connection.execute(asked)]


def requeue_notification(connection: Connection, notification_id: str, now: int) -> bool:
    """Let a dead notification begin anew; return whether there was one."""
    changed = connection.execute(
        update(OUTBOX)
        .where(OUTBOX.c.id == notification_id, OUTBOX.c.state == NotificationState.DEAD.value)
        .values(state=_WAITING, attempts=0, next_attempt_at=now, created_at=now, leased_until=0)
    )
    return changed.rowcount > 0
