"""The series that warners look at: a slot, the newest value of each minute, and the limit that holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from coldaisle.catalogue import Drive, Kind, Metric
from coldaisle.detector import Ids
from coldaisle.frame import Values
from coldaisle.series import Series
from coldaisle.state import Kept, State
from coldaisle.warner import Minute, Slots, Watched
from pipeline.columns import column, grown
from pipeline.findings import Findings
from pipeline.rounds import Rounds
from pipeline.rulebook import MetricRule
from pipeline.series_table import SeriesTable

_UNKNOWN = -1


class WatchedSeries:
    """Gives slots to the series whose metric is wanted, or that a limit holds for where ``limits`` are wanted."""

    def __init__(
        self,
        table: SeriesTable,
        rounds: Rounds,
        findings: Findings,
        rules: Sequence[MetricRule],
        metrics: frozenset[str],
        limits: bool,
    ) -> None:
        self._table = table
        self._rounds = rounds
        self._findings = findings
        self._rules = [rule for rule in rules if limits and _is_limit(rule)]
        self._metrics = metrics
        self._slot = column(-1, np.int32)  # by id
        self._id = column(-1, np.int64)  # by slot; -1 = free
        self._rule = column(-1, np.int32)
        self._other = column(_UNKNOWN, np.int64)  # the series whose value is the limit
        self._peak = column(np.nan, np.float64)
        self._seen = column(0, np.int64)  # ns: the newest sample that a minute has told
        self._free: list[int] = []
        self._size = 0
        self._bound = -1  # the table's version for which the limits' series were looked up
        self._watched: Watched | None = None

    @property
    def size(self) -> int:
        """One more than the largest slot ever given."""
        return self._size

    def id_of(self, slot: int) -> int:
        """Return the id of the series in ``slot``; -1 where it is free."""
        return int(self._id[slot])

    def entities(self) -> frozenset[int]:
        """Return the numbers of everything that is watched."""
        ids = self._id[: self._size]
        return frozenset(np.unique(self._table.entity[ids[ids >= 0]]).tolist())

    def reset(self, ids: Ids) -> Slots:
        """Begin anew with ids; return the slots of those that are watched."""
        self._slot = grown(self._slot, self._table.size, -1)
        fresh = [slot for number in ids.tolist() if (slot := self._admit(number)) is not None]
        if len(ids):
            self._watched = None
        return np.array(fresh, np.int64)

    def free(self, ids: Ids) -> None:
        """Give back the slots of series that are forgotten."""
        for number in ids[ids < len(self._slot)].tolist():
            slot = int(self._slot[number])
            if slot >= 0:
                self._slot[number] = self._id[slot] = -1
                self._free.append(slot)
                self._watched = None

    def watched(self) -> Watched:
        """Return what is watched; the same object until series come or go."""
        if self._watched is None:
            ids, table = self._id[: self._size], self._table
            taken = ids >= 0
            self._watched = Watched(
                names=tuple(row.name for row in table.rows),
                rules=tuple(rule.name for rule in self._rules),
                runbooks=tuple(rule.runbook for rule in self._rules),
                metric=np.where(taken, table.metric[ids], -1).astype(np.int32),
                entity=np.where(taken, table.entity[ids], 0).astype(np.int32),
                source=np.where(taken, table.source[ids], 0).astype(np.int32),
                rule=np.where(taken, self._rule[: self._size], -1).astype(np.int32),
            )
        return self._watched

    def minute(self, at: int) -> Minute:
        """Return the newest values at ``at``; NaN where nothing was heard since the last minute."""
        ids = self._id[: self._size]
        newest = self._rounds.last_seen[ids]
        heard = (ids >= 0) & (newest > self._seen[: self._size])
        self._seen[: self._size] = newest
        values = np.where(heard, self._rounds.raw[ids], np.nan)
        limits, upward = self._limits(values)
        broken = np.zeros(self._size, np.bool_)
        for name in {rule.name for rule in self._rules}:
            for _, number in self._findings.about(name):
                slot = int(self._slot[number]) if number < len(self._slot) else -1
                if slot >= 0 and self._rules[int(self._rule[slot])].name == name:
                    broken[slot] = True
        return Minute(at, values, limits, upward, broken)

    def state(self) -> State:
        """Return what a snapshot keeps; what a rule says is asked anew."""
        size = self._size
        return {
            "id": self._id[:size].copy(),
            "peak": self._peak[:size].copy(),
            "seen": self._seen[:size].copy(),
            "free": np.array(self._free, np.int64),
        }

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept = Kept(state)
        self._id = kept.array("id", np.int64, None)
        self._size = size = len(self._id)
        self._peak = kept.array("peak", np.float64, size)
        self._seen = kept.array("seen", np.int64, size)
        self._free = kept.array("free", np.int64, None).tolist()
        self._slot = grown(column(-1, np.int32), self._table.size, -1)
        self._rule, self._other = np.full(size, -1, np.int32), np.full(size, _UNKNOWN, np.int64)
        for slot, number in enumerate(self._id.tolist()):
            if number >= 0:
                self._slot[number] = slot
                self._rule[slot] = self._rule_of(number)

    def _admit(self, number: int) -> int | None:
        row = self._table.row(number)
        rule = self._rule_of(number)
        if row.name not in self._metrics and rule < 0:
            return None
        slot = int(self._slot[number])
        if slot < 0:
            slot = self._free.pop() if self._free else self._size
            self._size = max(self._size, slot + 1)
            self._id, self._rule = grown(self._id, self._size, -1), grown(self._rule, self._size, -1)
            self._other, self._peak = grown(self._other, self._size, _UNKNOWN), grown(self._peak, self._size, np.nan)
            self._seen = grown(self._seen, self._size, 0)
        self._slot[number], self._id[slot] = slot, number
        self._rule[slot], self._other[slot], self._peak[slot] = rule, _UNKNOWN, np.nan
        self._seen[slot] = 0
        self._bound = -1
        return slot

    def _rule_of(self, number: int) -> int:
        """Return the position of the first limit that holds for a series; -1 = none does."""
        row = self._table.row(number)
        for place, rule in enumerate(self._rules):
            named = rule.metric == row.name and _may_be_foretold(row)
            if named and rule.matches(dict(self._table.series(number).labels)):
                return place
        return -1

    def _limits(self, values: Values) -> tuple[Values, NDArray[np.bool_]]:
        size = self._size
        limits, upward = np.full(size, np.nan), np.ones(size, np.bool_)
        if self._bound != self._table.version:
            self._bound = self._table.version
            self._bind()
        self._peak[:size] = np.fmax(self._peak[:size], values)
        for place, rule in enumerate(self._rules):
            slots = np.flatnonzero(self._rule[:size] == place)
            upward[slots] = rule.upward
            fixed = rule.above if rule.above is not None else rule.below
            if fixed is not None:
                limits[slots] = fixed
            elif rule.below_peak_ratio is not None:
                limits[slots] = self._peak[slots] * rule.below_peak_ratio
            else:
                other = self._other[slots]
                limits[slots] = np.where(other >= 0, self._rounds.raw[other], np.nan) + rule.offset
        return limits, upward

    def _bind(self) -> None:
        for slot, rule, number in self._limited_by_others():
            labels = self._table.series(number).labels
            self._other[slot] = self._table.find(Series(rule.above_metric or rule.below_metric, labels))

    def _limited_by_others(self) -> Iterator[tuple[int, MetricRule, int]]:
        for place, rule in enumerate(self._rules):
            if rule.above_metric or rule.below_metric:
                for slot in np.flatnonzero(self._rule[: self._size] == place).tolist():
                    if self._id[slot] >= 0:
                        yield slot, rule, int(self._id[slot])


def _is_limit(rule: MetricRule) -> bool:
    return rule.of == "value" and rule.equal is None


def _may_be_foretold(row: Metric) -> bool:
    """Whether the metric moves by itself: flags and settings jump, and errors are for those who count them."""
    return row.kind is Kind.GAUGE and row.drive in (Drive.LOAD, Drive.STEADY)
