"""Holds back from the calibrator what a series' rare scores say of normal life until they are over."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.detector import Ids
from coldaisle.state import Kept, State
from pipeline.columns import grown

Floats = NDArray[np.float64]

RARE = 0.01
"""Tail probability from which on a score is an excursion: what happens more often teaches at once."""


class _Open(NamedTuple):
    """The excursions of one detector that are not over, by id."""

    ids: Ids
    often: NDArray[np.float32]
    peak: NDArray[np.float32]  # NaN = it was evidence
    since: NDArray[np.uint32]  # s

    @staticmethod
    def of(ids: Ids) -> _Open:
        """Return excursions of ``ids`` of which nothing is known yet."""
        size = len(ids)
        return _Open(ids, np.zeros(size, np.float32), np.zeros(size, np.float32), np.zeros(size, np.uint32))

    def where(self, which: NDArray[np.bool_]) -> _Open:
        """Return some of them."""
        return _Open(self.ids[which], self.often[which], self.peak[which], self.since[which])

    def and_also(self, others: _Open) -> _Open:
        """Return them and ``others``, whose ids are not among theirs."""
        ids = np.concatenate([self.ids, others.ids])
        order = np.argsort(ids, kind="stable")
        columns = zip(self[1:], others[1:], strict=True)
        return _Open(ids[order], *(np.concatenate(pair)[order] for pair in columns))

    def told_of(self, ids: Ids) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint32]]:
        """Return how often, how far and since when for the excursions of ``ids``; 0 where none is under way."""
        found = _Open.of(ids)
        known, place = self._places(ids)
        for mine, theirs in zip(found[1:], self[1:], strict=True):
            mine[known] = theirs[place]
        return found.often, found.peak, found.since

    def without(self, ids: Ids) -> _Open:
        """Return those of other ids."""
        left = np.ones(len(self.ids), np.bool_)
        left[self._places(ids)[1]] = False
        return self.where(left)

    def _places(self, ids: Ids) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return which of ``ids`` are among them, and where those are."""
        if not len(self.ids):
            return np.zeros(len(ids), np.bool_), np.zeros(0, np.int64)
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        known = self.ids[place] == ids
        return known, place[known]


class Excursions:
    """
    By detector and series: since when its scores are rare, how often, and how far they went.

    A fault is rare and lasts. Were its scores taught while it lasts, one member of 64 would soon be a sixty-fourth of
    normal life, and hide itself. So an excursion teaches once it is over, as often as its far score came; never
    where it was evidence, and after ``patience_seconds`` even though it lasts.

    Few last at a time: those are kept in a list by id, and one byte by detector and series says which.
    """

    def __init__(self, detectors: int, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._under_way = np.zeros((detectors, 0), np.bool_)
        self._open = [_Open.of(np.zeros(0, np.int64)) for _ in range(detectors)]

    def reset(self, ids: Ids, size: int) -> None:
        """Begin anew with ids; ``size`` is how many series there are."""
        self._under_way = grown(self._under_way, size, False)
        for detector, under_way in enumerate(self._under_way):
            if under_way[ids].any():
                self._open[detector] = self._open[detector].without(ids)
                under_way[ids] = False

    def hold(
        self, detector: int, ids: Ids, seconds: NDArray[np.uint32], score: Floats, tail: Floats, weight: Floats
    ) -> tuple[NDArray[np.int64], Floats, Floats]:
        """
        Set the ``weight`` of rare scores to 0; return where excursions are over, how far they went and how often.

        A ``weight`` of 0 that comes in says that the score was evidence. A score that is not a number says nothing.
        """
        under_way = self._under_way[detector]
        rare = tail <= RARE
        at = np.flatnonzero(rare | under_way[ids])
        nothing = np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
        at = at[~np.isnan(score[at])]
        if not len(at):
            return nothing
        now, out, far = ids[at], rare[at], np.abs(score[at])
        one = self._open[detector]
        before, peak, since = one.told_of(now)
        farthest = np.where(before > 0, np.fmax(peak, far) + 0.0 * peak, far)
        farthest[weight[at] == 0] = np.nan
        began = np.where(before > 0, since, seconds[at]).astype(np.uint32)
        over = ~out | (seconds[at] - began >= self._patience_seconds)
        taught = over & ~np.isnan(farthest) & (before > 0)
        told = at[taught], farthest[taught].astype(np.float64), before[taught].astype(np.float64)
        lasts = ~over
        under_way[now] = lasts
        still = _Open(now[lasts], before[lasts] + np.float32(1), farthest[lasts].astype(np.float32), began[lasts])
        self._open[detector] = one.without(now).and_also(still)
        weight[at[out]] = 0.0
        return told

    def state(self, size: int) -> State:
        """Return what a snapshot keeps of ``size`` series."""
        return {
            "size": size,
            "detector": np.repeat(np.arange(len(self._open), dtype=np.int32), [len(one.ids) for one in self._open]),
            "id": np.concatenate([one.ids for one in self._open]),
            "count": np.concatenate([one.often for one in self._open]),
            "peak": np.concatenate([one.peak for one in self._open]),
            "since": np.concatenate([one.since for one in self._open]),
        }

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept = Kept(state)
        ids = kept.array("id", np.int64, None)
        detector = kept.array("detector", np.int32, len(ids))
        every = _Open(
            ids,
            kept.array("count", np.float32, len(ids)),
            kept.array("peak", np.float32, len(ids)),
            kept.array("since", np.uint32, len(ids)),
        )
        self._open = [every.where(detector == number) for number in range(len(self._open))]
        self._under_way = np.zeros((len(self._open), kept.integer("size")), np.bool_)
        self._under_way[detector, ids] = True
