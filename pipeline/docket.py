"""What is put before a court that sits elsewhere: rounds as frames, by whoever owns the peers of their series."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from coldaisle.anomaly import Anomaly
from coldaisle.bus import partition_of
from coldaisle.clock import SECOND
from coldaisle.detector import Ids
from coldaisle.frame import Frame
from coldaisle.series import Layout, Series, labels_of
from coldaisle.state import Kept, State
from pipeline.columns import column, grown
from pipeline.peer_groups import PeerGroups
from pipeline.rounds import Round
from pipeline.series_table import LOAD, STEADY, SeriesTable

COHORT = "cohort"
"""Label that names with whom a series is compared; absent where that is everything of its kind."""
COHORT_SINCE = "cohort_since"
"""Label with the second (Unix) at which the work of a series' cohort last changed."""
COHORT_TAUGHT = "cohort_taught"
"""Label with the second (Unix) at which a person last called normal what a series shows."""
COLLECTOR = "score"
_MOSTLY = 0.5  # of the usual series must be there, or a layout of its own is smaller
_AD_HOC_LAYOUTS = 256


class Summons(NamedTuple):
    """Samples of one tick for one partition of ``cohorts``."""

    partition: int
    end: int  # of the tick, Unix ns
    frame: Frame


class _Share(NamedTuple):
    """The series of some metrics that go to one partition."""

    partition: int
    ids: Ids
    layout: Layout


class Docket:
    """
    A :class:`pipeline.court.Court` that keeps what it hears until :meth:`take`, cut by partition of ``cohorts``.

    Series that are compared with each other go to the same partition, whichever partition of ``frames``
    they came from. A frame keeps its layout from tick to tick, NaN where a sample is missing, so that neither
    side works a layout out again.
    """

    def __init__(self, table: SeriesTable, groups: PeerGroups, partitions: int, origin: str) -> None:
        self._table = table
        self._groups = groups
        self._partitions = partitions
        self._origin = origin
        self._since = column(0, np.uint32)  # s
        self._taught = column(0, np.uint32)  # s
        self._shares: dict[tuple[int, ...], list[_Share]] = {}  # by metrics
        self._ad_hoc: dict[bytes, list[_Share]] = {}
        self._labels: dict[int, tuple[str, int]] = {}  # peer group -> its cohort's label and partition
        self._waiting: list[Summons] = []

    def reset(self, ids: Ids) -> None:
        """Begin anew with ids."""
        self._since = grown(self._since, self._table.size, 0)
        self._taught = grown(self._taught, self._table.size, 0)
        self._since[ids] = self._taught[ids] = 0
        self._changed()

    def admit(self, ids: Ids) -> None:
        """Take note that ids or groups are new."""
        if len(ids):
            self._changed()

    def withhold(self, ids: Ids, at: int) -> None:
        """Let the court know that the work of ``ids`` changed at ``at``."""
        if len(ids):
            self._since[ids] = at // SECOND
            self._changed()

    def accept(self, ids: Ids, at: int) -> None:
        """Let the court know that what ``ids`` show at ``at`` is normal."""
        if len(ids):
            self._taught[ids] = at // SECOND
            self._changed()

    def set_budget(self, gpus: int, series: int) -> None:
        """Ignore the fleet's size: the court counts what comes before it."""

    def hear(self, end: int, samples: Round) -> list[Anomaly]:
        """Keep a round; nothing is known before the court has heard it."""
        table = self._table
        scored = table.drive[samples.ids] <= STEADY
        ids = samples.ids[scored]
        if not len(ids):
            return []
        times, values = np.full(table.size, end, np.int64), np.full(table.size, np.nan)
        times[ids], values[ids] = samples.timestamps[scored], samples.values[scored]
        for partition, members, layout in self._shares_of(ids):
            frame = Frame(COLLECTOR, self._origin, layout, times[members], values[members])
            self._waiting.append(Summons(partition, end, frame))
        return []

    def gone(self, ids: Ids, now: int) -> list[Anomaly]:
        """Let series go; the court forgets them by itself."""
        self._changed()
        return []

    def take(self) -> list[Summons]:
        """Return what has been kept, in order of time, and keep it no longer."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def state(self) -> State:
        """Return what a snapshot keeps; only between two calls of :meth:`hear` with nothing waiting."""
        if self._waiting:
            raise RuntimeError("rounds that wait to be sent are not part of a snapshot; take them first")
        size = self._table.size
        return {"since": self._since[:size].copy(), "taught": self._taught[:size].copy()}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned, after the table. Raises Permanent that names the key."""
        kept, size = Kept(state), self._table.size
        self._since, self._taught = kept.array("since", np.uint32, size), kept.array("taught", np.uint32, size)
        self._changed()

    def _changed(self) -> None:
        self._shares.clear()
        self._ad_hoc.clear()
        self._labels.clear()

    def _shares_of(self, ids: Ids) -> list[_Share]:
        table = self._table
        present = np.zeros(len(table.rows), np.bool_)
        present[table.metric[ids]] = True
        metrics = tuple(np.flatnonzero(present).tolist())
        known = self._shares.get(metrics)
        if known is None:
            every = np.flatnonzero(table.used[: table.size] & present[table.metric[: table.size]])
            known = self._shares[metrics] = list(self._cut(np.asarray(every, np.int64)))
        if len(ids) >= _MOSTLY * sum(len(share.ids) for share in known):
            return known
        key = ids.tobytes()
        few = self._ad_hoc.get(key)
        if few is None:
            if len(self._ad_hoc) >= _AD_HOC_LAYOUTS:
                self._ad_hoc.clear()
            few = self._ad_hoc[key] = list(self._cut(ids))
        return few

    def _cut(self, ids: Ids) -> Iterable[_Share]:
        table = self._table
        of: dict[int, tuple[list[int], list[Series]]] = {}
        told = (each[ids].tolist() for each in (table.group, self._since, self._taught))
        for number, group, since, taught in zip(ids.tolist(), *told, strict=True):
            cohort, partition = self._cohort(group)
            series = table.series(number)
            more = [(COHORT, cohort)] if cohort else []
            if since:
                more.append((COHORT_SINCE, str(since)))
            if taught:
                more.append((COHORT_TAUGHT, str(taught)))
            numbers, named = of.setdefault(partition, ([], []))
            numbers.append(number)
            named.append(Series(series.metric, labels_of((*series.labels, *more))) if more else series)
        for partition in sorted(of):
            numbers, named = of[partition]
            yield _Share(partition, np.array(numbers, np.int64), Layout(named))

    def _cohort(self, group: int) -> tuple[str, int]:
        """Return the label and the partition of a peer group's cohort."""
        known = self._labels.get(group)
        if known is None:
            key = self._groups.key(group)
            cohort = key.cohort if key.drive == LOAD else ""
            # What one job does stays together; without a job each metric may go its own way, or one partition had all.
            where = cohort if key.job else f"{cohort}|{key.metric}|{key.kind}|{key.shape}"
            known = self._labels[group] = cohort, partition_of(where.encode(), self._partitions)
        return known
