from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldaisle.anomaly import Anomaly, Contribution, Phase, Window
from coldaisle.codec import (
    anomaly_from_json,
    anomaly_to_json,
    decode_anomaly,
    decode_event,
    encode_anomaly,
    encode_event,
)
from coldaisle.errors import Permanent
from coldaisle.event import Event
from coldaisle.series import Series, labels_of
from coldaisle.severity import Severity

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TIME = st.integers(-(2**63), 2**63 - 1)
NUMBER = st.floats(allow_nan=False)
MAYBE = st.none() | NUMBER
LINE = st.lists(MAYBE, max_size=3).map(tuple)
LABELS = st.dictionaries(TEXT, TEXT, max_size=3).map(lambda pairs: labels_of(pairs.items()))
EVENTS = st.builds(Event, TEXT, TEXT, TIME, LABELS, TEXT, st.dictionaries(TEXT, TEXT, max_size=3))
WINDOWS = st.builds(
    Window, TEXT, TEXT, st.lists(TIME, max_size=3).map(tuple), LINE, LINE, LINE, LINE,
    st.dictionaries(TEXT, LINE, max_size=2), MAYBE,
)  # fmt: skip
ANOMALIES = st.builds(
    Anomaly,
    id=TEXT, phase=st.sampled_from(Phase), rule=TEXT, detector=TEXT, version=TEXT, severity=st.sampled_from(Severity),
    entity=TEXT, started_at=TIME, updated_at=TIME, score=NUMBER, explanation=TEXT, ended_at=st.none() | TIME,
    series=st.none() | st.builds(Series, TEXT, LABELS), observed=MAYBE, expected=MAYBE, low=MAYBE, high=MAYBE,
    tail_probability=MAYBE, peers=st.lists(TEXT, max_size=2).map(tuple), members=st.lists(TEXT, max_size=2).map(tuple),
    contributions=st.lists(st.builds(Contribution, TEXT, TEXT, NUMBER, MAYBE, MAYBE), max_size=2).map(tuple),
    summary=TEXT, action=TEXT, runbook=TEXT, window=st.none() | WINDOWS,
)  # fmt: skip


@settings(derandomize=True, max_examples=60, deadline=None)
@given(EVENTS)
def test_an_event_survives_the_wire(event: Event) -> None:
    assert decode_event(encode_event(event)) == event


@settings(derandomize=True, max_examples=60, deadline=None)
@given(ANOMALIES)
def test_an_anomaly_survives_the_wire_with_every_field(anomaly: Anomaly) -> None:
    assert decode_anomaly(encode_anomaly(anomaly)) == anomaly


def an_anomaly(**changes: Any) -> dict[str, Any]:
    window = Window("m", "watts", (1,), (None,))
    plain = Anomaly("i", Phase.OPENED, "r", "level", "1", Severity.PAGE, "node/a", 1, 2, 0.5, "x", window=window)
    return {**anomaly_to_json(plain), **changes}


def test_what_is_not_finite_is_kept_in_valid_json() -> None:
    found = anomaly_from_json(json.loads(json.dumps(an_anomaly(observed="NaN", low="-Infinity"), allow_nan=False)))
    assert found.observed is not None
    assert math.isnan(found.observed)
    assert found.low == -math.inf


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 2}, "version 2"),
        ({"phase": "begun"}, "phase: 'begun' is not known"),
        ({"score": "high"}, "score: is 'high'; expected a number"),
        ({"score": True}, "score"),
        ({"started_at": 1.5}, "started_at: is 1.5; expected an integer"),
        ({"entity": None}, "entity: is None; expected a text"),
        ({"peers": "node/b"}, "peers"),
        ({"series": ["m"]}, "series"),
        ({"window": {"metric": "m"}}, "window: lacks 'unit'"),
        ({"contributions": [3]}, "contribution: is 3; expected a JSON object"),
    ],
    ids=str,
)
def test_a_malformed_anomaly_names_the_field(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Permanent, match=reason):
        anomaly_from_json(an_anomaly(**changes))


@settings(derandomize=True, max_examples=80, deadline=None)
@given(st.binary(max_size=40) | st.integers(0, 200).map(lambda n: json.dumps(an_anomaly()).encode()[:n]))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    for decode in (decode_event, decode_anomaly):
        with pytest.raises(Permanent):
            decode(data)
