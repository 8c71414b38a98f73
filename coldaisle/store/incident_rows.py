"""Incidents as rows: how one is written, and how a query is asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    column,
    delete,
    func,
    insert,
    or_,
    select,
    table,
    text,
    union,
    update,
)
from sqlalchemy.exc import IntegrityError

from coldaisle.incident import Incident
from coldaisle.store import Conflict, IncidentQuery
from coldaisle.store.incident_json import (
    incident_from_json,
    incident_to_json,
    window_from_json,
    window_to_json,
    windows_of,
    with_windows,
)
from coldaisle.store.incident_search import search_text, words_of
from coldaisle.store.schema import AUDIT, DOCUMENTS, ENTITIES, EVIDENCE, INCIDENTS, SEARCH
from coldaisle.topology import name_of

_SEARCH = table(SEARCH, column("rowid"), column("text"))
_TRIGRAM = 3
"""A trigram index knows nothing of shorter words; those are looked for row by row."""


def write_incident(connection: Connection, incident: Incident) -> Incident:
    """Write one incident in the caller's transaction; see ``IncidentStore.save``."""
    row = _row(incident)
    if incident.version == 0:
        try:
            key = connection.execute(insert(INCIDENTS).values(**row)).inserted_primary_key
        except IntegrityError as error:
            raise Conflict(f"incident {incident.id} exists already: read it again") from error
        assert key is not None
        number, known_lines = int(key[0]), 0
    else:
        known = connection.execute(
            select(INCIDENTS.c.number, INCIDENTS.c.version, INCIDENTS.c.timeline_length)
            .where(INCIDENTS.c.id == incident.id)
            .with_for_update()
        ).first()
        if known is None or known.version != incident.version:
            raise Conflict(f"incident {incident.id} was changed by somebody else: read it again")
        number, known_lines = int(known.number), int(known.timeline_length)
        connection.execute(update(INCIDENTS).where(INCIDENTS.c.number == number).values(**row))
    _write_document(connection, number, incident)
    _write_evidence(connection, number, incident)
    _write_entities(connection, number, incident)
    _write_search(connection, number, incident)
    audited = [
        {
            "timestamp": int(entry.timestamp),
            "actor": entry.actor,
            "action": entry.kind,
            "subject": incident.id,
            "text": entry.text,
        }
        for entry in incident.timeline[known_lines:]
        if entry.actor != "coldaisle"
    ]
    if audited:
        connection.execute(insert(AUDIT), audited)
    return replace(incident, version=incident.version + 1)


def _row(incident: Incident) -> dict[str, Any]:
    over = incident.ended_at if incident.ended_at is not None else incident.resolved_at
    return {
        "id": incident.id,
        "version": incident.version + 1,
        "state": incident.state.value,
        "severity": incident.severity.value,
        "suspect": incident.suspect,
        "title": incident.title,
        "explanation": incident.explanation,
        "started_at": int(incident.started_at),
        "opened_at": int(incident.opened_at),
        "updated_at": int(incident.updated_at),
        "over_at": None if over is None else int(over),
        "timeline_length": len(incident.timeline),
    }


def _write_document(connection: Connection, number: int, incident: Incident) -> None:
    document = _dumps(incident_to_json(incident, windows=False))
    changed = connection.execute(
        update(DOCUMENTS).where(DOCUMENTS.c.incident_number == number).values(document=document)
    )
    if changed.rowcount == 0:
        connection.execute(insert(DOCUMENTS).values(incident_number=number, document=document))


def _write_evidence(connection: Connection, number: int, incident: Incident) -> None:
    windows = windows_of(incident)
    if not windows:
        return
    stored = {
        row.anomaly_id: row.digest
        for row in connection.execute(
            select(EVIDENCE.c.anomaly_id, EVIDENCE.c.digest).where(EVIDENCE.c.incident_number == number)
        )
    }
    for anomaly_id, window in windows.items():
        document = _dumps(window_to_json(window))
        digest = blake2b(document.encode(), digest_size=16).hexdigest()
        here = and_(EVIDENCE.c.incident_number == number, EVIDENCE.c.anomaly_id == anomaly_id)
        if anomaly_id not in stored:
            connection.execute(
                insert(EVIDENCE).values(incident_number=number, anomaly_id=anomaly_id, digest=digest, document=document)
            )
        elif stored[anomaly_id] != digest:
            connection.execute(update(EVIDENCE).where(here).values(digest=digest, document=document))


def _write_entities(connection: Connection, number: int, incident: Incident) -> None:
    wanted = {incident.suspect, *incident.entities}
    stored = set(connection.execute(select(ENTITIES.c.entity).where(ENTITIES.c.incident_number == number)).scalars())
    gone, new = stored - wanted, wanted - stored
    if gone:
        connection.execute(
            delete(ENTITIES).where(ENTITIES.c.incident_number == number, ENTITIES.c.entity == bindparam("gone")),
            [{"gone": entity} for entity in gone],
        )
    if new:
        connection.execute(
            insert(ENTITIES),
            [{"entity": entity, "incident_number": number, "name": name_of(entity)} for entity in sorted(new)],
        )


