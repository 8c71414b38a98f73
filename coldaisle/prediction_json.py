"""Predictions between bytes and objects: what travels with a finding and stands in a snapshot."""

from __future__ import annotations

from typing import Any

from coldaisle.errors import Permanent
from coldaisle.json_fields import Fields, number_of, number_to_json
from coldaisle.prediction import Outcome, Prediction, Reason, Within


def prediction_to_json(prediction: Prediction) -> dict[str, Any]:
    """Return ``prediction`` as a JSON object; times are Unix nanoseconds, spans seconds."""
    p = prediction
    return {
        "id": p.id,
        "rule": p.rule,
        "entity": p.entity,
        "what": p.what,
        "probability": number_to_json(p.probability),
        "within_seconds": [number_to_json(seconds) for seconds in p.within],
        "made_at": p.made_at,
        "warned_at": p.warned_at,
        "settles_at": p.settles_at,
        "updated_at": p.updated_at,
        "latest": number_to_json(p.latest),
        "reasons": [
            {
                "metric": reason.metric,
                "text": reason.text,
                "weight": number_to_json(reason.weight),
                "value": number_to_json(reason.value),
                "since": reason.since,
                **({} if reason.limit is None else {"limit": number_to_json(reason.limit)}),
            }
            for reason in p.reasons
        ],
        "model": p.model,
        "model_version": p.version,
        "outcome": p.outcome.value,
        "settled_at": p.settled_at,
        "lead_seconds": number_to_json(p.lead_seconds),
    }


def prediction_from_json(document: Any) -> Prediction:
    """Return the prediction of :func:`prediction_to_json`. Raises Permanent that names the field."""
    read = Fields("prediction", document)
    within = read.line("within_seconds")
    if len(within) != 3:
        raise Permanent(f"prediction: within_seconds: has {len(within)} numbers; expected low, median and high")
    return Prediction(
        id=read.text("id"),
        rule=read.text("rule"),
        entity=read.text("entity"),
        what=read.text("what"),
        probability=read.number("probability"),
        within=Within(*(number_of(seconds, "prediction: within_seconds") for seconds in within)),
        made_at=read.integer("made_at"),
        warned_at=read.maybe_integer("warned_at"),
        settles_at=read.integer("settles_at"),
        updated_at=read.integer("updated_at"),
        latest=read.number("latest"),
        reasons=tuple(_reason_from_json(each) for each in read.items("reasons")),
        model=read.text("model"),
        version=read.text("model_version"),
        outcome=read.as_("outcome", Outcome),
        settled_at=read.maybe_integer("settled_at"),
        lead_seconds=read.maybe_number("lead_seconds"),
    )


def _reason_from_json(document: Any) -> Reason:
    read = Fields("prediction: reason", document)
    return Reason(
        metric=read.text("metric"),
        text=read.text("text"),
        weight=read.number("weight"),
        value=read.maybe_number("value"),
        since=read.maybe_integer("since"),
        limit=read.maybe_number("limit"),
    )
