"""Turns the samples of a tick into rounds: each series once, counters as rates, nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import Ids
from coldaisle.frame import Times, Values
from coldaisle.state import Kept, State
from pipeline.columns import column, grown
from pipeline.ingest import Ingest, Samples
from pipeline.series_table import SeriesTable


class Round(NamedTuple):
    """Samples of one tick, each series at most once, sorted by id."""

    ids: Ids  # [n]
    timestamps: Times  # [n]
    values: Values  # [n] gauges as they are, counters as their rate a second
    increases: Values  # [n] of counters since their sample before; NaN for gauges
    gaps: NDArray[np.int64]  # [n] ns since the series' sample before; 0 = it is the first

    def of(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Round:
        """Return some of the samples."""
        return Round(
            self.ids[which], self.timestamps[which], self.values[which], self.increases[which], self.gaps[which]
        )


class Rounds:
    """Keeps the newest sample of each series; with ``counters`` False what comes are rates already."""

    def __init__(self, table: SeriesTable, ingest: Ingest, counters: bool = True) -> None:
        self._table = table
        self._ingest = ingest
        self._counters = counters
        self.last_seen = column(0, np.int64)  # ns, 0 = never
        self.raw = column(np.nan, np.float64)  # as it came
        self.rate = column(np.nan, np.float32)  # of counters

    def reset(self, ids: Ids) -> None:
        """Begin anew with ids."""
        size = self._table.size
        self.last_seen = grown(self.last_seen, size, 0)
        self.raw = grown(self.raw, size, np.nan)
        self.rate = grown(self.rate, size, np.nan)
        self.last_seen[ids], self.raw[ids], self.rate[ids] = 0, np.nan, np.nan

    def of(self, samples: Samples) -> Iterator[Round]:
        """Yield the rounds of a tick, oldest first."""
        ordered, occurrence = self._ordered(samples)
        if occurrence is None:
            yield self._round(ordered)
            return
        for number in range(int(occurrence.max()) + 1):
            now = occurrence == number
            yield self._round(Samples(ordered.ids[now], ordered.timestamps[now], ordered.values[now]))

    def values(self) -> Values:
        """Return the newest value of every slot, counters as rates; a copy."""
        size = self._table.size
        if not self._counters:
            return self.raw[:size].copy()
        counters = self._table.counter[self._table.metric[:size]]
        return np.where(counters, self.rate[:size].astype(np.float64), self.raw[:size])

    def state(self) -> State:
        """Return what a snapshot keeps."""
        size = self._table.size
        return {
            "last_seen": self.last_seen[:size].copy(),
            "raw": self.raw[:size].copy(),
            "rate": self.rate[:size].copy(),
        }

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept, size = Kept(state), self._table.size
        self.last_seen = kept.array("last_seen", np.int64, size)
        self.raw, self.rate = kept.array("raw", np.float64, size), kept.array("rate", np.float32, size)

    def _ordered(self, samples: Samples) -> tuple[Samples, NDArray[np.int64] | None]:
        """Return samples by id and time, and where series come several times which time it is."""
        ids, timestamps, values = samples
        if len(ids) < 2 or bool((ids[1:] > ids[:-1]).all()):
            return samples, None
        if len(ids) * 8 > self._table.size:
            # Writing positions into slots sorts by id in linear time, if no id comes twice.
            slots = np.full(self._table.size, -1, np.int32)
            slots[ids] = np.arange(len(ids), dtype=np.int32)
            order = slots[slots >= 0]
            if len(order) == len(ids):
                return Samples(ids[order], timestamps[order], values[order]), None
        # Values take part so that of two samples with one timestamp the same wins, whichever came first.
        by_id = np.lexsort((values, timestamps, ids))
        ids, timestamps, values = ids[by_id], timestamps[by_id], values[by_id]
        twice = np.zeros(len(ids), np.bool_)
        twice[1:] = (ids[1:] == ids[:-1]) & (timestamps[1:] == timestamps[:-1])
        if twice.any():
            self._ingest.drop("duplicate", int(twice.sum()))
            self._ingest.suspect("repeated", ids[twice], timestamps[twice])
            ids, timestamps, values = ids[~twice], timestamps[~twice], values[~twice]
        starts = np.flatnonzero(np.concatenate(([True], ids[1:] != ids[:-1])))
        lengths = np.diff(np.append(starts, len(ids)))
        occurrence = np.arange(len(ids)) - np.repeat(starts, lengths)
        return Samples(ids, timestamps, values), occurrence

    def _round(self, samples: Samples) -> Round:
        ids, timestamps, values = samples
        last_seen = self.last_seen[ids]
        fresh = timestamps > last_seen
        if not fresh.all():
            self._ingest.drop("duplicate", int((~fresh).sum()))
            self._ingest.suspect("repeated", ids[~fresh], timestamps[~fresh])
            ids, timestamps, values, last_seen = ids[fresh], timestamps[fresh], values[fresh], last_seen[fresh]
        gaps = np.where(last_seen > 0, timestamps - last_seen, 0)
        increases = np.full(len(ids), np.nan)
        counters = np.flatnonzero(self._table.counter[self._table.metric[ids]] & self._counters)
        self.last_seen[ids] = timestamps
        if not len(counters):
            self.raw[ids] = values
            return Round(ids, timestamps, values, increases, gaps)
        counted = ids[counters]
        grew = values[counters] - self.raw[counted]
        first = np.isnan(grew)
        fell = grew < 0
        self._ingest.drop("counter_first", int(first.sum()))
        self._ingest.drop("counter_reset", int(fell.sum()))
        if fell.any():
            self._ingest.suspect("backwards", counted[fell], timestamps[counters][fell])
        rate = np.full(len(counters), np.nan)
        told = ~first & ~fell & (gaps[counters] > 0)
        rate[told] = grew[told] / (gaps[counters][told] / SECOND)
        self.raw[ids] = values
        self.rate[counted] = rate
        values = values.copy()
        values[counters] = rate
        increases[counters] = np.where(told, grew, np.nan)
        keep = np.ones(len(ids), np.bool_)
        keep[counters[~told]] = False
        if keep.all():
            return Round(ids, timestamps, values, increases, gaps)
        return Round(ids[keep], timestamps[keep], values[keep], increases[keep], gaps[keep])
