"""An even sample of the rows of normal life seen so far, of fixed size and the same in every run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coldaisle.state import Kept, State

ROWS = 4096
"""Sixteen times what a tree looks at: the trees of a forest then share few rows."""
_MOST_AT_ONCE = 256


class Reservoir:
    """
    Keeps ``ROWS`` of the rows shown, each with equal probability (Vitter 1985, algorithm R).

    Chance comes from the seed and from how often it was asked, so that what is kept depends on what was shown only.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.features: tuple[str, ...] = ()
        self._rows = np.zeros((0, 0), np.float32)
        self._calls = 0
        self._seen = 0
        self.since = 0  # event time of the first row, Unix ns

    @property
    def rows(self) -> NDArray[np.float32]:
        """What is kept, [n, f]."""
        return self._rows

    def take(self, features: tuple[str, ...], values: NDArray[np.float32], at: int) -> None:
        """Take note of rows at event time ``at``; features that were not known before begin a new sample."""
        if features != self.features:
            known = {name: number for number, name in enumerate(self.features)}
            kept = np.full((len(self._rows), len(features)), np.nan, np.float32)
            for number, name in enumerate(features):
                if name in known:
                    kept[:, number] = self._rows[:, known[name]]
            self.features, self._rows = features, kept
        if not len(values):
            return
        random = np.random.default_rng((self._seed, self._calls))
        self._calls += 1
        if len(values) > _MOST_AT_ONCE:
            values = values[np.sort(random.choice(len(values), _MOST_AT_ONCE, replace=False))]
        self.since = self.since or at
        free = min(ROWS - len(self._rows), len(values))
        if free > 0:
            self._rows = np.concatenate([self._rows, values[:free]])
        rest = values[max(free, 0) :]
        if len(rest):
            turn = self._seen + (len(values) - len(rest)) + np.arange(len(rest))
            place = (random.random(len(rest)) * (turn + 1)).astype(np.int64)
            for number in np.flatnonzero(place < ROWS).tolist():
                self._rows[place[number]] = rest[number]
        self._seen += len(values)

    def state(self) -> State:
        """Return what a snapshot keeps."""
        return {
            "features": list(self.features), "rows": self._rows.copy(), "calls": self._calls, "seen": self._seen,
            "since": self.since,
        }  # fmt: skip

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept = Kept(state)
        self.features = tuple(str(each) for each in kept.items("features"))
        self._rows = kept.array("rows", np.float32, None, len(self.features))
        self._calls, self._seen, self.since = kept.integer("calls"), kept.integer("seen"), kept.integer("since")
