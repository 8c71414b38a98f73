"""Incidents as JSON: the lossless form that is stored, and the public form that people and programmes read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from coldaisle.alert import Alert
from coldaisle.anomaly import Window
from coldaisle.clock import rfc3339
from coldaisle.errors import ConfigError
from coldaisle.incident import Incident
from coldaisle.store.dataclass_json import decoder, encoder

FORMAT = 1
"""Version of the stored form; rises whenever an older reader would misread a document."""


def incident_to_json(incident: Incident, windows: bool = True) -> dict[str, Any]:
    """
    Return the stored form: times in Unix nanoseconds, fields at their default left out.

    ``windows=False`` leaves out the windows of the evidence.
    """
    document: dict[str, Any] = encoder(Incident)(incident if windows else without_windows(incident))
    return {"format": FORMAT, **document}


def incident_from_json(document: Mapping[str, Any]) -> Incident:
    """Return what :func:`incident_to_json` was given. Raises ConfigError when it cannot be read."""
    have = document.get("format")
    if have != FORMAT:
        raise ConfigError(
            f"incident {document.get('id', '?')} is stored in format {have}, this Coldaisle reads {FORMAT}: upgrade it"
        )
    try:
        incident: Incident = decoder(Incident)({key: item for key, item in document.items() if key != "format"})
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"incident {document.get('id', '?')} cannot be read from the store ({error!r}): restore it from a backup"
        ) from error
    return incident


def window_to_json(window: Window) -> dict[str, Any]:
    """Return the stored form of one window of evidence."""
    document: dict[str, Any] = encoder(Window)(window)
    return document


def window_from_json(document: Mapping[str, Any]) -> Window:
    """Return what :func:`window_to_json` was given."""
    window: Window = decoder(Window)(document)
    return window


def windows_of(incident: Incident) -> dict[str, Window]:
    """Return the evidence of an incident: a window by the id of its anomaly."""
    return {
        anomaly.id: anomaly.window
        for alert in incident.alerts
        for anomaly in alert.anomalies
        if anomaly.window is not None
    }


def without_windows(incident: Incident) -> Incident:
    """Return ``incident`` light enough for a list."""
    if not windows_of(incident):
        return incident
    return replace(incident, alerts=tuple(_with(alert, None) for alert in incident.alerts))


def with_windows(incident: Incident, windows: Mapping[str, Window]) -> Incident:
    """Return ``incident`` with ``windows`` (by anomaly id) put back where it has none."""
    if not windows:
        return incident
    return replace(incident, alerts=tuple(_with(alert, windows) for alert in incident.alerts))


def _with(alert: Alert, windows: Mapping[str, Window] | None) -> Alert:
    changed = tuple(
        replace(anomaly, window=None if windows is None else anomaly.window or windows.get(anomaly.id))
        for anomaly in alert.anomalies
    )
    return replace(alert, anomalies=changed)


def incident_to_public(incident: Incident) -> dict[str, Any]:
    """
    Return the form that ``--json``, the HTTP API and webhooks show.

    Times are RFC 3339 in UTC, null where there is none; alerts come without their anomalies.
    """
    acknowledgement = incident.acknowledgement
    return {
        "id": incident.id,
        "title": incident.title,
        "severity": incident.severity.value,
        "state": incident.state.value,
        "suspect": incident.suspect,
        "entities": list(incident.entities),
        "started_at": rfc3339(incident.started_at),
        "opened_at": rfc3339(incident.opened_at),
        "updated_at": rfc3339(incident.updated_at),
        "ended_at": _time(incident.ended_at),
        "resolved_at": _time(incident.resolved_at),
        "resolve_reason": incident.resolve_reason.value if incident.resolve_reason else None,
        "reasons": list(incident.reasons),
        "explanation": incident.explanation,
        "recommended_action": incident.recommended_action,
        "confidence": _number(incident.confidence),
        "runbook": incident.runbook,
        "acknowledgement": None
        if acknowledgement is None
        else {
            "actor": acknowledgement.actor,
            "timestamp": rfc3339(acknowledgement.timestamp),
            "expires_at": _time(acknowledgement.expires_at),
        },
        "suppressed_by": incident.suppressed_by,
        "alerts": [_public_alert(alert) for alert in incident.alerts],
        "timeline": [
            {"timestamp": rfc3339(entry.timestamp), "kind": entry.kind, "text": entry.text, "actor": entry.actor}
            for entry in incident.timeline
        ],
    }


def _public_alert(alert: Alert) -> dict[str, Any]:
    return {
        "fingerprint": alert.fingerprint,
        "name": alert.name,
        "entity": alert.entity,
        "severity": alert.severity.value,
        "state": alert.state.value,
        "starts_at": rfc3339(alert.starts_at),
        "updated_at": rfc3339(alert.updated_at),
        "ends_at": _time(alert.ends_at),
        "summary": alert.summary,
        "explanation": alert.explanation,
        "score": _number(alert.score),
        "detector": alert.detector,
        "members": list(alert.members),
        "suppressed_by": alert.suppressed_by,
    }


def _time(timestamp: int | None) -> str | None:
    return None if timestamp is None else rfc3339(timestamp)


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
