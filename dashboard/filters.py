"""Turns the words of a filter (states, severities, entity, text, span) into a query, for the page and the API alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coldaisle.clock import DAY, HOUR, SECOND, parse_rfc3339, rfc3339
from coldaisle.errors import ConfigError
from coldaisle.incident import Incident, IncidentState
from coldaisle.severity import Severity
from coldaisle.store import IncidentQuery

SPANS = {"1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "365d": 365 * DAY}
_FUTURE = 4_102_444_800 * SECOND  # the year 2100; a later time is a mistake


def instant(text: str | None, name: str) -> int | None:
    """Return Unix nanoseconds of RFC 3339, Unix seconds or nanoseconds. Raises ConfigError."""
    if text is None or not text.strip():
        return None
    given = text.strip()
    try:
        if given.lstrip("-").isdigit():
            value = int(given)
            value = value * SECOND if abs(value) < 10**11 else value
        else:
            value = parse_rfc3339(given)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{name}: {given[:40]!r} is no time; write 2026-11-22T03:12:00Z or Unix seconds") from error
    if not 0 <= value <= _FUTURE:
        raise ConfigError(f"{name}: {given[:40]!r} lies outside 1970 to 2100")
    return value


def query(
    states: Sequence[str] = (),
    severities: Sequence[str] = (),
    entity: str | None = None,
    text: str | None = None,
    start: int | None = None,
    end: int | None = None,
    limit: int = 100,
    offset: int = 0,
) -> IncidentQuery:
    """Return the query. Raises ConfigError that names the word nobody knows."""
    try:
        known_states = tuple(IncidentState(state) for state in states if state)
    except ValueError as error:
        raise ConfigError(f"state: {error}; expected one of {', '.join(IncidentState)}") from error
    try:
        known_severities = tuple(Severity(severity) for severity in severities if severity)
    except ValueError as error:
        raise ConfigError(f"severity: {error}; expected one of {', '.join(Severity)}") from error
    if start is not None and end is not None and start > end:
        raise ConfigError("start lies after end: exchange them")
    return IncidentQuery(
        states=known_states, severities=known_severities, entity=(entity or "").strip() or None,
        text=(text or "").strip() or None, start=start, end=end, limit=limit, offset=offset,
    )  # fmt: skip


CSV_COLUMNS = (
    "id", "severity", "state", "title", "suspect", "entities", "started_at", "opened_at", "ended_at", "resolved_at",
    "resolve_reason", "acknowledged_by", "confidence", "explanation", "recommended_action",
)  # fmt: skip


def csv_row(incident: Incident) -> list[Any]:
    """Return one line of the export, in the order of ``CSV_COLUMNS``."""
    times = (incident.started_at, incident.opened_at, incident.ended_at, incident.resolved_at)
    reason = incident.resolve_reason.value if incident.resolve_reason else ""
    who = incident.acknowledgement.actor if incident.acknowledgement else ""
    row = [
        incident.id, incident.severity.value, incident.state.value, incident.title, incident.suspect,
        " ".join(incident.entities), *("" if t is None else rfc3339(t) for t in times), reason, who,
        incident.confidence, incident.explanation, incident.recommended_action,
    ]  # fmt: skip
    return [_inert(cell) for cell in row]


def _inert(cell: Any) -> Any:
    """A cell that a spreadsheet would run as a formula is quoted (OWASP, CSV injection)."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
