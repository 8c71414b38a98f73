"""Evaluates the limits on samples: the metric rules."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from coldaisle.anomaly import Anomaly
from coldaisle.clock import SECOND
from coldaisle.detector import Ids
from coldaisle.frame import Values
from coldaisle.series import Series
from coldaisle.state import Kept, State, nested
from pipeline.columns import column, grown
from pipeline.evidence import Band, Evidence
from pipeline.findings import Findings, Key, Measured, Subject, known
from pipeline.rounds import Round, Rounds
from pipeline.rulebook import MetricRule
from pipeline.series_table import SeriesTable

Places = NDArray[np.integer[Any]]
"""Where series stand in the arrays of their metric's rules."""

_NONE = -1
_UNKNOWN = -2
_MOST_SHORT = np.iinfo(np.int16).max
_ONLY_WORDS = {"summary", "explanation", "action", "runbook"}


class Span(NamedTuple):
    """Since when a limit is broken, or has been kept again, Unix ns; 0 = it is not."""

    since: int
    calm_since: int


class _Watch:
    """One rule's state: arrays only for what the rule needs, by place; objects only for series that break it."""

    def __init__(self, rule: MetricRule) -> None:
        self.rule = rule
        self.covers = column(-1, np.int8)  # 1 yes, 0 no, -1 not asked yet
        self.watched = column(False, np.bool_)  # is among the spans or the rises
        self.other = column(_UNKNOWN, np.int32)  # the series whose value is the limit
        self.peak = column(-np.inf, np.float64)
        self.spans: dict[int, Span] = {}  # by id
        self.rises: dict[int, deque[tuple[int, float]]] = {}  # increases within the window, zero ones left out

    def reset(self, places: Places, size: int) -> None:
        """Begin anew with ``places``, of ``size`` that there are."""
        self.covers = grown(self.covers, size, -1)
        self.watched = grown(self.watched, size, False)
        self.covers[places], self.watched[places] = -1, False
        if self.by_other:
            self.other = grown(self.other, size, _UNKNOWN)
            self.other[places] = _UNKNOWN
        if self.rule.below_peak_ratio is not None:
            self.peak = grown(self.peak, size, -np.inf)
            self.peak[places] = -np.inf

    @property
    def by_other(self) -> bool:
        """Whether another series' value is the limit."""
        return bool(self.rule.above_metric or self.rule.below_metric)

    def look_again(self, number: int, place: int) -> None:
        """Keep in mind whether a series must be looked at even on quiet samples."""
        self.watched[place] = number in self.spans or number in self.rises

    def forget(self, number: int) -> None:
        """Drop what is known of the series ``number`` beside the arrays."""
        self.spans.pop(number, None)
        self.rises.pop(number, None)

    def state(self, ids: Ids, places: Places) -> dict[str, Any]:
        """Return what a snapshot keeps of series and their places; what the rule covers is asked anew."""
        state: dict[str, Any] = {
            "spans": np.array([(number, *span) for number, span in self.spans.items()], np.int64).reshape(-1, 3),
            "rises": [[number, [[at, by] for at, by in rises]] for number, rises in self.rises.items()],
        }
        if self.by_other or self.rule.below_peak_ratio is not None:
            state["ids"] = ids.copy()
        if self.by_other:
            state["other"] = self.other[places]
        if self.rule.below_peak_ratio is not None:
            state["peak"] = self.peak[places]
        return state

    def restore(self, kept: Kept, place: NDArray[np.int32]) -> None:
        """Take back what ``state`` returned, after :meth:`reset`; ``place`` by id. Raises Permanent."""
        for number, since, calm_since in kept.array("spans", np.int64, None, 3).tolist():
            self.spans[number] = Span(since, calm_since)
        for number, rises in kept.rows("rises", int, list):
            self.rises[number] = deque((at, by) for at, by in rises)
        for number in (*self.spans, *self.rises):
            self.watched[place[number]] = True
        if not self.by_other and self.rule.below_peak_ratio is None:
            return
        ids = kept.array("ids", np.int64, None)
        if self.by_other:
            self.other[place[ids]] = kept.array("other", np.int32, len(ids))
        if self.rule.below_peak_ratio is not None:
            self.peak[place[ids]] = kept.array("peak", np.float64, len(ids))


class _Ruled:
    """The rules of one metric, and how many places its series have taken."""

    def __init__(self) -> None:
        self.watches: list[_Watch] = []
        self.size = 0
        self.free: list[int] = []

    def give(self, count: int) -> Places:
        """Return the places of ``count`` new series."""
        again = [self.free.pop() for _ in range(min(count, len(self.free)))]
        fresh = np.arange(self.size, self.size + count - len(again))
        self.size += len(fresh)
        places = np.concatenate([np.array(again, np.int64), fresh])
        for watch in self.watches:
            watch.reset(places, self.size)
        return places


