"""A prediction travels with its finding and comes back whole; what is no prediction is refused by its field."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldaisle.anomaly import Anomaly, Phase
from coldaisle.codec import anomaly_to_json, decode_anomaly, encode_anomaly
from coldaisle.errors import Permanent
from coldaisle.prediction import Outcome, Prediction, Reason, Within, newer, prediction_id
from coldaisle.prediction_json import prediction_from_json, prediction_to_json
from coldaisle.severity import Severity

TIMES = st.integers(0, 2**62)
SHARES = st.floats(0, 1)
REASONS = st.builds(
    Reason, st.text(max_size=20), st.text(max_size=40), st.floats(-20, 20), st.none() | SHARES, st.none() | TIMES
)
PREDICTIONS = st.builds(
    Prediction,
    id=st.text("0123456789abcdef", min_size=16, max_size=16),
    rule=st.text(max_size=20),
    entity=st.text(max_size=20),
    what=st.text(max_size=20),
    probability=SHARES,
    within=st.builds(Within, *[st.floats(0, 1e6)] * 3),
    made_at=TIMES,
    settles_at=TIMES,
    updated_at=TIMES,
    latest=SHARES,
    reasons=st.lists(REASONS, max_size=3).map(tuple),
    model=st.text(max_size=10),
    version=st.text(max_size=10),
    warned_at=st.none() | TIMES,
    outcome=st.sampled_from(Outcome),
    settled_at=st.none() | TIMES,
    lead_seconds=st.none() | st.floats(0, 1e6),
)


def finding(prediction: Prediction | None) -> Anomaly:
    return Anomaly(
        "f" * 16, Phase.OPENED, "gpu_memory_fails_soon", "early_warning", "1", Severity.TICKET, "gpu/GPU-1", 1, 1, 0.8,
        "Likely to fail within 2 h.", prediction=prediction,
    )  # fmt: skip


@settings(derandomize=True, max_examples=60, deadline=None)
@given(PREDICTIONS)
def test_a_prediction_comes_back_whole_with_its_finding(prediction: Prediction) -> None:
    assert decode_anomaly(encode_anomaly(finding(prediction))) == finding(prediction)


def test_a_finding_that_foretells_nothing_is_written_as_it_always_was() -> None:
    assert "prediction" not in anomaly_to_json(finding(None))


def example() -> Prediction:
    made = 1_800_000_000_000_000_000
    return Prediction(
        prediction_id("fan_fails", "node/n1", made), "fan_fails", "node/n1", "fan fails", 0.8, Within(1.0, 2.0, 3.0),
        made, made + 3, made, 0.8,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [("outcome", "soon"), ("within_seconds", [1, 2]), ("made_at", "now"), ("reasons", [{}]), ("probability", None)],
)
def test_what_is_no_prediction_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(Permanent, match=r"prediction"):
        prediction_from_json({**prediction_to_json(example()), field: value})


def test_the_same_prediction_has_the_same_id_and_another_has_not() -> None:
    assert prediction_id("a", "node/n1", 1) == prediction_id("a", "node/n1", 1)
    assert len({prediction_id("a", "node/n1", 1), prediction_id("b", "node/n1", 1), prediction_id("a", "n", 1)}) == 3


def test_a_later_word_is_newer_and_a_settled_one_is_the_last() -> None:
    one = example()
    hit = replace(one, outcome=Outcome.HIT, settled_at=one.made_at + 1, updated_at=one.made_at + 1)
    later = replace(one, updated_at=one.made_at + 5)
    assert newer(None, one)
    assert newer(one, later)
    assert not newer(later, one)
    assert newer(later, hit)
    assert not newer(hit, later)
    assert not newer(hit, hit)
