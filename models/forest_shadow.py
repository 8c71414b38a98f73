"""Scores a challenger in the champion's shadow: it is measured beside it, and decides nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coldaisle.entity_detector import EntityDetector, EntityRows
from coldaisle.selfstats import SelfStats
from coldaisle.state import State
from models.isolation_forest import KIND, Forest

STRANGE_SPREADS = 4.0
"""From here on a row stands clear of normal life, for whoever judges."""
ROWS, STRANGE, BOTH, FAILED = (
    "model_shadow_rows_total", "model_shadow_strange_total", "model_shadow_both_strange_total",
    "model_shadow_failures_total",
)  # fmt: skip
_LOG = logging.getLogger("coldaisle.models")


class Shadowed:
    """
    An :class:`~coldaisle.entity_detector.EntityDetector` that answers as ``champion`` does, and counts beside it.

    What is counted, by version: the rows of which both have an opinion, those that each finds strange, and those that
    both do. A challenger that fails is counted, told once, and asked no more; the champion never notices.
    """

    def __init__(self, champion: EntityDetector, challenger: Mapping[str, Forest], stats: SelfStats) -> None:
        self._champion, self._challenger, self._stats = champion, dict(challenger), stats
        stats.describe(ROWS, "counter", "Rows that champion and challenger both had an opinion of, by version.")
        stats.describe(STRANGE, "counter", "Of them, those that the version found strange.")
        stats.describe(BOTH, "counter", "Of them, those that both found strange.")
        stats.describe(FAILED, "counter", "Challengers that failed and are asked no more.")

    @property
    def name(self) -> str:
        """The champion's name."""
        return self._champion.name

    def model_of(self, kind: str) -> str:
        """Return the champion's version."""
        return self._champion.model_of(kind)

    def score(self, rows: EntityRows) -> NDArray[np.float64]:
        """Return what the champion thinks; the challenger is only counted."""
        decided = self._champion.score(rows)
        challenger = self._challenger.get(rows.kind)
        if challenger is not None:
            try:
                self._compare(rows, decided, challenger)
            except Exception:  # whatever a challenger does, the champion goes on
                _LOG.warning("model %s failed in the shadow; it is asked no more", challenger.version, exc_info=True)
                self._stats.add(FAILED, job=KIND, version=challenger.version)
                del self._challenger[rows.kind]
        return decided

    def reasons(self, rows: EntityRows) -> NDArray[np.float64]:
        """Return the champion's reasons."""
        return self._champion.reasons(rows)

    def learn(self, rows: EntityRows, at: int) -> None:
        """Let the champion learn; a challenger has learnt."""
        self._champion.learn(rows, at)

    def move(self, at: int) -> bool:
        """Let time pass for the champion."""
        return self._champion.move(at)

    def state(self) -> dict[str, Any]:
        """Return what the champion keeps: counts begin anew with each process."""
        return self._champion.state()

    def restore(self, state: State) -> None:
        """Give the champion back what it kept. Raises Permanent."""
        self._champion.restore(state)

    def _compare(self, rows: EntityRows, decided: NDArray[np.float64], challenger: Forest) -> None:
        tried = challenger.score(rows.features, rows.values)
        known = ~(np.isnan(decided) | np.isnan(tried))
        if not known.any():
            return
        mine, other = decided[known] >= STRANGE_SPREADS, tried[known] >= STRANGE_SPREADS
        for version, strange in ((self._champion.model_of(rows.kind), mine), (challenger.version, other)):
            self._stats.add(ROWS, int(known.sum()), job=KIND, version=version)
            self._stats.add(STRANGE, int(strange.sum()), job=KIND, version=version)
            self._stats.add(BOTH, int((mine & other).sum()), job=KIND, version=version)