class Limits:
    """
    Watches every metric rule; vectorised until a limit is broken.

    Few metrics have a rule, so only their series have a place in the rules' arrays.
    """

    def __init__(
        self, table: SeriesTable, rounds: Rounds, evidence: Evidence, findings: Findings, rules: list[MetricRule]
    ) -> None:
        self._table = table
        self._rounds = rounds
        self._evidence = evidence
        self._findings = findings
        self._rules: dict[str, _Ruled] = {}
        for rule in rules:
            self._rules.setdefault(rule.metric, _Ruled()).watches.append(_Watch(rule))
        self._has_rule = column(False, np.bool_)
        self._metrics_read = 0
        self._place = column(_NONE, np.int32)  # by id, among the series of its metric
        self._outlived: list[Key] = []  # open findings of rules that are no more

    def reset(self, ids: Ids) -> None:
        """Begin anew with ids, which must be new or :meth:`gone` before."""
        self._has_rule = grown(self._has_rule, len(self._table.rows), False)
        for metric in range(self._metrics_read, len(self._table.rows)):
            self._has_rule[metric] = self._table.rows[metric].name in self._rules
        self._metrics_read = len(self._table.rows)
        self._place = grown(self._place, self._table.size, _NONE)
        for ruled, which in self._by_metric(ids):
            self._place[ids[which]] = ruled.give(len(which))
        for watch in self._watches():
            watch.other[:] = _UNKNOWN  # it may be among the new ones

    def check(self, samples: Round) -> list[Anomaly]:
        """Return the findings that a round opens and closes."""
        found = self._end_outlived(samples) if self._outlived else []
        for ruled, which in self._by_metric(samples.ids):
            part = samples.of(which)
            for watch in ruled.watches:
                found += self._apply(watch, part)
        return found

    def gone(self, ids: Ids, now: int) -> list[Anomaly]:
        """Close what is open on series that are forgotten, before their ids are freed; their places are free too."""
        closed: list[Anomaly] = []
        for watch in self._watches():
            for number in ids.tolist():
                key = (watch.rule.name, number)
                if key in self._findings:
                    closed.append(self._findings.close(key, now))
                watch.forget(number)
        for ruled, which in self._by_metric(ids):
            ruled.free += self._place[ids[which]].tolist()
        self._place[ids] = _NONE
        return closed

    def state(self) -> State:
        """Return what a snapshot keeps, by id: places are given anew."""
        state: dict[str, Any] = {"rules": [], "outlived": [list(key) for key in self._outlived]}
        used = np.flatnonzero(self._table.used[: self._table.size])
        ids_of = {ruled: used[which] for ruled, which in self._by_metric(used)}
        number = 0
        for ruled in self._rules.values():
            ids = ids_of.get(ruled, used[:0])
            for watch in ruled.watches:
                state["rules"].append([watch.rule.name, _decides(watch.rule)])
                state |= nested(str(number), watch.state(ids, self._place[ids]))
                number += 1
        return state

    def restore(self, state: State) -> None:
        """
        Take back what ``state`` returned; findings must have been restored. Raises Permanent.

        A rule that decides otherwise than it did begins anew: what it had found ends with the next samples, and
        opens again where the rule still says so.
        """
        kept = Kept(state)
        self.reset(np.flatnonzero(self._table.used[: self._table.size]))
        watches = {(watch.rule.name, _decides(watch.rule)): watch for watch in self._watches()}
        self._outlived = list(kept.rows("outlived", str, int))
        for number, rule in enumerate(kept.rows("rules", str, str)):
            watch = watches.get(rule)
            if watch is None:
                self._outlived += self._findings.about(rule[0])
            else:
                watch.restore(kept.within(str(number)), self._place)

    def _by_metric(self, ids: Ids) -> Iterator[tuple[_Ruled, NDArray[np.int64]]]:
        """Yield the rules of each metric that has any, and the positions in ``ids`` of its series."""
        metric = self._table.metric[ids]
        which = np.flatnonzero(self._has_rule[metric])
        if not len(which):
            return
        rows = metric[which]
        if len(self._table.rows) <= _MOST_SHORT:
            rows = rows.astype(np.int16)  # numpy sorts 16 bits in linear time
        order = np.argsort(rows, kind="stable")
        which, rows = which[order], rows[order]
        starts = np.flatnonzero(np.concatenate(([True], rows[1:] != rows[:-1])))
        for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(rows)], strict=True):
            yield self._rules[self._table.rows[int(rows[start])].name], which[start:stop]

    def _end_outlived(self, samples: Round) -> list[Anomaly]:
        keys, self._outlived = self._outlived, []
        now = int(samples.timestamps.max())
        return [self._findings.close(key, now) for key in keys if key in self._findings]

    def _watches(self) -> Iterator[_Watch]:
        for ruled in self._rules.values():
            yield from ruled.watches

    def _apply(self, watch: _Watch, part: Round) -> list[Anomaly]:
        places = self._place[part.ids]
        covered = self._covered(watch, part.ids, places)
        if not covered.all():
            part, places = part.of(covered), places[covered]
        if not len(part.ids):
            return []
        rule = watch.rule
        values = self._increases(watch, part, places) if rule.of == "increase" else part.values
        limits = self._limits(watch, part.ids, places, values)
        broken, kept = _compared(rule, values, limits)
        look = np.flatnonzero(broken | watch.watched[places])
        found: list[Anomaly] = []
        for i in look.tolist():
            number, at = int(part.ids[i]), int(part.timestamps[i])
            limit, value = float(limits[i]), float(values[i])
            if broken[i]:
                found += self._broken(watch, number, at, value, limit)
            else:
                found += self._kept(watch, number, at, bool(kept[i]))
            watch.look_again(number, int(places[i]))
        return found

    def _broken(self, watch: _Watch, number: int, at: int, value: float, limit: float) -> list[Anomaly]:
        rule, key = watch.rule, (watch.rule.name, number)
        since = watch.spans[number].since if number in watch.spans else at
        watch.spans[number] = Span(since, 0)
        if key in self._findings or at - since < rule.for_seconds * SECOND:
            return []
        table = self._table
        measured = Measured(
            detector="limit",
            observed=known(value),
            limit=known(limit),
            window=self._evidence.window(number, Band(None, None, None), by_peers=False, limit=known(limit)),
        )
        subject = Subject(table.entity_name(number), table.series(number), table.row(number))
        return [self._findings.open(key, rule, subject, measured, since, at, _increase_words(rule, value))]

    def _kept(self, watch: _Watch, number: int, at: int, past_clear: bool) -> list[Anomaly]:
        rule, key = watch.rule, (watch.rule.name, number)
        span = watch.spans[number]
        if key not in self._findings:
            del watch.spans[number]
            return []
        calm_since = (span.calm_since or at) if past_clear else 0
        watch.spans[number] = Span(span.since, calm_since)
        if not past_clear or at - calm_since < rule.clear_seconds * SECOND:
            return []
        del watch.spans[number]
        return [self._findings.close(key, at)]

    def _covered(self, watch: _Watch, ids: Ids, places: Places) -> NDArray[np.bool_]:
        covers = watch.covers[places]
        for i in np.flatnonzero(covers < 0).tolist():
            labels = dict(self._table.series(int(ids[i])).labels)
            covers[i] = watch.covers[places[i]] = watch.rule.matches(labels)
        return np.asarray(covers == 1)

    def _limits(self, watch: _Watch, ids: Ids, places: Places, values: Values) -> Values:
        rule = watch.rule
        for number in (rule.above, rule.below, rule.equal):
            if number is not None:
                return np.full(len(ids), number)
        if rule.below_peak_ratio is not None:
            watch.peak[places] = np.fmax(watch.peak[places], values)
            return watch.peak[places] * rule.below_peak_ratio
        other = watch.other[places]
        for i in np.flatnonzero(other == _UNKNOWN).tolist():
            labels = self._table.series(int(ids[i])).labels
            other[i] = self._table.find(Series(rule.above_metric or rule.below_metric, labels))
            watch.other[places[i]] = other[i]
        return np.where(other >= 0, self._rounds.raw[other], np.nan) + rule.offset

    @staticmethod
    def _increases(watch: _Watch, part: Round, places: Places) -> Values:
        """Return how much each counter rose within the rule's window; work only where something rose."""
        window = round(watch.rule.increase_over_seconds * SECOND)
        values = np.zeros(len(part.ids))
        rose = part.increases > 0
        for i in np.flatnonzero(rose | watch.watched[places]).tolist():
            number, at = int(part.ids[i]), int(part.timestamps[i])
            rises = watch.rises.setdefault(number, deque())
            if rose[i]:
                rises.append((at, float(part.increases[i])))
            while rises and rises[0][0] <= at - window:
                rises.popleft()
            values[i] = sum(amount for _, amount in rises)
            if number not in watch.spans and rises:
                watch.spans[number] = Span(at, 0)
            if not rises:
                del watch.rises[number]
            watch.look_again(number, int(places[i]))
        return values


def _decides(rule: MetricRule) -> str:
    """Return a word that changes when what ``rule`` decides may change."""
    told = json.dumps(rule.model_dump(mode="json", exclude=_ONLY_WORDS), sort_keys=True)
    return blake2b(told.encode(), digest_size=8).hexdigest()


def _compared(rule: MetricRule, values: Values, limits: Values) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return where the limit is broken, and where the value is past what clears it."""
    if rule.equal is not None:
        broken = np.asarray(values == limits)
        return broken, ~broken
    clear = limits if rule.clear is None else np.full(len(values), rule.clear)
    if rule.upward:
        return np.asarray(values > limits), np.asarray(values <= clear)
    return np.asarray(values < limits), np.asarray(values >= clear)


def _increase_words(rule: MetricRule, value: float) -> dict[str, str]:
    if rule.of != "increase":
        return {}
    return {"value": f"{value:.0f}", "limit": "0", "window": f"{rule.increase_over_seconds / 60:g} min"}
