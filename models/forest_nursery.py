"""Serves the trained forests of every kind of entity, and grows those that nobody has trained yet."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import DAY, HOUR, SECOND
from coldaisle.entity_detector import EntityRows
from coldaisle.errors import ConfigError, Permanent
from coldaisle.state import Kept, State, nested
from models.forest_reservoir import Reservoir
from models.forest_trees import Trees, trees_of
from models.isolation_forest import FEWEST_ROWS, KIND, Fit, Forest, train_forest

GROW_AFTER_NS = (HOUR, 4 * HOUR, DAY)
"""How long a kind of entity must have lived normally before its first forest, its second and its last are grown."""
READY_NS = 60 * SECOND
"""Event time between the sample being taken and the forest being believed: growing takes well under a second."""


class _Growing(NamedTuple):
    features: tuple[str, ...]
    rows: NDArray[np.float32]
    due: int  # event time, Unix ns
    fitted: Future[Fit | None]


class Forests:
    """
    The isolation forest as an :class:`~coldaisle.entity_detector.EntityDetector`.

    A kind with a ``trained`` forest is scored by it. For another one a sample of rows of normal life is kept, and
    forests are grown from it after an hour, four hours and a day; until the first there is no opinion.
    They grow in a thread of their own and are believed from an event time on that is known beforehand, so
    that scoring never waits for one while life goes on, and every run has the same forest at the same time.
    """

    name = KIND

    def __init__(self, trained: Mapping[str, Forest] | None = None, seed: int = 0) -> None:
        self._trained = dict(trained or {})
        self._forests = dict(self._trained)
        self._seed = seed
        self._samples: dict[str, Reservoir] = {}
        self._growing: dict[str, _Growing] = {}
        self._grown: dict[str, int] = {}  # how many forests a kind has had

    def model_of(self, kind: str) -> str:
        """Return the version of the model that scores ``kind``; empty = there is none (yet)."""
        forest = self._forests.get(kind)
        return "" if forest is None else forest.version

    def score(self, rows: EntityRows) -> NDArray[np.float64]:
        """Return how strange each row is, [n], in spreads of normal life; NaN = no opinion. Pure."""
        forest = self._forests.get(rows.kind)
        if forest is None:
            return np.full(len(rows.values), np.nan)
        return forest.score(rows.features, rows.values)

    def reasons(self, rows: EntityRows) -> NDArray[np.float64]:
        """Return the share of each feature in the strangeness of each row, [n, f]."""
        forest = self._forests.get(rows.kind)
        return np.zeros(rows.values.shape) if forest is None else forest.reasons(rows.features, rows.values)

    def learn(self, rows: EntityRows, at: int) -> None:
        """Take note of rows of normal life, as long as there is a forest still to be grown from them."""
        kind = rows.kind
        if kind in self._trained or self._grown.get(kind, 0) >= len(GROW_AFTER_NS):
            return
        sample = self._samples.get(kind)
        if sample is None:
            sample = self._samples[kind] = Reservoir(self._seed)
        sample.take(rows.features, rows.values, at)
        after = GROW_AFTER_NS[self._grown.get(kind, 0)]
        if kind not in self._growing and len(sample.rows) >= FEWEST_ROWS and at - sample.since >= after:
            self._growing[kind] = self._grow(sample.features, sample.rows.copy(), at + READY_NS)

    def move(self, at: int) -> bool:
        """Believe the forests that are due at event time ``at``; return whether there were any."""
        changed = False
        for kind in sorted(kind for kind, growing in self._growing.items() if growing.due <= at):
            fitted = self._growing.pop(kind).fitted.result()
            self._grown[kind] = number = self._grown.get(kind, 0) + 1
            if fitted is not None:
                self._forests[kind] = Forest(fitted, f"grown-{number}")
                changed = True
            if number >= len(GROW_AFTER_NS):
                del self._samples[kind]
        return changed

    def state(self) -> dict[str, Any]:
        """Return what a snapshot keeps: what was grown and from what; what was trained lies in its artefact."""
        state: dict[str, Any] = {
            "grown": sorted(self._grown.items()),
            "samples": sorted(self._samples),
            "growing": [[kind, list(each.features), each.due] for kind, each in sorted(self._growing.items())],
            "forests": [
                [kind, each.version, list(each.fit.features), each.fit.usual, each.fit.spread]
                for kind, each in sorted(self._forests.items())
                if kind not in self._trained
            ],
        }
        for kind, sample in self._samples.items():
            state |= nested(f"sample/{kind}", sample.state())
        for kind, growing in self._growing.items():
            state[f"growing/{kind}"] = growing.rows
        for kind, *_ in state["forests"]:
            state |= nested(f"forest/{kind}", self._forests[kind].fit.trees.arrays())
        return state

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned, but nothing of kinds that have been trained since. Raises Permanent."""
        kept = Kept(state)
        self._forests, self._samples, self._growing = dict(self._trained), {}, {}
        self._grown = {kind: number for kind, number in kept.rows("grown", str, int) if kind not in self._trained}
        for kind in kept.items("samples"):
            if kind not in self._trained:
                self._samples[kind] = Reservoir(self._seed)
                self._samples[kind].restore(kept.within(f"sample/{kind}").state)
        for kind, features, due in kept.rows("growing", str, list, int):
            if kind not in self._trained:
                rows = kept.array(f"growing/{kind}", np.float32, None, len(features))
                self._growing[kind] = self._grow(tuple(features), rows, due)
        for kind, version, features, usual, spread in kept.rows("forests", str, str, list, float, float):
            if kind not in self._trained:
                trees = _kept_trees(kept.within(f"forest/{kind}").state, len(features))
                self._forests[kind] = Forest(Fit(tuple(features), trees, usual, spread), version)

    def _grow(self, features: tuple[str, ...], rows: NDArray[np.float32], due: int) -> _Growing:
        worker = ThreadPoolExecutor(1, thread_name_prefix="forest")
        fitted = worker.submit(_fitted, features, rows, self._seed)
        worker.shutdown(wait=False)  # it ends by itself, with its one forest
        return _Growing(features, rows, due, fitted)


def _kept_trees(state: State, features: int) -> Trees:
    try:
        return trees_of(state, features)
    except ConfigError as error:
        raise Permanent(str(error)) from error


def _fitted(features: tuple[str, ...], rows: NDArray[np.float32], seed: int) -> Fit | None:
    """Return a forest; None where too few features are known often enough to make one."""
    try:
        return train_forest(rows, features, seed)
    except ConfigError:
        return None
