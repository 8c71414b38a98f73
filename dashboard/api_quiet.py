"""The API's silences and notifications: what is quiet, and what was sent."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from coldaisle import matcher
from coldaisle.clock import rfc3339
from coldaisle.store import Notification, NotificationState
from dashboard import actions, silencing
from dashboard.api_bodies import MOST_ROWS, DeedBody, Id, SilenceBody
from dashboard.reader import Reader


def quiet(reader: Reader) -> APIRouter:
    """Return the routes of silences and notifications."""
    router = APIRouter()
    store = reader.backends.incidents

    @router.get("/silences", summary="Silences that hold now, or every one ever made")
    def silences(all: Annotated[bool, Query()] = False) -> dict[str, Any]:
        return {"silences": [silencing.public(one) for one in store.silences(None if all else reader.now())]}

    @router.post("/silences", status_code=201, summary="Mute matching alerts for a time")
    def silence(body: SilenceBody) -> dict[str, Any]:
        deed = actions.Deed.of(body.actor, body.comment)
        return silencing.public(
            actions.silence(reader.backends, matcher.parse(body.matchers), deed, body.duration_seconds)
        )

    @router.post("/silences/{silence_id}/expire", summary="End a silence now")
    def expire(silence_id: Id, body: DeedBody) -> dict[str, Any]:
        actions.end_silence(reader.backends, silence_id, body.deed())
        return {"id": silence_id, "expired": True}

    @router.get("/notifications", summary="The outbox: what was sent, waits or failed")
    def notifications(
        state: NotificationState | None = None,
        incident: Annotated[str | None, Query(max_length=80)] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 100,
    ) -> dict[str, Any]:
        return {"notifications": [_notification(one) for one in store.notifications(incident, state, limit)]}

    @router.post("/notifications/{notification_id}/requeue", summary="Send a failed notification once more")
    def requeue(notification_id: Id) -> dict[str, Any]:
        actions.requeue(reader.backends, notification_id)
        return {"id": notification_id, "requeued": True}

    return router


def _notification(one: Notification) -> dict[str, Any]:
    return {
        "id": one.id,
        "incident": one.incident_id,
        "receiver": one.receiver,
        "kind": one.kind,
        "state": one.state.value,
        "attempts": one.attempts,
        "created_at": rfc3339(one.created_at),
        "last_error": one.last_error or None,
        "sent_at": None if one.sent_at is None else rfc3339(one.sent_at),
    }
