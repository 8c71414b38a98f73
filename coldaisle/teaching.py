"""What a person teaches by calling an incident noise: that what its series show is normal."""

from __future__ import annotations

import json

from coldaisle.event import Event
from coldaisle.incident import Incident, IncidentState, ResolveReason
from coldaisle.series import Series, labels, labels_of

KIND, NORMAL = "teaching", "normal"
"""Kind and code of the event."""
_SERIES, _INCIDENT = "series", "incident"


def lesson_of(incident: Incident) -> Event | None:
    """Return the event that a resolved incident teaches with; None unless it was noise and about series."""
    if incident.state is not IncidentState.RESOLVED or incident.resolve_reason is not ResolveReason.NOISE:
        return None
    told = {anomaly.series for alert in incident.alerts for anomaly in alert.anomalies if anomaly.series is not None}
    if not told:
        return None
    rows = [[series.metric, dict(series.labels)] for series in sorted(told)]
    nodes = {series.label("node") for series in told}
    node = nodes.pop() if len(nodes) == 1 else None
    at = incident.resolved_at if incident.resolved_at is not None else incident.updated_at
    return Event(
        KIND, NORMAL, at, labels(node=node) if node else labels(), f"{incident.title}: called noise; it is normal",
        {_SERIES: json.dumps(rows, separators=(",", ":")), _INCIDENT: incident.id},
    )  # fmt: skip


def series_of(event: Event) -> list[Series]:
    """Return the series that a lesson is about; none where the event is no lesson, or is broken."""
    if event.kind != KIND or event.code != NORMAL:
        return []
    try:
        rows = json.loads(event.attributes.get(_SERIES, "[]"))
        return [
            Series(str(metric), labels_of((str(name), str(value)) for name, value in named.items()))
            for metric, named in rows
        ]
    except (ValueError, TypeError, AttributeError):
        return []
