"""Predictions as rows of the incident store's database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from coldaisle.prediction import Outcome, Prediction
from coldaisle.store.dataclass_json import decoder, encoder
from coldaisle.store.prediction_port import PredictionQuery
from coldaisle.store.schema import PREDICTIONS


def write_predictions(connection: Connection, predictions: Sequence[Prediction]) -> None:
    """Write predictions in the caller's transaction; what is known stays unless this says more."""
    if not predictions:
        return
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    new = dialect.insert(PREDICTIONS)
    table, told = PREDICTIONS.c, new.excluded
    opened = Outcome.OPEN.value
    # The same as coldaisle.prediction.newer: a settled one stays settled, else the later word holds.
    more = or_(
        and_(table.outcome == opened, told.outcome != opened),
        and_((table.outcome == opened) == (told.outcome == opened), told.updated_at > table.updated_at),
    )
    values = {column.name: told[column.name] for column in PREDICTIONS.columns if column.name != "id"}
    statement = new.on_conflict_do_update(index_elements=["id"], set_=values, where=more)
    # One by one: the same prediction may be told of twice in one round.
    for prediction in predictions:
        connection.execute(statement, [_row(prediction)])


def read_predictions(connection: Connection, query: PredictionQuery) -> list[Prediction]:
    """Return what ``query`` means, the one made last first."""
    table = PREDICTIONS.c
    asked = select(table.document).order_by(table.made_at.desc(), table.id).limit(query.limit)
    if query.outcomes:
        asked = asked.where(table.outcome.in_([outcome.value for outcome in query.outcomes]))
    if query.rule is not None:
        asked = asked.where(table.rule == query.rule)
    if query.entity is not None:
        asked = asked.where(table.entity == query.entity)
    if query.warned is not None:
        asked = asked.where(table.warned_at.is_not(None) if query.warned else table.warned_at.is_(None))
    if query.made_since is not None:
        asked = asked.where(table.made_at >= query.made_since)
    return [_prediction(document) for document in connection.execute(asked).scalars()]


def _row(prediction: Prediction) -> dict[str, Any]:
    return {
        "id": prediction.id,
        "rule": prediction.rule,
        "entity": prediction.entity,
        "outcome": prediction.outcome.value,
        "made_at": int(prediction.made_at),
        "warned_at": None if prediction.warned_at is None else int(prediction.warned_at),
        "updated_at": int(prediction.updated_at),
        "document": json.dumps(encoder(Prediction)(prediction), ensure_ascii=False),
    }


def _prediction(document: str) -> Prediction:
    prediction: Prediction = decoder(Prediction)(json.loads(document))
    return prediction
