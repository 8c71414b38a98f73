"""What two runs over the same recording told people, held against each other."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from coldaisle.clock import MINUTE, rfc3339
from coldaisle.incident import Incident, ResolveReason
from coldaisle.severity import Severity
from pipeline.evaluation import Evaluation

SLACK = 15 * MINUTE
"""How far apart two incidents of one cause may lie: a changed budget finds the same thing earlier or later."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run over a recording told people."""

    incidents: tuple[Incident, ...]
    notifications: int
    alerts: int
    anomalies: int
    evaluation: Evaluation | None

    def told(self) -> list[Incident]:
        """Return what people saw, in order of opening: no duplicates that were merged into another."""
        seen = [one for one in self.incidents if one.resolve_reason is not ResolveReason.DUPLICATE]
        return sorted(seen, key=lambda one: (one.opened_at, one.id))

    def by_severity(self) -> Counter[Severity]:
        """Return how many incidents of each severity people saw."""
        return Counter(one.severity for one in self.told())


@dataclass(frozen=True, slots=True)
class Comparison:
    """
    Two runs over one recording.

    ``same`` pairs incidents of both that speak of the same thing: they overlap in time (with 15 minutes of slack) and
    one's suspect is among the other's entities. Each is paired at most once, since a second one is a second call.
    """

    before: Outcome
    after: Outcome
    same: tuple[tuple[Incident, Incident], ...]
    only_before: tuple[Incident, ...]
    only_after: tuple[Incident, ...]

    @property
    def changed(self) -> tuple[tuple[Incident, Incident], ...]:
        """Pairs whose severity differs: somebody was woken for the one and not for the other."""
        return tuple((old, new) for old, new in self.same if old.severity is not new.severity)

    def to_json(self) -> dict[str, Any]:
        """Return what ``coldaisle backtest --json`` prints."""
        return {
            "before": _outcome_to_json(self.before),
            "after": _outcome_to_json(self.after),
            "same": len(self.same),
            "severity_changed": [{"before": _brief(old), "after": _brief(new)} for old, new in self.changed],
            "only_before": [_brief(one) for one in self.only_before],
            "only_after": [_brief(one) for one in self.only_after],
        }


def compare(before: Outcome, after: Outcome) -> Comparison:
    """Pair the incidents of two runs over the same recording."""
    left, waiting = before.told(), after.told()
    same: list[tuple[Incident, Incident]] = []
    only_before: list[Incident] = []
    # Who suspects the same entity is paired before who merely reaches it, so that a near one takes no one's place.
    for strict in (True, False):
        rest: list[Incident] = []
        for old in left:
            twins = [new for new in waiting if _speaks_of_the_same(old, new, strict)]
            if not twins:
                rest.append(old)
                continue
            twin = min(twins, key=lambda new: (abs(new.opened_at - old.opened_at), new.id))
            waiting.remove(twin)
            same.append((old, twin))
        left = rest
    only_before = left
    same.sort(key=lambda pair: (pair[0].opened_at, pair[0].id))
    return Comparison(before, after, tuple(same), tuple(only_before), tuple(waiting))


def _speaks_of_the_same(old: Incident, new: Incident, strict: bool) -> bool:
    first, second = _span(old), _span(new)
    if first[0] - SLACK > second[1] or second[0] - SLACK > first[1]:
        return False
    if strict:
        return old.suspect == new.suspect
    return old.suspect in {new.suspect, *new.entities} or new.suspect in old.entities


def _span(one: Incident) -> tuple[int, int]:
    return one.started_at, max(one.ended_at if one.ended_at is not None else one.updated_at, one.opened_at)


def _outcome_to_json(outcome: Outcome) -> dict[str, Any]:
    counts = outcome.by_severity()
    found: dict[str, Any] = {
        "incidents": len(outcome.told()),
        "by_severity": {severity.value: counts[severity] for severity in Severity},
        "notifications": outcome.notifications,
        "alerts": outcome.alerts,
        "anomalies": outcome.anomalies,
    }
    marks = outcome.evaluation
    if marks is not None:
        found["marks"] = {
            "precision": marks.precision,
            "recall": marks.recall,
            "suspect_accuracy": marks.suspect_accuracy,
            "false_incidents": len(marks.false_incidents),
            "duplicates": marks.duplicates,
            "median_delay_seconds": marks.median_delay_seconds(),
        }
    return found


def _brief(one: Incident) -> dict[str, Any]:
    return {
        "id": one.id,
        "opened_at": rfc3339(one.opened_at),
        "severity": one.severity.value,
        "suspect": one.suspect,
        "entities": len(one.entities),
        "title": one.title,
    }
