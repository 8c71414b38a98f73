"""The peers detector: how far a member stands from its siblings under the same work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Ids, Scores, Traits
from models.columns import Where, rows_in
from models.level import CLIP, FASTEST, NEVER_CHANGED, RESOLUTION, SIGMA_OF_DEVIATION
from models.peer_plan import GroupedMemory, Part

SIGMA_OF_MAD = 1.4826
"""Standard deviation of a Gaussian over its median absolute deviation (Rousseeuw and Croux 1993)."""

Floats = NDArray[np.float64]


class PeersSettings(NamedTuple):
    """How the peers detector remembers and when it speaks."""

    half_life_seconds: float = 21_600.0  # of a member's own offset and spread
    smooth_seconds: float = 120.0  # over which a small lasting residual adds up
    warm_up: int = 32  # samples
    warm_up_seconds: float = 0.0
    minimum: int = 3  # members present; with two nobody can tell which is odd


class _Judged(NamedTuple):
    """About the samples of a part."""

    timestamps: NDArray[np.int64]
    values: Floats
    residual: Floats
    expected: Floats
    spread: Floats
    smooth: Floats
    elapsed: Floats  # ns since the sample before; 0 = it is the first
    score: Floats

    def of(self, which: NDArray[np.bool_]) -> _Judged:
        """Return some of the samples."""
        timestamps, *floats = self
        return _Judged(timestamps[which], *(column[which] for column in floats))


class Peers:
    """
    Compares each member of a group with the others at the same instant.

    Every member has an offset of its own (a GPU that always runs 3 degrees hotter is normal). The group's
    centre is the median of what its present members say less their offsets, so members that come and go
    do not move it; a member's residual is what is left. The score is the greater of two, in spreads: the
    residual itself, and the residual smoothed over ``smooth_seconds`` against what its smoothed self
    used to be (an EWMA chart, Roberts 1959), which finds small lasting differences within minutes. A
    move of the whole group gives no score. A member that changes its group warms up anew.
    """

    name = "peers"
    version = "1"

    def __init__(self, settings: PeersSettings = PeersSettings()) -> None:  # noqa: B008
        self._settings = settings
        self._tau_ns = settings.half_life_seconds * SECOND / np.log(2.0)
        self._smooth_ns = settings.smooth_seconds * SECOND
        self._warm_up_ns = round(settings.warm_up_seconds * SECOND)
        columns = {
            "offset": np.float64(0),
            "deviation": np.float64(0),  # mean absolute residual
            "smooth": np.float64(0),  # the residual, smoothed
            "wander": np.float64(0),  # mean absolute smoothed residual
            "value": np.float64(0),
            "step": np.float64(0),  # smallest change seen, 0 = none yet
            "steps": np.int8(0),
            "count": np.float32(0),
            "since": np.int64(0),
            "seen": np.int64(0),
        }
        self._memory = GroupedMemory(columns, settings.minimum)
        self._judged: tuple[Batch, list[_Judged]] | None = None

    def admit(self, ids: Ids, traits: Traits) -> None:
        """Make room, and let those whose group has changed learn their offset anew, silently."""
        rows = self._memory.admit(ids, traits)
        self._memory["count"][rows] = 0
        self._judged = None

    def forget(self, ids: Ids) -> None:
        """Drop what was learnt of ``ids``, their group included."""
        self._memory.forget(ids)
        self._judged = None

    def accept(self, ids: Ids) -> None:
        """Learn the own offset of ``ids`` anew, silently, from their next sample on."""
        self._memory["count"][self._memory.rows_of(ids)] = 0
        self._judged = None

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a snapshot keeps: by series id, whatever the order of the rows."""
        return self._memory.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``state`` returned. Raises Permanent where a column is missing or of another length."""
        self._memory.restore(state)
        self._judged = None

    def score(self, batch: Batch) -> Scores:
        """Return signed distances from the peers in spreads; the expected value is theirs plus the own offset."""
        scores = Scores(*(np.full(len(batch.ids), np.nan) for _ in range(3)))
        memory = self._memory
        for (members, rows, _), judged in self._judge(batch):
            silent = memory["count"][rows] < self._settings.warm_up
            if self._warm_up_ns > 0:
                silent |= judged.timestamps - memory["since"][rows] < self._warm_up_ns
            scores.score[members] = np.where(silent, np.nan, judged.score)
            scores.expected[members] = judged.expected
            scores.spread[members] = judged.spread
        return scores

    def learn(self, batch: Batch, weight: Floats) -> None:
        """Move offsets and spreads towards the batch, each sample by at most what three spreads would."""
        learnt = False
        for (members, rows, _), judged in self._judge(batch):
            mine = weight[members]
            taught = mine > 0
            if taught.all():
                self._learn(rows, judged, mine)
            elif taught.any():
                every = rows_in(rows)
                self._learn(every[taught], judged.of(taught), mine[taught])
            learnt |= bool(taught.any())
        if learnt:
            self._judged = None

    def _learn(self, rows: Where, judged: _Judged, weight: Floats) -> None:
        memory = self._memory
        timestamps, values, residual, _, spread, smooth, elapsed, _ = judged
        count = memory["count"][rows]
        first = count == 0
        rate = -np.expm1(elapsed / -self._tau_ns)
        np.minimum(rate, FASTEST, out=rate)
        np.maximum(rate, 1.0 / (count + 1.0), out=rate)
        rate *= weight
        young = count < 8
        limit = CLIP * spread
        limit[young] = np.inf
        held = np.clip(residual, -limit, limit)
        deviation, wander = memory["deviation"][rows], memory["wander"][rows]
        limit = CLIP * SIGMA_OF_DEVIATION * wander
        limit += 0.1 * spread
        limit[young] = np.inf
        lasting = np.minimum(np.abs(smooth), limit)
        memory["offset"][rows] += rate * held
        deviation = deviation + rate * (np.abs(held, out=held) - deviation)
        wander = wander + rate * (lasting - wander)
        some_first = bool(first.any())
        if some_first:
            deviation[first] = wander[first] = smooth[first] = 0.0
        memory["deviation"][rows] = deviation
        memory["smooth"][rows] = smooth
        memory["wander"][rows] = wander
        self._learn_step(rows, values, first)
        memory["value"][rows] = values
        memory["seen"][rows] = timestamps
        memory["count"][rows] = count + 1
        if some_first:
            memory["since"][rows] = np.where(first, timestamps, memory["since"][rows])

    def _judge(self, batch: Batch) -> list[tuple[Part, _Judged]]:
        parts = self._memory.parts(batch.ids)
        if self._judged is None or self._judged[0] is not batch:
            self._judged = batch, [self._judge_part(part, batch) for part in parts]
        return list(zip(parts, self._judged[1], strict=True))

    def _judge_part(self, part: Part, batch: Batch) -> _Judged:
        members, rows, cohorts = part
        memory = self._memory
        timestamps, values = batch.timestamps[members], batch.values[members]
        offset = memory["offset"][rows]
        elapsed = np.maximum(timestamps - memory["seen"][rows], 0).astype(np.float64)
        first = memory["count"][rows] == 0
        if first.any():  # a newcomer has no offset yet: the others' centre must not suffer from it
            offset = np.where(first, 0.0, offset)
            elapsed[first] = 0.0
        residual = values - offset
        centre = cohorts.to_members(cohorts.medians(residual))
        residual -= centre
        expected = centre
        expected += offset
        group_spread = cohorts.to_members(SIGMA_OF_MAD * cohorts.medians(np.abs(residual)))
        spread, still = self._spread(rows, values, group_spread)
        smooth = self._smoothed(memory["smooth"][rows], residual, spread, elapsed)
        # The smoothed residual is judged by its own past, and never finer than a tenth of one sample's spread.
        wander = np.maximum(SIGMA_OF_DEVIATION * memory["wander"][rows], 0.1 * spread)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            now, lasting = residual / spread, np.divide(smooth, wander, out=wander)
        now[residual == 0] = 0.0
        lasting[smooth == 0] = 0.0
        score = np.where(np.abs(lasting) > np.abs(now), lasting, now)
        if still.any():
            np.clip(score, -NEVER_CHANGED, NEVER_CHANGED, out=score, where=still)
        return _Judged(timestamps, values, residual, expected, spread, smooth, elapsed, score)

    def _spread(self, rows: Where, values: Floats, group_spread: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        memory = self._memory
        step = memory["step"][rows]
        grain = np.where(memory["steps"][rows] > 2, 0.5, 1.0 / NEVER_CHANGED)
        grain *= step
        spread = SIGMA_OF_DEVIATION * memory["deviation"][rows]
        np.maximum(spread, group_spread, out=spread)
        np.maximum(spread, grain, out=spread)
        np.maximum(spread, np.multiply(RESOLUTION, np.abs(values, out=grain), out=grain), out=spread)
        return spread, step == 0

    def _smoothed(self, smooth: Floats, residual: Floats, spread: Floats, elapsed: Floats) -> Floats:
        # One wild sample is the plain residual's business: here it counts for six spreads at most.
        limit = 2.0 * CLIP * spread
        share = -np.expm1(elapsed / -self._smooth_ns)
        pull = np.clip(residual, -limit, limit, out=limit)
        pull -= smooth
        pull *= share
        pull += smooth
        return pull

    def _learn_step(self, rows: Where, values: Floats, first: NDArray[np.bool_]) -> None:
        memory = self._memory
        change = np.abs(values - memory["value"][rows])
        moved = (change > RESOLUTION * np.abs(values)) & ~first
        step = memory["step"][rows]
        smaller = moved & ((change < step) | (step == 0))
        if smaller.any():
            memory["step"][rows] = np.where(smaller, change, step)
        memory["steps"][rows] = np.minimum(memory["steps"][rows] + moved, 4)