def _write_search(connection: Connection, number: int, incident: Incident) -> None:
    wanted = search_text(incident)
    stored = connection.execute(select(_SEARCH.c.text).where(_SEARCH.c.rowid == number)).scalar()
    if stored is None:
        connection.execute(insert(_SEARCH).values(rowid=number, text=wanted))
    elif stored != wanted:
        connection.execute(update(_SEARCH).where(_SEARCH.c.rowid == number).values(text=wanted))


def read_incident(connection: Connection, incident_id: str) -> Incident | None:
    """Return one incident with its evidence, by its id or an unambiguous beginning of it."""
    asked = select(INCIDENTS.c.number, INCIDENTS.c.version)
    found = connection.execute(asked.where(INCIDENTS.c.id == incident_id)).all()
    if not found and incident_id:
        begins = func.substr(INCIDENTS.c.id, 1, len(incident_id)) == incident_id
        found = connection.execute(asked.where(begins).limit(2)).all()
    if len(found) != 1:
        return None
    number, version = found[0]
    document = connection.execute(
        select(DOCUMENTS.c.document).where(DOCUMENTS.c.incident_number == number)
    ).scalar_one()
    windows = {
        row.anomaly_id: window_from_json(json.loads(row.document))
        for row in connection.execute(
            select(EVIDENCE.c.anomaly_id, EVIDENCE.c.document).where(EVIDENCE.c.incident_number == number)
        )
    }
    return replace(with_windows(incident_from_json(json.loads(document)), windows), version=version)


def find_incidents(connection: Connection, query: IncidentQuery) -> list[Incident]:
    """Return what ``query`` means, the newest first, without evidence."""
    # The page is cut before documents are joined: a sort must not carry them along.
    page = (
        select(INCIDENTS.c.number)
        .where(*_conditions(connection.dialect.name, query))
        .order_by(INCIDENTS.c.opened_at.desc(), INCIDENTS.c.id.desc())
        .limit(query.limit)
        .offset(query.offset)
    )
    numbers = list(connection.execute(page).scalars())
    found: dict[int, Incident] = {}
    for part in _portions(numbers):
        rows = connection.execute(
            select(INCIDENTS.c.number, INCIDENTS.c.version, DOCUMENTS.c.document)
            .join(DOCUMENTS, DOCUMENTS.c.incident_number == INCIDENTS.c.number)
            .where(INCIDENTS.c.number.in_(part))
        )
        for row in rows:
            found[row.number] = replace(incident_from_json(json.loads(row.document)), version=row.version)
    return [found[number] for number in numbers if number in found]


def count_incidents(connection: Connection, query: IncidentQuery) -> int:
    """Return how many incidents ``query`` means, whatever its limit."""
    asked = select(func.count(INCIDENTS.c.opened_at)).where(*_conditions(connection.dialect.name, query))
    return int(connection.execute(asked).scalar_one())


def _portions(numbers: Sequence[int], size: int = 500) -> list[Sequence[int]]:
    return [numbers[begin : begin + size] for begin in range(0, len(numbers), size)]


def _conditions(dialect: str, query: IncidentQuery) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if query.states:
        conditions.append(INCIDENTS.c.state.in_([state.value for state in query.states]))
    if query.severities:
        conditions.append(INCIDENTS.c.severity.in_([severity.value for severity in query.severities]))
    if query.end is not None:
        conditions.append(INCIDENTS.c.started_at <= query.end)
    if query.start is not None:
        conditions.append(or_(INCIDENTS.c.over_at.is_(None), INCIDENTS.c.over_at >= query.start))
    if query.entity is not None:
        touched = union(
            select(ENTITIES.c.incident_number).where(ENTITIES.c.entity == query.entity),
            select(ENTITIES.c.incident_number).where(ENTITIES.c.name == query.entity),
        )
        conditions.append(INCIDENTS.c.number.in_(touched))
    words = words_of(query.text)
    if words:
        conditions.append(INCIDENTS.c.number.in_(_search(dialect, words)))
    return conditions


def _search(dialect: str, words: Sequence[str]) -> Select[Any]:
    found = select(_SEARCH.c.rowid)
    if dialect != "sqlite":
        return found.where(*(_SEARCH.c.text.contains(word, autoescape=True) for word in words))
    indexed = [word for word in words if len(word) >= _TRIGRAM]
    if indexed:
        quoted = " AND ".join('"' + word.replace('"', '""') + '"' for word in indexed)
        found = found.where(text("incident_search MATCH :words").bindparams(words=quoted))
    return found.where(*(func.instr(_SEARCH.c.text, word) > 0 for word in words if len(word) < _TRIGRAM))


def _dumps(document: dict[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))
