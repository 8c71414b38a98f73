"""The API's predictions: what is expected to fail, and how earlier ones fared."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from coldaisle.prediction import Outcome
from coldaisle.prediction_public import prediction_to_public, scores_to_public
from coldaisle.store.prediction_port import PredictionQuery
from dashboard import filters
from dashboard.api_bodies import MOST_ROWS, Moment, Text
from dashboard.reader import Reader

MOST_SCORED = 100_000


def predictions(reader: Reader) -> APIRouter:
    """Return the routes under ``/predictions``."""
    router = APIRouter()
    store = reader.backends.incidents

    @router.get("/predictions", summary="What is expected to fail, and what became of it; the newest first")
    def find(
        outcome: Annotated[list[Outcome] | None, Query(max_length=4)] = None,
        rule: Text = None,
        entity: Text = None,
        warned: bool | None = None,
        start: Moment = None,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 100,
    ) -> dict[str, Any]:
        since = filters.instant(start, "start")
        asked = PredictionQuery(tuple(outcome or ()), rule, entity, warned, since, limit)
        return {"predictions": [prediction_to_public(one) for one in store.predictions(asked)]}

    @router.get("/predictions/score", summary="Of how many settled predictions how many came true, and how long before")
    def fared(rule: Text = None, start: Moment = None) -> dict[str, Any]:
        asked = PredictionQuery(rule=rule, made_since=filters.instant(start, "start"), limit=MOST_SCORED)
        return scores_to_public(store.predictions(asked))

    return router
