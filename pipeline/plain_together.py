"""Stands in for the isolation forest in examples of rules."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from coldaisle.entity_detector import EntityRows
from coldaisle.state import State


class PlainTogether:
    """As strange as the second most unusual metric of an entity, so that one alone is not."""

    name = "isolation_forest"

    def model_of(self, kind: str) -> str:
        """Examples begin with a model."""
        return "example"

    def score(self, rows: EntityRows) -> NDArray[np.float64]:
        """Return how many spreads the second furthest metric is away; detectors of one metric count as one."""
        far = self._far(rows)
        return np.asarray(np.sort(far, axis=1)[:, -2] if far.shape[1] > 1 else np.zeros(len(far)))

    def reasons(self, rows: EntityRows) -> NDArray[np.float64]:
        """Return shares that are as the distances."""
        far = np.abs(np.nan_to_num(rows.values)).astype(np.float64)
        total = np.maximum(far.sum(axis=1, keepdims=True), 1e-9)
        return np.asarray(far / total)

    def learn(self, rows: EntityRows, at: int) -> None:
        """Nothing is learnt."""

    def move(self, at: int) -> bool:
        """Nothing changes."""
        return False

    def state(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, state: State) -> None:
        """Nothing."""

    @staticmethod
    def _far(rows: EntityRows) -> NDArray[np.float64]:
        metrics = [feature.partition("/")[0] for feature in rows.features]
        far = np.abs(np.nan_to_num(rows.values)).astype(np.float64)
        columns = [far[:, [name == metric for name in metrics]].max(axis=1) for metric in dict.fromkeys(metrics)]
        return np.stack(columns, axis=1)
