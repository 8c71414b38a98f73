"""Precision, recall, lead time and compression of incidents against the faults that really were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    delay_seconds: float | None  # from the fault's start to the incident's opening
    lead_seconds: float | None  # from the incident's opening to the fault's full growth; negative = too late
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
        delays = sorted(one.delay_seconds for one in self.found if one.delay_seconds is not None)
        if not delays:
            return None
        middle = len(delays) // 2
        return delays[middle] if len(delays) % 2 else (delays[middle - 1] + delays[middle]) / 2

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
            "median_delay_seconds": self.median_delay_seconds(),
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
) -> Evaluation:
    """
    Judge ``incidents`` against the rows of ``truth.jsonl``; ``span`` is the first and last time (ns) of the recording.

    * A fault is *found* by an incident of severity page or ticket that opens between the fault's start (less
      SLACK) and its end (plus TAIL), and that touches it: the suspect or an entity is the fault's entity or
      affected, or (with ``topology``) contains, feeds, cools or links the fault's entity as suspect, or is
      contained by it. One that was open before must have taken in such an alert after the start.
    * precision = incidents that touch a fault / incidents; recall = faults found / faults.
    * Further incidents of one fault are duplicates: not false, but counted. Merged ones (resolved as
      duplicate) are not counted at all, since people see them closed.
    * delay = opened_at - start of the first; lead = full_at - opened_at where the truth says when it was full.
    * compression = alerts / incidents.

    Raises ConfigError where a row cannot be read.
    """
    judged = [
        one
        for one in sorted(incidents, key=lambda one: (one.opened_at, one.id))
        if one.severity is not Severity.INFO and one.resolve_reason is not ResolveReason.DUPLICATE
    ]
    taken: dict[str, int] = {}
    findings = []
    for fault in faults(truth):
        mine = [(one, when) for one in judged if (when := _told_at(one, fault, span[1], topology)) is not None]
        # The one that names the culprit stands for the fault; ties go to the earliest.
        mine.sort(key=lambda pair: (not _right(pair[0].suspect, fault, topology), pair[1], pair[0].id))
        first = min(mine, key=lambda pair: pair[1]) if mine else None
        for one, _ in mine:
            taken[one.id] = taken.get(one.id, 0) + 1
        findings.append(
            Finding(
                fault=fault,
                incident_id=mine[0][0].id if mine else None,
                duplicates=max(0, len(mine) - 1),
                delay_seconds=(first[1] - fault.start) / SECOND if first else None,
                lead_seconds=(fault.full_at - first[1]) / SECOND if first and fault.full_at is not None else None,
                suspect_is_right=bool(mine) and _right(mine[0][0].suspect, fault, topology),
            )
        )
    return Evaluation(
        findings=tuple(findings),
        false_incidents=tuple(one.id for one in judged if one.id not in taken),
        incidents=len(judged),
        alerts=alerts_count,
        anomalies=anomalies_count,
        span_seconds=(span[1] - span[0]) / SECOND,
        compression=alerts_count / len(judged) if judged else None,
    )


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
    for one in evaluation.findings:
        if one.delay_seconds is None:
            lines.append(f"  missed  {one.fault.fault} of {one.fault.entity}")
            continue
        culprit = "" if one.suspect_is_right else ", another suspect"
        delay = one.delay_seconds
        text = f"{delay:.0f} s" if delay < 2 * MINUTE / SECOND else f"{delay * SECOND / HOUR:.2f} h"
        lines.append(f"  found   {one.fault.fault} of {one.fault.entity} after {text}{culprit}")
    return "\n".join(lines)
