"""The HTTP API under /api/v1: everything that a person can do on the pages."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, FastAPI, Path, Query
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from coldaisle import matcher
from coldaisle.catalogue import metric_of
from coldaisle.clock import HOUR, SECOND, rfc3339
from coldaisle.errors import ConfigError
from coldaisle.incident import Incident, ResolveReason
from coldaisle.silence import Silence
from coldaisle.store import IncidentQuery, Notification, NotificationState
from coldaisle.store.incident_json import incident_to_public
from dashboard import actions, documentation, filters, problems, words
from dashboard.reader import Reader
from dashboard.security import problem

_MOST_ROWS = 1000
_MOST_EXPORTED = 100_000
_EXPORT_STEP = 1000
_STATE_WORDS = ("unknown", "fine", "info", "warning", "critical")

Id = Annotated[str, Path(min_length=1, max_length=80)]
Text = Annotated[str | None, Query(max_length=200)]
Moment = Annotated[str | None, Query(max_length=40, description="RFC 3339, Unix seconds or Unix nanoseconds")]


class Body(BaseModel):
    """What comes with a change. A field that nobody reads is a mistake."""

    model_config = ConfigDict(extra="forbid")


class DeedBody(Body):
    """Who does it, and what they say."""

    actor: Annotated[str, Field(max_length=actions.MOST_ACTOR)] = "api"
    note: Annotated[str, Field(max_length=actions.MOST_NOTE)] = ""

    def deed(self) -> actions.Deed:
        """Return it as the actions take it."""
        return actions.Deed.of(self.actor, self.note)


class AcknowledgeBody(DeedBody):
    """An acknowledgement may end by itself."""

    expires_in_seconds: Annotated[float | None, Field(gt=0, le=30 * 86400)] = None


class ResolveBody(DeedBody):
    """A person closes an incident for a reason; ``ended`` is what Coldaisle itself says."""

    reason: ResolveReason = ResolveReason.REAL


class NoteBody(Body):
    """A line for the timeline."""

    actor: Annotated[str, Field(max_length=actions.MOST_ACTOR)] = "api"
    note: Annotated[str, Field(min_length=1, max_length=actions.MOST_NOTE)]


class SilenceBody(Body):
    """Who mutes what for how long, and why."""

    matchers: Annotated[str, Field(min_length=1, max_length=500, examples=['row="B", severity="ticket"'])]
    duration_seconds: Annotated[float, Field(gt=0, le=30 * 86400)]
    comment: Annotated[str, Field(min_length=1, max_length=actions.MOST_NOTE)]
    actor: Annotated[str, Field(max_length=actions.MOST_ACTOR)] = "api"


def install(app: FastAPI, reader: Reader) -> None:
    """Add the API, the health endpoints and their errors to ``app``."""
    app.include_router(_incidents(reader), prefix="/api/v1", tags=["incidents"])
    app.include_router(_telemetry(reader), prefix="/api/v1", tags=["telemetry"])
    app.include_router(_quiet(reader), prefix="/api/v1", tags=["silences and notifications"])
    app.include_router(_self(app, reader))
    problems.install(app)


def _incidents(reader: Reader) -> APIRouter:
    router = APIRouter()
    store = reader.backends.incidents

    def wanted(
        state: Any, severity: Any, entity: Any, text: Any, start: Any, end: Any, limit: int, offset: int
    ) -> IncidentQuery:
        begin, finish = filters.instant(start, "start"), filters.instant(end, "end")
        return filters.query(_several(state), _several(severity), entity, text, begin, finish, limit, offset)

    @router.get("/incidents", summary="Search incidents, the newest first")
    def find(
        state: Annotated[list[str] | None, Query(max_length=6)] = None,
        severity: Annotated[list[str] | None, Query(max_length=6)] = None,
        entity: Text = None,
        text: Text = None,
        start: Moment = None,
        end: Moment = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_ROWS)] = 100,
        offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
    ) -> dict[str, Any]:
        asked = wanted(state, severity, entity, text, start, end, limit, offset)
        total, found = store.count(asked), store.find(asked)
        following = offset + len(found)
        return {
            "incidents": [incident_to_public(incident) for incident in found],
            "total": total,
            "limit": limit,
            "offset": offset,
            "next_offset": following if following < total and found else None,
        }

    @router.get("/incidents.csv", summary="Export incidents as CSV", response_class=StreamingResponse)
    def export(
        state: Annotated[list[str] | None, Query(max_length=6)] = None,
        severity: Annotated[list[str] | None, Query(max_length=6)] = None,
        entity: Text = None,
        text: Text = None,
        start: Moment = None,
        end: Moment = None,
    ) -> StreamingResponse:
        asked = wanted(state, severity, entity, text, start, end, _EXPORT_STEP, 0)
        head = {"content-disposition": 'attachment; filename="incidents.csv"'}
        return StreamingResponse(_csv(reader, asked), media_type="text/csv; charset=utf-8", headers=head)

    @router.get("/incidents/{incident_id}", summary="One incident; an unambiguous prefix of its id will do")
    def get(incident_id: Id) -> dict[str, Any]:
        incident = store.get(incident_id)
        if incident is None:
            raise actions.NotFound(f"no incident {incident_id!r}; the list is at /api/v1/incidents")
        return incident_to_public(incident)

    def done(change: Callable[[], Incident]) -> dict[str, Any]:
        return incident_to_public(change())

    backends = reader.backends

    @router.post("/incidents/{incident_id}/acknowledge", summary="Take an incident")
    def acknowledge(incident_id: Id, body: AcknowledgeBody) -> dict[str, Any]:
        return done(lambda: actions.acknowledge(backends, incident_id, body.deed(), body.expires_in_seconds))

    @router.post("/incidents/{incident_id}/unacknowledge", summary="Give an incident back")
    def unacknowledge(incident_id: Id, body: DeedBody) -> dict[str, Any]:
        return done(lambda: actions.unacknowledge(backends, incident_id, body.deed()))

    @router.post("/incidents/{incident_id}/resolve", summary="Close an incident, with a reason")
    def resolve(incident_id: Id, body: ResolveBody) -> dict[str, Any]:
        return done(lambda: actions.resolve(backends, incident_id, body.deed(), body.reason))

    @router.post("/incidents/{incident_id}/reopen", summary="Open a resolved incident again")
    def reopen(incident_id: Id, body: DeedBody) -> dict[str, Any]:
        return done(lambda: actions.reopen(backends, incident_id, body.deed()))

    @router.post("/incidents/{incident_id}/note", summary="Add a line to the timeline")
    def note(incident_id: Id, body: NoteBody) -> dict[str, Any]:
        return done(lambda: actions.note(backends, incident_id, actions.Deed.of(body.actor, body.note)))

    return router


def _several(values: list[str] | None) -> list[str]:
    """``?state=open&state=resolved`` and ``?state=open,resolved`` are the same."""
    return [part.strip() for value in values or () for part in value.split(",") if part.strip()]


def _csv(reader: Reader, asked: IncidentQuery) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(filters.CSV_COLUMNS)
    for offset in range(0, _MOST_EXPORTED, _EXPORT_STEP):
        found = reader.backends.incidents.find(replace(asked, offset=offset))
        writer.writerows(filters.csv_row(incident) for incident in found)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        if len(found) < _EXPORT_STEP:
            return


def _telemetry(reader: Reader) -> APIRouter:
    router = APIRouter()
    store = reader.backends.metrics

    @router.get("/hall", summary="The hall now: every GPU (or node) with its state, value and score")
    def hall(metric: Annotated[str | None, Query(max_length=200)] = None) -> dict[str, Any]:
        incidents = reader.open_incidents()
        picture = reader.picture(incidents, metric)
        status = reader.status(incidents, picture)
        about = {
            "hall": reader.backends.hall,
            "open_incidents": status.open,
            "unacknowledged": status.unacknowledged,
            "healthy": status.healthy,
            "cells_total": status.cells,
            "unknown": status.unknown,
            "power_watts": status.power_watts,
            "lag_seconds": status.lag_seconds,
        }
        if picture is None:
            return {**about, "now": None, "metric": None, "metrics": [], "racks": [], "cells": []}
        place = picture.arrangement
        columns = (picture.values, picture.low, picture.high, picture.siblings, picture.scores)
        rows = zip(
            place.cells,
            place.x.tolist(),
            place.y.tolist(),
            picture.state.tolist(),
            picture.incident,
            *(_known(column) for column in columns),
            strict=True,
        )
        names = ("entity", "x", "y", "state", "incident", "value", "low", "high", "siblings", "score")
        cells = [dict(zip(names, row, strict=True)) for row in rows]
        for cell in cells:
            cell["state"], cell["incident"] = _STATE_WORDS[cell["state"]], cell["incident"] or None
        racks = [
            {"entity": b.entity, "row": b.row or None, "x": b.x, "y": b.y, "width": b.width, "height": b.height}
            for b in place.blocks
        ]
        about |= {"now": rfc3339(picture.now), "metric": picture.metric or None, "unit": words.unit_of(picture.metric)}
        return {**about, "metrics": reader.metrics_of_cells(), "racks": racks, "cells": cells}

    @router.get("/metrics", summary="The metrics that are stored")
    def metrics() -> dict[str, Any]:
        rows = [metric_of(name) for name in store.metrics()]
        return {
            "metrics": [
                {"name": m.name, "kind": m.kind.value, "unit": m.unit, "entity": m.entity, "meaning": m.meaning}
                for m in rows
            ]
        }

    @router.get("/series", summary="Samples of a metric; a long line is thinned so that its extremes survive")
    def series(
        metric: Annotated[str, Query(min_length=1, max_length=200)],
        match: Annotated[str, Query(max_length=500, description='Label matchers: node="n1", gpu=~"GPU-.*"')] = "",
        start: Moment = None,
        end: Moment = None,
        max_points: Annotated[int, Query(ge=2, le=20_000)] = 1000,
        max_series: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> dict[str, Any]:
        begin, finish = _between(reader, start, end)
        lines = store.query(metric, matcher.parse(match), begin, finish, max_points, max_series)
        return {
            "metric": metric,
            "unit": metric_of(metric).unit,
            "start": rfc3339(begin),
            "end": rfc3339(finish),
            "series": [
                {
                    "labels": dict(line.series.labels),
                    "timestamps_ns": line.timestamps.tolist(),
                    "values": _known(line.values),
                }
                for line in lines
            ],
        }

    @router.get("/events", summary="Events of a span, the newest first")
    def events(
        start: Moment = None,
        end: Moment = None,
        match: Annotated[str, Query(max_length=500)] = "",
        limit: Annotated[int, Query(ge=1, le=_MOST_ROWS)] = 100,
    ) -> dict[str, Any]:
        begin, finish = _between(reader, start, end)
        found = store.events(begin, finish, matcher.parse(match), limit)
        return {
            "events": [
                {
                    "kind": e.kind,
                    "code": e.code,
                    "timestamp": rfc3339(e.timestamp),
                    "labels": dict(e.labels),
                    "text": e.text,
                    "attributes": dict(e.attributes),
                }
                for e in found
            ]
        }

    return router


def _known(values: Any) -> list[float | None]:
    """JSON has no NaN: unknown is null."""
    return [None if not np.isfinite(value) else value for value in values.tolist()]


def _between(reader: Reader, start: str | None, end: str | None) -> tuple[int, int]:
    last = filters.instant(end, "end")
    finish = reader.now() if last is None else last
    first = filters.instant(start, "start")
    begin = finish - HOUR if first is None else first
    if begin > finish:
        raise ConfigError("start lies after end: exchange them")
    return begin, finish


def _quiet(reader: Reader) -> APIRouter:
    router = APIRouter()
    store = reader.backends.incidents

    @router.get("/silences", summary="Silences that hold now, or every one ever made")
    def silences(all: Annotated[bool, Query()] = False) -> dict[str, Any]:
        return {"silences": [_silence(one) for one in store.silences(None if all else reader.now())]}

    @router.post("/silences", status_code=201, summary="Mute matching alerts for a time")
    def silence(body: SilenceBody) -> dict[str, Any]:
        matchers = matcher.parse(body.matchers)
        if not matchers:
            raise ConfigError('matchers: none given, which would mute everything; write alertname="..." or row="B"')
        now = reader.now()
        identity = blake2b(f"{now}\x1f{body.matchers}\x1f{body.actor}".encode(), digest_size=8).hexdigest()
        made = Silence(identity, matchers, now, now + round(body.duration_seconds * SECOND), body.actor, body.comment)
        store.save_silence(made)
        return _silence(made)

    @router.post("/silences/{silence_id}/expire", summary="End a silence now")
    def expire(silence_id: Id, body: DeedBody) -> dict[str, Any]:
        if not store.expire_silence(silence_id, reader.now(), body.deed().actor):
            raise actions.NotFound(f"no silence {silence_id!r} that still holds; the list is at /api/v1/silences")
        return {"id": silence_id, "expired": True}

    @router.get("/notifications", summary="The outbox: what was sent, waits or failed")
    def notifications(
        state: NotificationState | None = None,
        incident: Annotated[str | None, Query(max_length=80)] = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_ROWS)] = 100,
    ) -> dict[str, Any]:
        return {"notifications": [_notification(one) for one in store.notifications(incident, state, limit)]}

    @router.post("/notifications/{notification_id}/requeue", summary="Send a failed notification once more")
    def requeue(notification_id: Id) -> dict[str, Any]:
        if not store.requeue(notification_id, reader.now()):
            raise actions.NotFound(f"no failed notification {notification_id!r}; see /api/v1/notifications?state=dead")
        return {"id": notification_id, "requeued": True}

    return router


def _silence(one: Silence) -> dict[str, Any]:
    return {
        "id": one.id,
        "matchers": ", ".join(str(m) for m in one.matchers),
        "starts_at": rfc3339(one.starts_at),
        "ends_at": rfc3339(one.ends_at),
        "actor": one.actor,
        "comment": one.comment,
    }


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


def _self(app: FastAPI, reader: Reader) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz", summary="The process answers", tags=["health"])
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @router.get(
        "/readyz", summary="The parts behind it work", tags=["health"], responses={503: {"description": "not yet"}}
    )
    def readyz() -> Any:
        health = reader.backends.health()
        if not health.ready:
            return problem(503, "Not ready", " ".join(health.problems) or "Still starting; ask again in a second.")
        return {"status": "ready", "problems": list(health.problems), "versions": dict(health.versions)}

    @router.get(
        "/metrics",
        summary="Coldaisle's own metrics, Prometheus text",
        tags=["health"],
        response_class=PlainTextResponse,
    )
    def metrics() -> PlainTextResponse:
        return PlainTextResponse(reader.backends.stats.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @router.get("/api/v1/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(documentation.page(app.openapi()))

    @router.api_route("/api/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def unknown(rest: str) -> Any:
        return problem(404, "Unknown address", f"/api/{rest[:80]} does not exist; /api/v1/docs lists what does.")

    return router
