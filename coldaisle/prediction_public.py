"""Predictions as the API and ``--json`` tell them: times in RFC 3339, spans in seconds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coldaisle.clock import rfc3339
from coldaisle.prediction import Prediction, Score, by_rule, calibration, likely_at, score


def prediction_to_public(prediction: Prediction) -> dict[str, Any]:
    """Return one prediction as a JSON object."""
    p = prediction
    return {
        "id": p.id,
        "rule": p.rule,
        "entity": p.entity,
        "what": p.what,
        "probability": p.probability,
        "latest_probability": p.latest,
        "made_at": rfc3339(p.made_at),
        "warned_at": None if p.warned_at is None else rfc3339(p.warned_at),
        "likely_at": rfc3339(likely_at(p)),
        "settles_at": rfc3339(p.settles_at),
        "within_seconds": {"low": p.within.low, "median": p.within.median, "high": p.within.high},
        "reasons": [
            {
                "metric": reason.metric,
                "text": reason.text,
                "weight": reason.weight,
                "value": reason.value,
                "since": None if reason.since is None else rfc3339(reason.since),
                "limit": reason.limit,
            }
            for reason in p.reasons
        ],
        "model": p.model,
        "model_version": p.version,
        "outcome": p.outcome.value,
        "settled_at": None if p.settled_at is None else rfc3339(p.settled_at),
        "lead_seconds": p.lead_seconds,
    }


def scores_to_public(predictions: Iterable[Prediction]) -> dict[str, Any]:
    """Return how predictions fared: all, those that people were told of, by rule, and stated beside come true."""
    every = list(predictions)
    told = [one for one in every if one.warned_at is not None]
    return {
        "all": _score(score(every)),
        "warnings": _score(score(told)),
        "by_rule": {rule: _score(fared) for rule, fared in by_rule(told).items()},
        "calibration": [
            {
                "stated_from": bin_.low,
                "stated_to": bin_.high,
                "settled": bin_.settled,
                "stated": bin_.stated,
                "came_true": bin_.came_true,
            }
            for bin_ in calibration(every)
        ],
    }


def _score(fared: Score) -> dict[str, Any]:
    return {
        "made": fared.made,
        "open": fared.open,
        "hits": fared.hits,
        "misses": fared.misses,
        "withdrawn": fared.withdrawn,
        "stated": fared.stated,
        "precision": fared.precision,
        "median_lead_seconds": fared.median_lead_seconds,
    }
