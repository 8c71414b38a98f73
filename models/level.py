"""The level detector: how far a series stands from its own recent past."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Ids, Scores, Traits
from models.columns import Where, rows_in
from models.series_columns import SeriesColumns

SIGMA_OF_DEVIATION = 1.2533
"""sqrt(pi / 2): standard deviation of a Gaussian over its mean absolute deviation."""
CLIP = 3.0
"""Beyond so many spreads a sample pulls no harder: Huber (1964) has 1.35 for estimating, but a detector
must not shrink its own spread, and at 3 the loss under a Gaussian is 0.4 %."""
EARLY_CLIP = 6.0
"""The same while the spread itself is still young."""
NEVER_CHANGED = 10.0
"""What the first change of a series that stood still so far scores at most."""
FASTEST = 1.0 / 16.0
"""No sample weighs more than this after warm-up, however long the gap before it."""
RESOLUTION = 1e-6
"""Changes below this share of the value are rounding."""
CHUNK = 4096
"""Samples worked on at a time, so that the intermediate arrays stay in the processor's cache."""

Floats = NDArray[np.float64]


class _Judged(NamedTuple):
    score: Floats
    expected: Floats
    spread: Floats


class Level:
    """
    A robust, exponentially weighted mean and spread per series; the score is the signed distance in spreads.

    The mean forgets with ``half_life_seconds`` of event time, the mean absolute deviation with
    ``spread_half_life_seconds``, so irregular intervals are fine, and the usual size of changes is
    remembered for longer than where the series stood. Samples beyond three spreads pull no harder than
    at three, so an anomaly hardly teaches; one that stays on the same side for ``relearn_seconds`` is
    the new normal. The spread is at least half the smallest step ever seen, so that a quantised sensor
    does not explode, and a series that never changed scores at most 10. No opinion before ``warm_up``
    samples and ``warm_up_seconds``.
    """

    name = "level"
    version = "1"

    def __init__(
        self,
        half_life_seconds: float = 3600.0,
        spread_half_life_seconds: float = 86_400.0,
        warm_up: int = 32,
        warm_up_seconds: float = 0.0,
        relearn_seconds: float = 7200.0,
    ) -> None:
        self._tau_ns = half_life_seconds * SECOND / np.log(2.0)
        self._spread_share = half_life_seconds / spread_half_life_seconds
        self._warm_up = warm_up
        self._warm_up_ns = round(warm_up_seconds * SECOND)
        self._relearn_ns = relearn_seconds * SECOND
        self._memory = SeriesColumns({
            "mean": np.float64(0),
            "deviation": np.float64(0),  # mean absolute deviation from the mean
            "value": np.float64(0),  # the sample before
            "step": np.float64(0),  # smallest change seen, 0 = none yet
            "steps": np.int8(0),  # changes seen, counted to 4
            "count": np.float32(0),
            "since": np.int64(0),
            "seen": np.int64(0),
            "away": np.float64(0),  # ns spent beyond CLIP, signed by side
        })  # fmt: skip
        self._scored: tuple[Batch, Scores] | None = None

    def admit(self, ids: Ids, traits: Traits) -> None:
        """Make room; ids already known keep what was learnt, since peers do not matter here."""
        self._memory.admit(ids)

    def forget(self, ids: Ids) -> None:
        """Drop what was learnt of ``ids``."""
        self._memory.forget(ids)
        self._scored = None

    def accept(self, ids: Ids) -> None:
        """Learn the level of ``ids`` anew, silently, from their next sample on."""
        memory, rows = self._memory, self._memory.rows_of(ids)
        memory["count"][rows] = 0
        memory["away"][rows] = 0.0
        self._scored = None

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a snapshot keeps."""
        return self._memory.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``state`` returned."""
        self._memory.restore(state)
        self._scored = None

    def score(self, batch: Batch) -> Scores:
        """Return signed distances in spreads; the expected value is the mean. Raises IndexError if not admitted."""
        size = len(batch.ids)
        scores = Scores(np.empty(size), np.empty(size), np.empty(size))
        for part, where in self._parts(batch.ids):
            judged = self._judge(where, batch.values[part])
            silent = self._memory["count"][where] < self._warm_up
            if self._warm_up_ns > 0:
                silent |= batch.timestamps[part] - self._memory["since"][where] < self._warm_up_ns
            judged.score[silent] = np.nan
            scores.score[part], scores.expected[part], scores.spread[part] = judged
        self._scored = batch, scores
        return scores

    def learn(self, batch: Batch, weight: Floats) -> None:
        """Move mean and spread towards the batch, each sample by at most what three spreads would."""
        known = self._scored[1] if self._scored is not None and self._scored[0] is batch else None
        for part, where in self._parts(batch.ids):
            spread = self._judge(where, batch.values[part]).spread if known is None else known.spread[part]
            self._learn(where, batch.timestamps[part], batch.values[part], spread, weight[part])
        self._scored = None

    def _parts(self, ids: Ids) -> Iterator[tuple[slice, Where]]:
        for start in range(0, len(ids), CHUNK):
            part = slice(start, min(start + CHUNK, len(ids)))
            yield part, self._memory.where(ids[part])

    def _judge(self, where: Where, values: Floats) -> _Judged:
        memory = self._memory
        mean = memory["mean"][where]
        step = memory["step"][where]
        spread = memory["deviation"][where] * SIGMA_OF_DEVIATION
        # One change may have been the fault itself; only after some does the step tell the sensor's resolution.
        grain = np.where(memory["steps"][where] > 2, 0.5, 1.0 / NEVER_CHANGED)
        np.maximum(spread, np.multiply(grain, step, out=grain), out=spread)
        np.maximum(spread, np.abs(mean) * RESOLUTION, out=spread)
        distance = values - mean
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            score = distance / spread
        score[distance == 0] = 0.0
        still = step == 0
        if still.any():
            np.clip(score, -NEVER_CHANGED, NEVER_CHANGED, out=score, where=still)
        return _Judged(score, np.array(mean), spread)

    def _learn(
        self, where: Where, timestamps: NDArray[np.int64], values: Floats, spread: Floats, weight: Floats
    ) -> None:
        memory = self._memory
        taught = weight > 0
        if not taught.all():
            if not taught.any():
                return
            rows = rows_in(where)
            where, timestamps, values = rows[taught], timestamps[taught], values[taught]
            spread, weight = spread[taught], weight[taught]
        mean = memory["mean"][where]
        distance = values - mean
        count = memory["count"][where]
        first = count == 0
        elapsed = np.maximum(timestamps - memory["seen"][where], 0).astype(np.float64)
        elapsed[first] = 0.0
        pull = np.float32(-1.0 / self._tau_ns) * elapsed.astype(np.float32)
        np.minimum(-np.expm1(pull, out=pull), np.float32(FASTEST), out=pull)
        young = 1.0 / (count + 1.0)
        spread_rate = np.maximum(pull * self._spread_share, young) * weight
        rate = np.maximum(pull, young) * weight

        limit = CLIP * spread
        beyond = np.abs(distance) > limit
        before = memory["away"][where]
        some = np.flatnonzero(beyond | (before != 0.0))
        early = count < self._warm_up
        if early.any():
            limit = np.where(early, EARLY_CLIP, CLIP) * spread
            limit[count < 8] = np.inf
        held = np.clip(distance, -limit, limit)
        deviation = memory["deviation"][where]
        deviation = deviation + spread_rate * (np.abs(held) - deviation)
        if len(some):
            side, far = distance[some], beyond[some]
            stays = far & (np.sign(side) * before[some] >= 0)
            away = np.where(stays, before[some] + np.copysign(elapsed[some], side), 0.0)
            lasting = some[np.abs(away) >= self._relearn_ns]
            rate[lasting] = np.maximum(rate[lasting], FASTEST)
            held[lasting] = distance[lasting]
            rows = rows_in(where)
            memory["away"][rows[some]] = away
        self._learn_step(where, values, first)
        memory["mean"][where] = mean + rate * held
        memory["deviation"][where] = deviation
        memory["value"][where] = values
        memory["seen"][where] = timestamps
        memory["count"][where] = count + 1
        if first.any():
            rows = rows_in(where)
            memory["mean"][rows[first]] = values[first]
            memory["deviation"][rows[first]] = 0.0
            memory["since"][rows[first]] = timestamps[first]

    def _learn_step(self, where: Where, values: Floats, first: NDArray[np.bool_]) -> None:
        memory = self._memory
        change = np.abs(values - memory["value"][where])
        moved = (change > RESOLUTION * np.abs(values)) & ~first
        step = memory["step"][where]
        smaller = moved & ((change < step) | (step == 0))
        if smaller.any():
            memory["step"][where] = np.where(smaller, change, step)
        memory["steps"][where] = np.minimum(memory["steps"][where] + moved, 4)
