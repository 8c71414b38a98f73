"""No field of an incident is lost on its way to the disk and back."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldaisle.alert import Alert, AlertState
from coldaisle.anomaly import Anomaly, Contribution, Phase, Window
from coldaisle.errors import ConfigError
from coldaisle.incident import Acknowledgement, Incident, IncidentState, ResolveReason, TimelineEntry
from coldaisle.prediction import Outcome, Prediction, Reason, Within
from coldaisle.series import Series, labels
from coldaisle.severity import Severity
from coldaisle.store.dataclass_json import decoder, encoder
from coldaisle.store.incident_json import (
    incident_from_json,
    incident_to_json,
    incident_to_public,
    windows_of,
    with_windows,
    without_windows,
)

NS = 1_790_000_000_123_456_789
LINE = (1.5, None, -0.0)


def whole() -> Incident:
    """An incident in which no field has its default, at any depth."""
    window = Window("m_watts", "W", (NS, NS + 1, NS + 2), LINE, LINE, LINE, LINE, {"gpu/g2": LINE}, 700.0)
    anomaly = Anomaly(
        "f1", Phase.UPDATED, "rule", "peers", "2", Severity.TICKET, "gpu/g1", NS, NS + 1, 0.5, "why", NS + 2,
        Series("m_watts", labels(gpu="g1", node="n1")), 1.0, 2.0, 3.0, 4.0, 1e-9,
        (Contribution("gpu/g1", "m_watts", 0.7, 1.0, 2.0),), ("gpu/g2",), ("gpu/g1",), "sum", "act", "book", window,
        Prediction(
            "p1", "rule", "gpu/g1", "link fails", 0.8, Within(1.0, 2.0, 3.0), NS, NS + 9, NS + 1, 0.9,
            (Reason("m_total", "rises", 1.5, 48.0, NS, 60.0),), "early_warning", "1", NS + 2, Outcome.HIT, NS + 3, 4.0,
        ),
    )  # fmt: skip
    alert = Alert(
        "rule", "gpu/g1", Severity.PAGE, AlertState.RESOLVED, NS, NS + 1, NS + 2, "sum", "why", "act", "book", 0.25,
        "peers", "2", (anomaly,), ("gpu/g1",), "silence s1",
    )  # fmt: skip
    return Incident(
        "id1", "Größe <b>", Severity.TICKET, IncidentState.RESOLVED, "gpu/g1", ("gpu/g1", "node/n1"), NS, NS + 1,
        NS + 2, "why", "do", ("r1", "r2"), 0.75, (alert,), (TimelineEntry(NS, "note", "hello", "ann"),), NS + 3, NS + 4,
        ResolveReason.PLANNED, Acknowledgement("ann", NS, NS + 9), "book", "maintenance", 4,
    )  # fmt: skip


def keys_of(document: Any, value: Any) -> None:
    """Check that every field of ``value``, at any depth, stands in ``document``."""
    if is_dataclass(value):
        missing = {field.name for field in fields(value)} - set(document)
        assert not missing, (
            f"{type(value).__name__} loses {missing}, or the test's example leaves them at their default"
        )
        for field in fields(value):
            keys_of(document[field.name], getattr(value, field.name))
    elif isinstance(value, tuple) and len(value) == len(document):
        for inner, item in zip(document, value, strict=True):
            keys_of(inner, item)


def test_every_field_at_every_depth_is_kept() -> None:
    document = json.loads(json.dumps(incident_to_json(whole())))
    keys_of(document, whole())
    assert incident_from_json(document) == whole()


@settings(derandomize=True, max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.parametrize("kind", [Window, Contribution, TimelineEntry, Acknowledgement, Series])
@given(st.data())
def test_any_part_comes_back_as_it_went(kind: Any, data: st.DataObject) -> None:
    value = data.draw(st.from_type(kind))
    document = json.dumps(encoder(kind)(value), allow_nan=False)
    back = decoder(kind)(json.loads(document))
    assert json.dumps(encoder(kind)(back)) == document
    assert back == value or "nan" in document  # NaN differs from itself


def test_numbers_that_json_lacks_come_back() -> None:
    for number in (math.nan, math.inf, -math.inf):
        text = json.dumps(incident_to_json(replace(whole(), confidence=number)), allow_nan=False)
        assert repr(incident_from_json(json.loads(text)).confidence) == repr(number)


def test_numpy_numbers_are_written_as_plain_ones() -> None:
    measured = replace(whole(), confidence=np.float32(0.5), started_at=np.int64(NS))  # type: ignore[arg-type]
    back = incident_from_json(json.loads(json.dumps(incident_to_json(measured))))
    assert (type(back.confidence), type(back.started_at)) == (float, int)
    assert back == whole().__class__(**{**_fields(whole()), "confidence": 0.5})


def _fields(incident: Incident) -> dict[str, Any]:
    return {field.name: getattr(incident, field.name) for field in fields(incident)}


def test_windows_can_be_left_out_and_put_back() -> None:
    light = incident_from_json(incident_to_json(whole(), windows=False))
    assert light == without_windows(whole())
    assert windows_of(light) == {}
    assert with_windows(light, windows_of(whole())) == whole()


@pytest.mark.parametrize("change", [{"colour": "red"}, {"severity": "urgent"}, {"reasons": None}, {"alerts": [1]}])
def test_what_cannot_be_read_is_said_and_not_guessed(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="incident id1 cannot be read"):
        incident_from_json({**incident_to_json(whole()), **change})


def test_a_type_without_a_json_form_is_refused_at_once() -> None:
    @dataclass
    class New:
        when: complex

    New.__annotations__["when"] = complex
    with pytest.raises(TypeError, match="complex"):
        encoder(New)
    with pytest.raises(TypeError, match="complex"):
        decoder(New)


def test_the_public_form_has_these_keys_and_readable_times() -> None:
    public = incident_to_public(whole())
    assert list(public) == [
        "id", "title", "severity", "state", "suspect", "entities", "started_at", "opened_at", "updated_at", "ended_at",
        "resolved_at", "resolve_reason", "reasons", "explanation", "recommended_action", "confidence", "runbook",
        "acknowledgement", "suppressed_by", "alerts", "timeline",
    ]  # fmt: skip
    assert public["started_at"] == "2026-09-21T14:13:20.123Z"
    assert public["timeline"] == [
        {"timestamp": "2026-09-21T14:13:20.123Z", "kind": "note", "text": "hello", "actor": "ann"}
    ]
    assert "anomalies" not in public["alerts"][0]
    bare = incident_to_public(
        replace(
            whole(), ended_at=None, resolved_at=None, resolve_reason=None, acknowledgement=None, confidence=math.nan
        )
    )
    nothing = ("ended_at", "resolved_at", "resolve_reason", "acknowledgement", "confidence")
    assert [bare[key] for key in nothing] == [None] * 5
    assert json.loads(json.dumps(public, allow_nan=False)) == public
