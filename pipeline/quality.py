"""Finds samples that cannot be believed: stuck sensors, sensors full of nonsense, clocks that are wrong."""

from __future__ import annotations

from collections import deque

import numpy as np

from coldaisle.anomaly import Anomaly
from coldaisle.catalogue import Kind
from coldaisle.clock import MINUTE, SECOND
from coldaisle.detector import Ids
from coldaisle.state import Kept, State
from pipeline.columns import column, grown
from pipeline.evidence import Band, Evidence
from pipeline.findings import Findings, Measured, Subject, known
from pipeline.ingest import FUTURE_NS, Samples
from pipeline.rounds import Round, Rounds
from pipeline.rulebook import QualityRule
from pipeline.series_table import SeriesTable
from pipeline.words import span

_LOOK_EVERY_NS = MINUTE
_SIBLINGS_VARY = 0.6  # share of siblings that must have moved lately before standing still is odd
_FEWEST = 3
_SWING_STEPS = 2.5  # of the sensor's resolution: rounding alone flips between two neighbours, or among three
_MOST_NONSENSE = 256  # times remembered of one series


class Quality:
    """Keeps since when each series has not moved, and when each bad one last gave nonsense."""

    def __init__(
        self, table: SeriesTable, rounds: Rounds, evidence: Evidence, findings: Findings, rules: list[QualityRule]
    ) -> None:
        self._table = table
        self._rounds = rounds
        self._evidence = evidence
        self._findings = findings
        self._stuck = [rule for rule in rules if rule.check == "stuck"]
        self._invalid = [rule for rule in rules if rule.check == "invalid"]
        self._skew = [rule for rule in rules if rule.check == "skew"]
        self._still_since = column(0, np.uint32)  # s, 0 = it never moved
        self._value = column(np.nan, np.float32)
        self._nonsense: dict[int, deque[int]] = {}  # of series that gave any lately
        self._skewed: dict[int, int] = {}  # source -> when its clock was last wrong
        self._looked = 0

    def reset(self, ids: Ids) -> None:
        """Begin anew with ids."""
        self._still_since = grown(self._still_since, self._table.size, 0)
        self._value = grown(self._value, self._table.size, np.nan)
        self._still_since[ids], self._value[ids] = 0, np.nan
        for number in ids.tolist():
            self._nonsense.pop(number, None)

    def note(self, samples: Round) -> list[Anomaly]:
        """Take note of which series moved; close what no longer stands still."""
        if not self._stuck:
            return []
        values = samples.values.astype(np.float32)
        before = self._value[samples.ids]
        moved = (values != before) & ~np.isnan(before)
        self._value[samples.ids] = values
        which = samples.ids[moved]
        self._still_since[which] = samples.timestamps[moved] // SECOND
        found: list[Anomaly] = []
        for key in self._findings.about("stuck"):
            position = int(np.searchsorted(samples.ids, key[1]))
            if position < len(samples.ids) and samples.ids[position] == key[1] and moved[position]:
                found.append(self._findings.close(key, int(samples.timestamps[position])))
        return found

    def complain(self, invalid: Samples, skewed: np.ndarray, now: int) -> list[Anomaly]:
        """Take note of nonsense and of clocks that are ahead; return new findings."""
        found: list[Anomaly] = []
        for rule in self._skew:
            for source in skewed.tolist():
                self._skewed[source] = now
                key = ("skew", source)
                if key not in self._findings:
                    subject = Subject(str(self._table.sources.values[source]))
                    words = {"limit": span(FUTURE_NS / SECOND)}
                    found.append(self._findings.open(key, rule, subject, Measured("quality"), now, now, words))
        if not self._invalid or not len(invalid.ids):
            return found
        # What never gave a value is a sensor that does not exist, not one that is bad.
        spoke = self._rounds.last_seen[invalid.ids] > 0
        for number, at in zip(invalid.ids[spoke].tolist(), invalid.timestamps[spoke].tolist(), strict=True):
            found += self._nonsensical(number, at)
        return found

    def check(self, now: int) -> list[Anomaly]:
        """Look for stuck sensors and close what has mended, once a minute of event time."""
        if now - self._looked < _LOOK_EVERY_NS:
            return []
        self._looked = now
        found = self._without_rule(now) + self._mended(now)
        for rule in self._stuck:
            for number, metric in enumerate(self._table.rows):
                if metric.name in rule.metrics and metric.kind is Kind.GAUGE:
                    found += self._find_stuck(rule, number, now)
        return found

    def gone(self, ids: Ids, now: int) -> list[Anomaly]:
        """Close what is open on series that are forgotten."""
        keys = [(word, number) for word in ("stuck", "invalid") for number in ids.tolist()]
        return [self._findings.close(key, now) for key in keys if key in self._findings]

    def state(self) -> State:
        """Return what a snapshot keeps."""
        size = self._table.size
        return {
            "still_since": self._still_since[:size].copy(),
            "value": self._value[:size].copy(),
            "nonsense": [[number, list(times)] for number, times in self._nonsense.items()],
            "skewed": [[source, last] for source, last in self._skewed.items()],
            "looked": self._looked,
        }

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept, size = Kept(state), self._table.size
        self._still_since, self._value = (
            kept.array("still_since", np.uint32, size),
            kept.array("value", np.float32, size),
        )
        for number, times in kept.rows("nonsense", int, list):
            self._nonsense[number] = deque(times, maxlen=_MOST_NONSENSE)
        self._skewed = {source: last for source, last in kept.rows("skewed", int, int)}
        self._looked = kept.integer("looked")

    def _without_rule(self, now: int) -> list[Anomaly]:
        """Close what no rule asks for any more, after a start with other rules."""
        gone = [
            word
            for word, rules in (("stuck", self._stuck), ("invalid", self._invalid), ("skew", self._skew))
            if not rules
        ]
        return [self._findings.close(key, now) for word in gone for key in self._findings.about(word)]

    def _nonsensical(self, number: int, at: int) -> list[Anomaly]:
        times = self._nonsense.setdefault(number, deque(maxlen=_MOST_NONSENSE))
        times.append(at)
        found: list[Anomaly] = []
        for rule in self._invalid:
            while times and times[0] < at - rule.for_seconds * SECOND:
                times.popleft()
            key = ("invalid", number)
            if len(times) < rule.count or key in self._findings:
                continue
            subject = Subject(self._table.entity_name(number), self._table.series(number), self._table.row(number))
            window = self._evidence.window(number, Band(None, None, None), by_peers=False)
            words = {"count": str(len(times)), "window": span(rule.for_seconds)}
            measured = Measured("quality", window=window)
            found.append(self._findings.open(key, rule, subject, measured, times[0], at, words))
        return found

    def _mended(self, now: int) -> list[Anomaly]:
        found: list[Anomaly] = []
        for rule in self._invalid:
            for number, times in list(self._nonsense.items()):
                if times[-1] < now - rule.for_seconds * SECOND:
                    del self._nonsense[number]
                    if ("invalid", number) in self._findings:
                        found.append(self._findings.close(("invalid", number), now))
        for rule in self._skew:
            for source, last in list(self._skewed.items()):
                if last < now - rule.for_seconds * SECOND:
                    del self._skewed[source]
                    if ("skew", source) in self._findings:
                        found.append(self._findings.close(("skew", source), now))
        return found

    def _find_stuck(self, rule: QualityRule, metric: int, now: int) -> list[Anomaly]:
        table = self._table
        seconds = now // SECOND
        ids = np.flatnonzero(table.used[: table.size] & (table.metric[: table.size] == metric))
        alive = (
            (now - self._rounds.last_seen[ids] < 5 * MINUTE) & (self._still_since[ids] > 0) & (table.group[ids] >= 0)
        )
        ids = ids[alive]
        age = seconds - self._still_since[ids].astype(np.int64)
        found: list[Anomaly] = []
        for position in np.flatnonzero(age >= rule.for_seconds).tolist():
            number = int(ids[position])
            key = ("stuck", number)
            others = (table.group[ids] == table.group[number]) & (ids != number)
            siblings = age[others]
            if key in self._findings or len(siblings) < _FEWEST:
                continue
            if float((siblings < rule.for_seconds / 4).mean()) < _SIBLINGS_VARY:
                continue
            swings, resolution = self._evidence.swings(ids[others])
            if float((swings > _SWING_STEPS * resolution).mean()) < _SIBLINGS_VARY:
                continue  # a node at rest: its siblings move by their rounding, and this one need not
            series = table.series(number)
            if not rule.matches(dict(series.labels)):
                continue
            value = known(float(self._rounds.raw[number]))
            window = self._evidence.window(number, Band(None, None, None), by_peers=False)
            since = int(self._still_since[number]) * SECOND
            subject = Subject(table.entity_name(number), series, table.row(number))
            measured = Measured("quality", observed=value, window=window)
            words = {"window": span((now - since) / SECOND), "siblings": str(len(siblings))}
            found.append(self._findings.open(key, rule, subject, measured, since, now, words))
        return found
