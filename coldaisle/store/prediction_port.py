"""What the platform asks of whoever keeps predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from coldaisle.prediction import Outcome, Prediction


@dataclass(frozen=True, slots=True)
class PredictionQuery:
    """Which predictions; an empty query means all. Times are Unix ns."""

    outcomes: tuple[Outcome, ...] = ()
    rule: str | None = None
    entity: str | None = None
    warned: bool | None = None  # only those of which people were told, or only the others
    made_since: int | None = None
    limit: int = 1000


class PredictionStore(Protocol):
    """Keeps predictions and what became of them."""

    def save_predictions(self, predictions: Sequence[Prediction]) -> None:
        """
        Write predictions; what is known already stays unless this says more (``newer``). Raises Transient.

        Writing one twice, or an older word of it after a newer one, changes nothing.
        """
        ...

    def predictions(self, query: PredictionQuery) -> list[Prediction]:
        """Return predictions, the one made last first. Raises Transient."""
        ...


def means(query: PredictionQuery, prediction: Prediction) -> bool:
    """Return whether ``query`` means ``prediction``; its limit aside."""
    return (
        (not query.outcomes or prediction.outcome in query.outcomes)
        and query.rule in (None, prediction.rule)
        and query.entity in (None, prediction.entity)
        and query.warned in (None, prediction.warned_at is not None)
        and (query.made_since is None or prediction.made_at >= query.made_since)
    )
