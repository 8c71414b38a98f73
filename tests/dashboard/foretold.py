"""Predictions for the example hall: three open, a history of forty that mostly came true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from coldaisle.clock import HOUR, MINUTE, SECOND
from coldaisle.prediction import Outcome, Prediction, Reason, Within, prediction_id
from tests.dashboard.hall import NOW

_WORDS = {
    "gpu_memory_fails": "uncorrectable memory error",
    "port_fails": "link goes down or becomes useless",
    "fan_fails": "fan falls below six tenths of its siblings' speed",
}


def prediction(rule: str, entity: str, made_at: int, probability: float, warned: bool = True) -> Prediction:
    """Return an open prediction."""
    return Prediction(
        id=prediction_id(rule, entity, made_at),
        rule=rule,
        entity=entity,
        what=_WORDS[rule],
        probability=probability,
        within=Within(300.0, 1800.0, 7200.0),
        made_at=made_at,
        settles_at=made_at + 7200 * SECOND,
        updated_at=made_at,
        latest=probability,
        reasons=(
            Reason(
                "gpu_ecc_corrected_errors_total",
                "48 corrected memory errors in 10 min, the first at 02:14:00 UTC",
                5.4, 48.0, made_at - 12 * MINUTE,
            ),
            Reason("gpu_remapped_rows_uncorrectable", "3 rows remapped within an hour", 4.0, 3.0),
        ),
        model="early_warning",
        version="1",
        warned_at=made_at if warned else None,
    )  # fmt: skip


def approaching(node: str = "n033", probability: float = 0.86, limit: float = 32.0) -> Prediction:
    """Return an open prediction that a node's inlet air passes a limit."""
    made = NOW - 4 * MINUTE
    text = "node inlet temperature is 28.6 °C and rises by 5.2 °C an hour; the limit is 32 °C"
    return replace(
        prediction("fan_fails", f"node/{node}", made, probability),
        id=prediction_id("node_inlet_warm", f"node/{node}", made),
        rule="node_inlet_warm",
        what="node inlet temperature passes 32 °C",
        within=Within(1500.0, 2400.0, 3600.0),
        settles_at=made + 3600 * SECOND,
        reasons=(Reason("node_inlet_temperature_celsius", text, 1.8, 28.6, limit=limit),),
        model="limit_warning",
    )


def predictions() -> Iterator[Prediction]:
    """Yield what is open, then what is settled."""
    yield prediction("gpu_memory_fails", "gpu/n103-gpu5", NOW - 6 * MINUTE, 0.82)
    yield prediction("fan_fails", "node/n044", NOW - 31 * MINUTE, 0.96)
    yield prediction("gpu_memory_fails", "gpu/n017-gpu2", NOW - 2 * MINUTE, 0.61, warned=False)
    for number in range(40):
        rule = list(_WORDS)[number % 3]
        made = NOW - (number + 2) * 9 * HOUR
        one = prediction(rule, f"node/n{number + 1:03}", made, 0.65 if number % 8 == 5 else 0.87, number % 8 != 5)
        at = made + (14 + number % 30) * MINUTE
        if number % 13 == 7:
            yield replace(one, outcome=Outcome.MISS, settled_at=one.settles_at, updated_at=one.settles_at)
        elif number % 17 == 9:
            yield replace(one, outcome=Outcome.WITHDRAWN, settled_at=at, updated_at=at)
        else:
            lead = (at - made) / SECOND
            yield replace(one, outcome=Outcome.HIT, settled_at=at, updated_at=at, lead_seconds=lead)
