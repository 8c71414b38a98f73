"""The open findings: makes them, words them, closes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from coldaisle.anomaly import Anomaly, Contribution, Phase, Window, anomaly_id
from coldaisle.catalogue import Metric
from coldaisle.series import Series
from coldaisle.state import Kept, State
from coldaisle.words_json import anomaly_from_json, anomaly_to_json
from pipeline.rulebook import VERSION, Rule, ScoreRule
from pipeline.words import clock_time, entity_phrase, metric_phrase, quantity

Key = tuple[str, int]
"""What decided, and the number of what it is about."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a finding is about."""

    entity: str
    series: Series | None = None
    row: Metric | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, by whom; None = unknown."""

    detector: str
    version: str = VERSION
    observed: float | None = None
    expected: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    tail_probability: float | None = None
    score: float = 1.0
    peers: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    window: Window | None = None
    contributions: tuple[Contribution, ...] = ()  # none = the subject's metric alone


def words_for(subject: Subject, measured: Measured, since: int) -> dict[str, str]:
    """Return the words that templates may use for a finding on a series or an entity."""
    words = {"entity": entity_phrase(subject.entity), "since": clock_time(since), "members": str(len(measured.members))}
    row = subject.row
    if row is None:
        return words
    words["metric"] = metric_phrase(row)
    sensor = subject.series.label("sensor") if subject.series else None
    words["sensor"] = sensor if sensor is not None else metric_phrase(row)
    if measured.observed is not None:
        words["value"] = quantity(measured.observed, row)
    if measured.limit is not None:
        words["limit"] = quantity(measured.limit, row)
    if measured.expected is not None:
        words["expected"] = quantity(measured.expected, row)
        if measured.observed is not None:
            away = measured.observed - measured.expected
            words["difference"] = quantity(abs(away), row)
            words["direction"] = "above" if away >= 0 else "below"
    words["siblings"] = str(len(measured.peers))
    return words


def score_sentence(subject: Subject, measured: Measured, since: int) -> str:
    """Return the sentence that explains an opinion: ``GPU temperature 78 °C, 9 °C above its 7 siblings (69 °C)``."""
    words = words_for(subject, measured, since)
    start = f"{words.get('metric', '')} {words.get('value', 'unknown')}"
    if measured.expected is None:
        return f"{start} since {words['since']}."
    against = (
        f"its {words['siblings']} siblings ({words['expected']})"
        if measured.peers
        else f"its usual level ({words['expected']})"
    )
    return f"{start}, {words['difference']} {words['direction']} {against} since {words['since']}."


class Findings:
    """Open findings by key; each is announced when it opens, when it worsens, and when it ends."""

    def __init__(self) -> None:
        self._open: dict[Key, Anomaly] = {}
        self._told: dict[Key, tuple[Anomaly, dict[str, Any]]] = {}  # as JSON; most stay the same for long

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, key: Key) -> bool:
        return key in self._open

    def get(self, key: Key) -> Anomaly | None:
        """Return an open finding, without its window."""
        return self._open.get(key)

    def about(self, word: str) -> list[tuple[str, int]]:
        """Return the keys of what is open and begins with ``word``."""
        return [key for key in self._open if key[0] == word]

    def state(self) -> State:
        """Return what a snapshot keeps."""
        before, self._told = self._told, {}
        for key, anomaly in self._open.items():
            known = before.get(key)
            same = known is not None and known[0] is anomaly
            self._told[key] = known if known is not None and same else (anomaly, anomaly_to_json(anomaly))
        return {"open": [[*key, told] for key, (_, told) in self._told.items()]}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        rows = Kept(state).rows("open", str, int, dict)
        self._open = {(word, number): anomaly_from_json(told) for word, number, told in rows}

    def open(
        self,
        key: Key,
        rule: Rule,
        subject: Subject,
        measured: Measured,
        since: int,
        now: int,
        extra: Mapping[str, str] | None = None,
    ) -> Anomaly:
        """Open a finding and return it as announced."""
        words = {**words_for(subject, measured, since), **(extra or {})}
        if isinstance(rule, ScoreRule) and not rule.explanation:
            explanation = score_sentence(subject, measured, since)
        else:
            explanation = rule.say(rule.explanation or rule.summary, words)
        share = measured.contributions
        if not share and subject.row is not None:
            share = (Contribution(subject.entity, subject.row.name, 1.0, measured.observed, measured.expected),)
        anomaly = Anomaly(
            id=anomaly_id(rule.name, subject.entity, subject.series, since),
            phase=Phase.OPENED,
            rule=rule.name,
            detector=measured.detector,
            version=measured.version,
            severity=rule.severity,
            entity=subject.entity,
            started_at=since,
            updated_at=now,
            score=measured.score,
            explanation=explanation,
            series=subject.series,
            observed=measured.observed,
            expected=measured.expected,
            low=measured.low,
            high=measured.high,
            tail_probability=measured.tail_probability,
            contributions=share,
            peers=measured.peers,
            members=measured.members,
            summary=rule.say(rule.summary, words),
            action=rule.say(rule.action, words),
            runbook=rule.runbook,
            window=measured.window,
        )
        # Windows are large and frozen evidence is kept with the incident: what stays open here does without.
        self._open[key] = replace(anomaly, window=None)
        return anomaly

    def worsen(self, key: Key, observed: float, explanation: str, now: int) -> Anomaly:
        """Announce that an open finding has become clearly worse."""
        anomaly = replace(
            self._open[key], phase=Phase.UPDATED, observed=observed, explanation=explanation, updated_at=now
        )
        self._open[key] = anomaly
        return anomaly

    def close(self, key: Key, now: int) -> Anomaly:
        """End a finding and return it as announced. Raises KeyError."""
        return replace(self._open.pop(key), phase=Phase.CLOSED, updated_at=now, ended_at=now)


def known(value: float) -> float | None:
    """Return ``value``, or None where it is not a number."""
    return float(value) if np.isfinite(value) else None
