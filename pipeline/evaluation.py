"""Precision, recall, lead time and compression of incidents against the faults that really were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from math import inf
from typing import Any

from coldaisle.clock import HOUR, MINUTE, SECOND, parse_rfc3339
from coldaisle.errors import ConfigError
from coldaisle.incident import Incident, ResolveReason
from coldaisle.severity import Severity
from coldaisle.topology import Topology

SLACK_SECONDS = 60.0
"""How much earlier than its fault an incident may open and still be its finding: clocks and rounding."""
TAIL_SECONDS = 900.0
"""How long after a fault's end an incident may still open: what is slow to warm is slow to tell."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of ``truth.jsonl``. ``end`` None = it lasted; ``full_at`` = when one that builds up was fully grown."""

    id: str
    fault: str
    entity: str
    affected: frozenset[str]
    start: int
    end: int | None
    severity: str = ""
    full_at: int | None = None

    @property
    def places(self) -> frozenset[str]:
        """Everything it touches."""
        return self.affected | {self.entity}


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one fault. ``delay_seconds`` and ``lead_seconds`` are None where it was not found, or has none."""

    fault: Fault
    incident_id: str | None
    duplicates: int
    delay_seconds: float | None  # from the fault's start to its incident
    lead_seconds: float | None  # from its incident to the fault's full growth; negative = too late
    suspect_is_right: bool


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The marks of one run. Shares are None where nothing was there to be judged."""

    findings: tuple[Finding, ...]
    false_incidents: tuple[str, ...]
    incidents: int  # of severity page or ticket
    alerts: int
    anomalies: int
    span_seconds: float
    compression: float | None
    signals: int | None = None
    readings: int | None = None

    @property
    def signal_compression(self) -> float | None:
        """The share of signals that people were spared: 1 - incidents / signals."""
        return 1.0 - self.incidents / self.signals if self.signals else None

    @property
    def reading_compression(self) -> float | None:
        """The share of anomalous readings that people were spared: 1 - incidents / readings."""
        return 1.0 - self.incidents / self.readings if self.readings else None

    @property
    def found(self) -> tuple[Finding, ...]:
        """The faults that were found."""
        return tuple(finding for finding in self.findings if finding.incident_id is not None)

    @property
    def precision(self) -> float | None:
        """Incidents that belong to a fault, of all incidents that page or make a ticket."""
        return (self.incidents - len(self.false_incidents)) / self.incidents if self.incidents else None

    @property
    def recall(self) -> float | None:
        """Faults that were found, of all faults."""
        return len(self.found) / len(self.findings) if self.findings else None

    @property
    def suspect_accuracy(self) -> float | None:
        """Found faults whose incident suspects the faulty entity, or what holds it or is held by it."""
        return sum(one.suspect_is_right for one in self.found) / len(self.found) if self.found else None

    @property
    def duplicates(self) -> int:
        """Incidents beside the first of a fault."""
        return sum(finding.duplicates for finding in self.findings)

    def median_delay_seconds(self) -> float | None:
        """Return the median time from a fault's start to its incident."""
        return median_of([one.delay_seconds for one in self.found if one.delay_seconds is not None])

    def leads(self) -> list[float]:
        """
        Return the lead (s) of every fault that builds up: from its incident to its full growth.

        One that was missed has minus infinity: leaving it out would make the median of a blind house splendid.
        """
        return [
            -inf if one.lead_seconds is None else one.lead_seconds
            for one in self.findings
            if one.fault.full_at is not None
        ]

    def median_lead_seconds(self) -> float | None:
        """Return the median of :meth:`leads`; None where no fault builds up, or most of those are missed."""
        lead = median_of(self.leads())
        return None if lead is None or lead == -inf else lead

    def to_json(self) -> dict[str, Any]:
        """Return the marks as ``coldaisle replay --json`` prints them."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "suspect_accuracy": self.suspect_accuracy,
            "compression": self.compression,
            "incidents": self.incidents,
            "false_incidents": list(self.false_incidents),
            "duplicates": self.duplicates,
            "alerts": self.alerts,
            "anomalies": self.anomalies,
            "signals": self.signals,
            "signal_compression": self.signal_compression,
            "anomalous_readings": self.readings,
            "reading_compression": self.reading_compression,
            "median_delay_seconds": self.median_delay_seconds(),
            "median_lead_seconds": self.median_lead_seconds(),
            "false_per_day": len(self.false_incidents) * 86_400 / self.span_seconds if self.span_seconds > 0 else None,
            "faults": [
                {
                    "id": one.fault.id,
                    "fault": one.fault.fault,
                    "entity": one.fault.entity,
                    "found": one.incident_id is not None,
                    "incident": one.incident_id,
                    "duplicates": one.duplicates,
                    "delay_seconds": one.delay_seconds,
                    "lead_seconds": one.lead_seconds,
                    "suspect_is_right": one.suspect_is_right,
                }
                for one in self.findings
            ],
        }


def faults(rows: Sequence[Mapping[str, Any]]) -> list[Fault]:
    """Read the rows of ``truth.jsonl``. Raises ConfigError that names the row."""
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            found.append(
                Fault(
                    id=str(row["id"]),
                    fault=str(row["fault"]),
                    entity=str(row["entity"]),
                    affected=frozenset(str(one) for one in row.get("affected") or ()),
                    start=_moment(row["start"]) or 0,
                    end=_moment(row.get("end")),
                    severity=str(row.get("severity", "")),
                    full_at=_moment(row.get("full_at")),
                )
            )
        except KeyError as error:
            raise ConfigError(f"truth row {number} lacks {error.args[0]!r}; see the recording format") from error
        except (TypeError, ValueError) as error:
            raise ConfigError(f"truth row {number}: {error}; times are RFC 3339 or Unix nanoseconds") from error
    return found


def evaluate(
    incidents: Sequence[Incident],
    truth: Sequence[Mapping[str, Any]],
    alerts_count: int,
    anomalies_count: int,
    span: tuple[int, int],
    topology: Topology | None = None,
    signals_count: int | None = None,
    readings_count: int | None = None,
) -> Evaluation:
    """
    Judge ``incidents`` against the rows of ``truth.jsonl``; ``span`` is the first and last time (ns) of the recording.

    * A fault is *found* by an incident of severity page or ticket that opens between the fault's start (less
      SLACK) and its end (plus TAIL), and that touches it: the suspect or an entity is the fault's entity or
      affected, or (with ``topology``) contains, feeds, cools or links the fault's entity as suspect, or is
      contained by it. One that was open before must have taken in such an alert after the start.
    * Of several, the one that names the culprit stands for the fault, else the earliest.
    * precision = incidents that touch a fault / incidents; recall = faults found / faults.
    * Incidents that touch faults and stand for none are duplicates: not false, but counted, each once. Merged ones
      (resolved as duplicate) are not counted at all, since people see them closed.
    * Told is the first word of it, in an incident that stands for no other fault: delay = told - start;
      lead = full_at - told, where the truth says when it was full.
    * compression = alerts / incidents. ``signals_count`` is what alerting for each series and event would have sent,
      ``readings_count`` how many samples were past the threshold.

    Raises ConfigError where a row cannot be read.
    """
    judged = [
        one
        for one in sorted(incidents, key=lambda one: (one.opened_at, one.id))
        if one.severity is not Severity.INFO and one.resolve_reason is not ResolveReason.DUPLICATE
    ]
    told: list[tuple[Fault, list[tuple[Incident, int]]]] = []
    for fault in faults(truth):
        mine = [(one, when) for one in judged if (when := _told_at(one, fault, span[1], topology)) is not None]
        mine.sort(key=lambda pair: (not _right(pair[0].suspect, fault, topology), pair[1], pair[0].id))
        told.append((fault, mine))
    standing = {mine[0][0].id for _, mine in told if mine}
    further = _further(told, standing, topology)
    findings = []
    for fault, mine in told:
        first = mine[0][0] if mine else None
        when = min((when for one, when in mine if one is first or one.id not in standing), default=0)
        findings.append(
            Finding(
                fault=fault,
                incident_id=first.id if first else None,
                duplicates=further[fault.id],
                delay_seconds=(when - fault.start) / SECOND if first else None,
                lead_seconds=(fault.full_at - when) / SECOND if first and fault.full_at is not None else None,
                suspect_is_right=first is not None and _right(first.suspect, fault, topology),
            )
        )
    taken = {one.id for _, mine in told for one, _ in mine}
    return Evaluation(
        findings=tuple(findings),
        false_incidents=tuple(one.id for one in judged if one.id not in taken),
        incidents=len(judged),
        alerts=alerts_count,
        anomalies=anomalies_count,
        span_seconds=(span[1] - span[0]) / SECOND,
        compression=alerts_count / len(judged) if judged else None,
        signals=signals_count,
        readings=readings_count,
    )


def _further(
    told: Sequence[tuple[Fault, list[tuple[Incident, int]]]], standing: Set[str], topology: Topology | None
) -> Counter[str]:
    """Count the incidents that stand for no fault, each for the fault that it fits best."""
    best: dict[str, tuple[bool, int, str]] = {}
    for fault, mine in told:
        for one, _ in mine:
            if one.id not in standing:
                fit = (_right(one.suspect, fault, topology), fault.start, fault.id)
                best[one.id] = max(best.get(one.id, fit), fit)
    return Counter(fault for _, _, fault in best.values())


def _told_at(incident: Incident, fault: Fault, last: int, topology: Topology | None) -> int | None:
    """Return when ``incident`` told of ``fault``, or None when it does not speak of it."""
    begin = fault.start - round(SLACK_SECONDS * SECOND)
    end = (fault.end if fault.end is not None else last) + round(TAIL_SECONDS * SECOND)
    if incident.opened_at > end:
        return None
    if incident.opened_at >= begin:
        touches = bool(fault.places & {incident.suspect, *incident.entities})
        return incident.opened_at if touches or _right(incident.suspect, fault, topology) else None
    joined = [
        alert.starts_at
        for alert in incident.alerts
        if begin <= alert.starts_at <= end and fault.places & {alert.entity, *alert.members}
    ]
    return max(fault.start, min(joined)) if joined else None


def _right(suspect: str, fault: Fault, topology: Topology | None) -> bool:
    if suspect == fault.entity:
        return True
    if topology is None:
        return False
    if suspect.startswith("site/"):
        return False  # everything is within the site; naming it says nothing
    return suspect in topology.ancestors(fault.entity)[:1] or fault.entity in topology.ancestors(suspect)


def median_of(values: Sequence[float]) -> float | None:
    """Return the median; None of nothing."""
    if not values:
        return None
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _moment(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, str):
        return parse_rfc3339(value)
    return int(value)


def describe(evaluation: Evaluation) -> str:
    """Return the marks as a few lines of text."""
    lines = [
        f"{len(evaluation.found)} of {len(evaluation.findings)} faults found, "
        f"{len(evaluation.false_incidents)} of {evaluation.incidents} incidents false, "
        f"{evaluation.duplicates} duplicates",
    ]
    lead = evaluation.median_lead_seconds()
    if lead is not None:
        lines.append(f"median lead on faults that build up: {lead / 60:.0f} min")
    for one in evaluation.findings:
        if one.delay_seconds is None:
            lines.append(f"  missed  {one.fault.fault} of {one.fault.entity}")
            continue
        culprit = "" if one.suspect_is_right else ", another suspect"
        delay = one.delay_seconds
        text = f"{delay:.0f} s" if delay < 2 * MINUTE / SECOND else f"{delay * SECOND / HOUR:.2f} h"
        lines.append(f"  found   {one.fault.fault} of {one.fault.entity} after {text}{culprit}")
    return "\n".join(lines)
