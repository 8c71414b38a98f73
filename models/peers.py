"""The peers detector: how far a member stands from its siblings under the same work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Ids, Scores, Traits
from models.cohorts import Cohorts
from models.columns import Columns
from models.level import CLIP, FASTEST, NEVER_CHANGED, RESOLUTION, SIGMA_OF_DEVIATION

SIGMA_OF_MAD = 1.4826
"""Standard deviation of a Gaussian over its median absolute deviation (Rousseeuw and Croux 1993)."""
_PLANS = 8

Floats = NDArray[np.float64]


class PeersSettings(NamedTuple):
    """How the peers detector remembers and when it speaks."""

    half_life_seconds: float = 21_600.0  # of a member's own offset and spread
    smooth_seconds: float = 120.0  # over which a small lasting residual adds up
    warm_up: int = 32  # samples
    warm_up_seconds: float = 0.0
    minimum: int = 3  # members present; with two nobody can tell which is odd


class _Judged(NamedTuple):
    """About the samples that have peers, in the order of ``Cohorts.members``."""

    cohorts: Cohorts
    ids: Ids
    residual: Floats
    expected: Floats
    spread: Floats
    score: Floats


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
        self._memory = Columns({
            "key": np.int64(-1),  # group and family in one
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
        })  # fmt: skip
        self._plans: dict[tuple[int, int, int], Cohorts] = {}
        self._judged: tuple[Batch, _Judged] | None = None

    def admit(self, ids: Ids, traits: Traits) -> None:
        """Make room, and let those whose group has changed learn their offset anew, silently."""
        self._memory.reach(ids)
        keys = (traits.group.astype(np.int64) << 32) | traits.family.astype(np.int64)
        keys[traits.group < 0] = -1
        moved = ids[self._memory["key"][ids] != keys]
        self._memory["key"][ids] = keys
        self._memory["count"][moved] = 0
        self._changed(plans=True)

    def forget(self, ids: Ids) -> None:
        """Drop what was learnt of ``ids``, their group included."""
        self._memory.clear(ids)
        self._changed(plans=True)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return what a snapshot keeps."""
        return self._memory.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``state`` returned."""
        self._memory.restore(state)
        self._changed(plans=True)

    def score(self, batch: Batch) -> Scores:
        """Return signed distances from the peers in spreads; the expected value is theirs plus the own offset."""
        scores = Scores(*(np.full(len(batch.ids), np.nan) for _ in range(3)))
        judged = self._judge(batch)
        members, memory = judged.cohorts.members, self._memory
        silent = memory["count"][judged.ids] < self._settings.warm_up
        if self._warm_up_ns > 0:
            silent |= batch.timestamps[members] - memory["since"][judged.ids] < self._warm_up_ns
        scores.score[members] = np.where(silent, np.nan, judged.score)
        scores.expected[members] = judged.expected
        scores.spread[members] = judged.spread
        return scores

    def learn(self, batch: Batch, weight: Floats) -> None:
        """Move offsets and spreads towards the batch, each sample by at most what three spreads would."""
        judged = self._judge(batch)
        taught = weight[judged.cohorts.members] > 0
        if not taught.any():
            return
        members = judged.cohorts.members
        ids, residual, spread = judged.ids, judged.residual, judged.spread
        if not taught.all():
            ids, residual, spread, members = ids[taught], residual[taught], spread[taught], members[taught]
        timestamps, values, weight = batch.timestamps[members], batch.values[members], weight[members]
        memory = self._memory
        count = memory["count"][ids]
        first = count == 0
        elapsed = np.maximum(timestamps - memory["seen"][ids], 0).astype(np.float64)
        elapsed[first] = 0.0
        rate = np.minimum(1.0 - np.exp(elapsed / -self._tau_ns), FASTEST)
        rate = np.maximum(rate, 1.0 / (count + 1.0)) * weight
        deviation = memory["deviation"][ids]
        limit = np.where(count < 8, np.inf, CLIP * spread)
        held = np.clip(residual, -limit, limit)
        memory["offset"][ids] += rate * held
        memory["deviation"][ids] = np.where(first, 0.0, deviation + rate * (np.abs(held) - deviation))
        smooth = np.where(first, 0.0, self._smoothed(memory["smooth"][ids], residual, spread, elapsed))
        memory["smooth"][ids] = smooth
        wander = memory["wander"][ids]
        limit = np.where(count < 8, np.inf, CLIP * SIGMA_OF_DEVIATION * wander + 0.1 * spread)
        held = np.minimum(np.abs(smooth), limit)
        memory["wander"][ids] = np.where(first, 0.0, wander + rate * (held - wander))
        self._learn_step(ids, values, first)
        memory["value"][ids] = values
        memory["seen"][ids] = timestamps
        memory["count"][ids] = count + 1
        memory["since"][ids[first]] = timestamps[first]
        self._changed(plans=False)

    def _changed(self, plans: bool) -> None:
        self._judged = None
        if plans:
            self._plans.clear()

    def _cohorts(self, ids: Ids) -> Cohorts:
        """Return who belongs together among ``ids``; the same few sets of ids come tick after tick."""
        if len(ids) == 0:
            return Cohorts(ids, np.empty(0, np.int64), self._settings.minimum)
        name = (len(ids), int(ids[0]), int(ids[-1]))
        known = self._plans.get(name)
        if known is None or not np.array_equal(known.ids, ids):
            if len(self._plans) >= _PLANS:
                self._plans.clear()
            known = self._plans[name] = Cohorts(ids, self._memory["key"][ids], self._settings.minimum)
        return known

    def _judge(self, batch: Batch) -> _Judged:
        if self._judged is not None and self._judged[0] is batch:
            return self._judged[1]
        memory = self._memory
        cohorts = self._cohorts(batch.ids)
        members = cohorts.members
        ids, values = batch.ids[members], batch.values[members]
        offset = memory["offset"][ids]
        first = memory["count"][ids] == 0
        if first.any():  # a newcomer has no offset yet: the others' centre must not suffer from it
            offset[first] = 0.0
        level = values - offset
        centre = cohorts.medians(level)[cohorts.of]
        residual = level - centre
        group_spread = SIGMA_OF_MAD * cohorts.medians(np.abs(residual))[cohorts.of]
        spread, still = self._spread(ids, values, group_spread)
        elapsed = np.where(first, 0, np.maximum(batch.timestamps[members] - memory["seen"][ids], 0))
        smooth = self._smoothed(memory["smooth"][ids], residual, spread, elapsed.astype(np.float64))
        # The smoothed residual is judged by its own past, and never finer than a tenth of one sample's spread.
        wander = np.maximum(SIGMA_OF_DEVIATION * memory["wander"][ids], 0.1 * spread)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            now, lasting = residual / spread, smooth / wander
        now[residual == 0] = 0.0
        lasting[smooth == 0] = 0.0
        score = np.where(np.abs(lasting) > np.abs(now), lasting, now)
        np.clip(score, -NEVER_CHANGED, NEVER_CHANGED, out=score, where=still)
        judged = _Judged(cohorts, ids, residual, centre + offset, spread, score)
        self._judged = (batch, judged)
        return judged

    def _spread(self, ids: Ids, values: Floats, group_spread: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        memory = self._memory
        step = memory["step"][ids]
        grain = np.where(memory["steps"][ids] > 2, 0.5, 1.0 / NEVER_CHANGED) * step
        spread = np.maximum(SIGMA_OF_DEVIATION * memory["deviation"][ids], group_spread)
        np.maximum(spread, grain, out=spread)
        np.maximum(spread, RESOLUTION * np.abs(values), out=spread)
        return spread, step == 0

    def _smoothed(self, smooth: Floats, residual: Floats, spread: Floats, elapsed: Floats) -> Floats:
        # One wild sample is the plain residual's business: here it counts for six spreads at most.
        limit = 2.0 * CLIP * spread
        share = 1.0 - np.exp(elapsed / -self._smooth_ns)
        return smooth + share * (np.clip(residual, -limit, limit) - smooth)

    def _learn_step(self, ids: Ids, values: Floats, first: NDArray[np.bool_]) -> None:
        memory = self._memory
        change = np.abs(values - memory["value"][ids])
        moved = (change > RESOLUTION * np.abs(values)) & ~first
        step = memory["step"][ids]
        memory["step"][ids] = np.where(moved & ((change < step) | (step == 0)), change, step)
        memory["steps"][ids] = np.minimum(memory["steps"][ids] + moved, 4)
