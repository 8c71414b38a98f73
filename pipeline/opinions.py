"""Turns the judge's verdicts into findings that open after a while and close with hysteresis."""

from __future__ import annotations

import numpy as np

from coldaisle.anomaly import Anomaly
from coldaisle.clock import SECOND
from coldaisle.detector import Ids, surprise
from coldaisle.state import Kept, State
from pipeline.evidence import Band, Evidence
from pipeline.findings import Findings, Measured, Subject, known, score_sentence
from pipeline.judge import Judge, Verdict
from pipeline.series_table import SeriesTable

_BAND_SPREADS = 3.0
_WORSE = 2.0  # times as far from what was expected as when it was last announced
_NAMED_PEERS = 64


class Opinions:
    """Score findings, one a series at a time."""

    def __init__(self, table: SeriesTable, judge: Judge, evidence: Evidence, findings: Findings) -> None:
        self._table = table
        self._judge = judge
        self._evidence = evidence
        self._findings = findings
        self._clear_ns: dict[int, int] = {}  # of open findings: how long it must be calm
        self._calm_since: dict[int, int] = {}  # of open findings; 0 = still strange

    def decide(self, verdict: Verdict) -> list[Anomaly]:
        """Return what a round opens, worsens and closes."""
        found: list[Anomaly] = []
        if self._clear_ns:
            numbers = np.fromiter(self._clear_ns, np.int64, len(self._clear_ns))
            numbers.sort()
            position = np.searchsorted(verdict.ids, numbers)
            position[position == len(verdict.ids)] = 0
            for i in position[verdict.ids[position] == numbers].tolist():
                found += self._follow(verdict, i)
        for i in np.flatnonzero(verdict.ripe).tolist():
            if int(verdict.ids[i]) not in self._clear_ns:
                found += self._open(verdict, i)
        return found

    def gone(self, ids: Ids, now: int) -> list[Anomaly]:
        """Close what is open on series that are forgotten."""
        return [self._close(number, now) for number in ids.tolist() if number in self._clear_ns]

    def state(self) -> State:
        """Return what a snapshot keeps; a rule that changes holds for findings that open from then on."""
        return {"open": [[number, clear, self._calm_since[number]] for number, clear in self._clear_ns.items()]}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        for number, clear, calm_since in Kept(state).rows("open", int, int, int):
            self._clear_ns[number], self._calm_since[number] = clear, calm_since

    def _measured(self, verdict: Verdict, i: int, with_window: bool) -> Measured:
        number = int(verdict.ids[i])
        detector = self._judge.detectors[int(verdict.detector[i])]
        by_peers = detector.name in self._judge.peer_detectors
        expected, half = float(verdict.expected[i]), _BAND_SPREADS * float(verdict.spread[i])
        band = Band(known(expected), known(expected - half), known(expected + half))
        names: tuple[str, ...] = ()
        if by_peers:
            siblings = self._evidence.siblings(number)[:_NAMED_PEERS].tolist()
            names = tuple(dict.fromkeys(self._table.entity_name(each) for each in siblings))
        tail = float(verdict.tail[i])
        return Measured(
            detector=detector.name,
            version=detector.version,
            observed=known(float(verdict.values[i])),
            expected=band.expected,
            low=band.low,
            high=band.high,
            tail_probability=known(tail),
            score=float(np.nan_to_num(surprise(np.array([tail]))[0])),
            peers=names,
            window=self._evidence.window(number, band, by_peers) if with_window else None,
        )

    def _open(self, verdict: Verdict, i: int) -> list[Anomaly]:
        number = int(verdict.ids[i])
        rule = self._judge.rules.get((int(self._table.metric[number]), int(verdict.detector[i])))
        series = self._table.series(number)
        if rule is None or not rule.matches(dict(series.labels)):
            return []
        self._clear_ns[number] = round(rule.clear_seconds * SECOND)
        self._calm_since[number] = 0
        subject = Subject(self._table.entity_name(number), series, self._table.row(number))
        measured = self._measured(verdict, i, with_window=True)
        since = self._judge.since(number)
        at = int(verdict.timestamps[i])
        return [self._findings.open(("score", number), rule, subject, measured, since, at)]

    def _follow(self, verdict: Verdict, i: int) -> list[Anomaly]:
        number, at = int(verdict.ids[i]), int(verdict.timestamps[i])
        if verdict.calm[i]:
            since = self._calm_since[number] or at
            self._calm_since[number] = since
            if at - since >= self._clear_ns[number]:
                return [self._close(number, at)]
            return []
        self._calm_since[number] = 0
        key = ("score", number)
        opened = self._findings.get(key)
        if opened is None or opened.observed is None or opened.expected is None or not verdict.exceeds[i]:
            return []
        value = float(verdict.values[i])
        if abs(value - opened.expected) < _WORSE * abs(opened.observed - opened.expected):
            return []
        subject = Subject(opened.entity, opened.series, self._table.row(number))
        measured = self._measured(verdict, i, with_window=False)
        return [self._findings.worsen(key, value, score_sentence(subject, measured, opened.started_at), at)]

    def _close(self, number: int, now: int) -> Anomaly:
        del self._clear_ns[number]
        del self._calm_since[number]
        return self._findings.close(("score", number), now)
