"""The API's incidents: found, exported, taken, closed, muted."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse

from coldaisle.incident import Incident
from coldaisle.store import IncidentQuery
from coldaisle.store.incident_json import incident_to_public, window_to_json
from dashboard import actions, filters, silencing
from dashboard.api_bodies import (
    MOST_ROWS,
    AcknowledgeBody,
    DeedBody,
    Id,
    IncidentSilenceBody,
    Moment,
    NoteBody,
    ResolveBody,
    Text,
)  # fmt: skip
from dashboard.reader import Reader

_MOST_EXPORTED = 100_000
_EXPORT_STEP = 1000


def incidents(reader: Reader) -> APIRouter:
    """Return the routes under ``/incidents``."""
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
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 100,
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
        return incident_to_public(actions.found(reader.backends, incident_id))

    @router.get("/incidents/{incident_id}/evidence", summary="What was seen beside what was expected, as frozen")
    def evidence(incident_id: Id) -> dict[str, Any]:
        incident = actions.found(reader.backends, incident_id)
        return {
            "evidence": [
                {"alert": alert.name, "entity": anomaly.entity, "explanation": anomaly.explanation,
                 "window": window_to_json(anomaly.window)}
                for alert in incident.alerts
                for anomaly in alert.anomalies
                if anomaly.window is not None
            ]
        }  # fmt: skip

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

    @router.post("/incidents/{incident_id}/silence", status_code=201, summary="Mute an incident for a time")
    def silence(incident_id: Id, body: IncidentSilenceBody) -> dict[str, Any]:
        deed = actions.Deed.of(body.actor, body.comment)
        return silencing.public(actions.silence_incident(backends, incident_id, deed, body.duration_seconds))

    @router.get("/incidents/{incident_id}/silences", summary="The silences that hold for an incident now")
    def silences(incident_id: Id) -> dict[str, Any]:
        incident = actions.found(backends, incident_id)
        held = silencing.holding(store, incident, backends.topology(), reader.now())
        return {"silences": [silencing.public(one) for one in held]}

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
