"""Events and anomalies as JSON and back, without loss."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from coldaisle.anomaly import Anomaly, Contribution, Phase, Window
from coldaisle.errors import Permanent
from coldaisle.event import Event
from coldaisle.json_fields import Fields, integer_of, labels_to_json, line_of, number_to_json, text_of
from coldaisle.prediction_json import prediction_from_json, prediction_to_json
from coldaisle.severity import Severity

EVENT_VERSION = 1
ANOMALY_VERSION = 1
MOST_WORDS_BYTES = 4 << 20
"""Of one event or anomaly; the largest, a window of 2,000 points beside twenty peers, has a fifth of it."""


def encode_event(event: Event) -> bytes:
    """Return ``event`` as one JSON object in UTF-8."""
    return _dump(event_to_json(event))


def decode_event(data: bytes) -> Event:
    """Return the event that ``data`` holds. Raises Permanent with the reason."""
    return event_from_json(_load(data, "event"))


def encode_anomaly(anomaly: Anomaly) -> bytes:
    """Return ``anomaly`` as one JSON object in UTF-8."""
    return _dump(anomaly_to_json(anomaly))


def decode_anomaly(data: bytes) -> Anomaly:
    """Return the anomaly that ``data`` holds. Raises Permanent with the reason."""
    return anomaly_from_json(_load(data, "anomaly"))


def event_to_json(event: Event) -> dict[str, Any]:
    """Return ``event`` as a JSON object; ``timestamp`` is Unix nanoseconds."""
    return {
        "version": EVENT_VERSION,
        "kind": event.kind,
        "code": event.code,
        "timestamp": event.timestamp,
        "labels": labels_to_json(event.labels),
        "text": event.text,
        "attributes": dict(event.attributes),
    }


def event_from_json(document: Mapping[str, Any]) -> Event:
    """Return the event of :func:`event_to_json`. Raises Permanent that names the field."""
    read = Fields("event", document)
    read.version(EVENT_VERSION)
    return Event(
        kind=read.text("kind"),
        code=read.text("code"),
        timestamp=read.integer("timestamp"),
        labels=read.labels("labels"),
        text=read.text("text", ""),
        attributes=read.texts("attributes"),
    )


def anomaly_to_json(anomaly: Anomaly) -> dict[str, Any]:
    """Return ``anomaly`` as a JSON object; times are Unix nanoseconds, unknown numbers null."""
    a = anomaly
    foretold = {} if a.prediction is None else {"prediction": prediction_to_json(a.prediction)}
    return {
        "version": ANOMALY_VERSION,
        "id": a.id,
        "phase": a.phase.value,
        "rule": a.rule,
        "detector": a.detector,
        "detector_version": a.version,
        "severity": a.severity.value,
        "entity": a.entity,
        "started_at": a.started_at,
        "updated_at": a.updated_at,
        "ended_at": a.ended_at,
        "score": number_to_json(a.score),
        "explanation": a.explanation,
        "series": None if a.series is None else [a.series.metric, labels_to_json(a.series.labels)],
        "observed": number_to_json(a.observed),
        "expected": number_to_json(a.expected),
        "low": number_to_json(a.low),
        "high": number_to_json(a.high),
        "tail_probability": number_to_json(a.tail_probability),
        "contributions": [_contribution_to_json(each) for each in a.contributions],
        "peers": list(a.peers),
        "members": list(a.members),
        "summary": a.summary,
        "action": a.action,
        "runbook": a.runbook,
        "window": None if a.window is None else _window_to_json(a.window),
        **foretold,
    }


def anomaly_from_json(document: Mapping[str, Any]) -> Anomaly:
    """Return the anomaly of :func:`anomaly_to_json`. Raises Permanent that names the field."""
    read = Fields("anomaly", document)
    read.version(ANOMALY_VERSION)
    return Anomaly(
        id=read.text("id"),
        phase=read.as_("phase", Phase),
        rule=read.text("rule"),
        detector=read.text("detector"),
        version=read.text("detector_version"),
        severity=read.as_("severity", Severity),
        entity=read.text("entity"),
        started_at=read.integer("started_at"),
        updated_at=read.integer("updated_at"),
        ended_at=None if document.get("ended_at") is None else read.integer("ended_at"),
        score=read.number("score"),
        explanation=read.text("explanation"),
        series=read.series("series"),
        observed=read.maybe_number("observed"),
        expected=read.maybe_number("expected"),
        low=read.maybe_number("low"),
        high=read.maybe_number("high"),
        tail_probability=read.maybe_number("tail_probability"),
        contributions=tuple(_contribution_from_json(each) for each in read.items("contributions")),
        peers=read.words("peers"),
        members=read.words("members"),
        summary=read.text("summary", ""),
        action=read.text("action", ""),
        runbook=read.text("runbook", ""),
        window=None if document.get("window") is None else _window_from_json(document["window"]),
        prediction=None if document.get("prediction") is None else prediction_from_json(document["prediction"]),
    )


def _contribution_to_json(contribution: Contribution) -> dict[str, Any]:
    return {
        "entity": contribution.entity,
        "metric": contribution.metric,
        "share": number_to_json(contribution.share),
        "observed": number_to_json(contribution.observed),
        "expected": number_to_json(contribution.expected),
    }


def _contribution_from_json(document: Any) -> Contribution:
    read = Fields("anomaly: contribution", document)
    return Contribution(
        entity=read.text("entity"),
        metric=read.text("metric"),
        share=read.number("share"),
        observed=read.maybe_number("observed"),
        expected=read.maybe_number("expected"),
    )


def _window_to_json(window: Window) -> dict[str, Any]:
    return {
        "metric": window.metric,
        "unit": window.unit,
        "timestamps": list(window.timestamps),
        "observed": [number_to_json(value) for value in window.observed],
        "expected": [number_to_json(value) for value in window.expected],
        "low": [number_to_json(value) for value in window.low],
        "high": [number_to_json(value) for value in window.high],
        "peers": {name: [number_to_json(value) for value in line] for name, line in window.peers.items()},
        "limit": number_to_json(window.limit),
    }


def _window_from_json(document: Any) -> Window:
    read = Fields("anomaly: window", document)
    return Window(
        metric=read.text("metric"),
        unit=read.text("unit"),
        timestamps=tuple(integer_of(each, "anomaly: window: timestamps") for each in read.items("timestamps")),
        observed=read.line("observed"),
        expected=read.line("expected"),
        low=read.line("low"),
        high=read.line("high"),
        peers={
            text_of(name, "anomaly: window: peers"): line_of(line, "anomaly: window: peers")
            for name, line in read.object("peers").items()
        },
        limit=read.maybe_number("limit"),
    )


def _dump(document: dict[str, Any]) -> bytes:
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        raise Permanent(f"a text is not valid Unicode: {error.reason}") from error


def _load(data: bytes, what: str) -> Any:
    if len(data) > MOST_WORDS_BYTES:
        raise Permanent(f"{what}: has {len(data):,} bytes; at most {MOST_WORDS_BYTES:,} are read")
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise Permanent(f"{what}: is not JSON: {str(error)[:200]}") from error
