"""A hall on paper and an Alerter in virtual time, for scenarios that read like stories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from coldaisle.anomaly import Anomaly, Phase, anomaly_id
from coldaisle.clock import SECOND, parse_rfc3339
from coldaisle.event import Event
from coldaisle.incident import Incident
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.severity import Severity
from coldaisle.store import IncidentQuery, Notification
from coldaisle.store.memory_incidents import MemoryIncidentStore
from coldaisle.topology import Entity, Relation, RelationKind, Topology, kind_of, name_of
from pipeline.alerting.alerter import Alerter
from pipeline.alerting.settings import AlertSettings

START = parse_rfc3339("2026-11-22T03:00:00Z")


def hall(rows: int = 2, racks: int = 4, nodes: int = 8, gpus: int = 8) -> Topology:
    """Rows a, b, ...; racks a1, a2, ...; nodes a1n1, ...; GPUs GPU-a1n1-0, ...; two PDUs and a leaf switch a rack."""
    topology = Topology([Entity("site", "hall-1")])
    for row in "abcdefghij"[:rows]:
        topology.add(Entity("row", row, "site/hall-1"))
        topology.add(Entity("crac", f"crac-{row}", "site/hall-1"))
        topology.relate(Relation(RelationKind.COOLS, f"crac/crac-{row}", f"row/{row}"))
        for number in range(1, racks + 1):
            rack = f"{row}{number}"
            topology.add(Entity("rack", rack, f"row/{row}"))
            topology.add(Entity("switch", f"leaf-{rack}", f"rack/{rack}"))
            for feed in "ab":
                topology.add(Entity("pdu", f"pdu-{rack}-{feed}", f"row/{row}"))
                topology.relate(Relation(RelationKind.FEEDS, f"pdu/pdu-{rack}-{feed}", f"rack/{rack}"))
            for place in range(1, nodes + 1):
                node = f"{rack}n{place}"
                topology.add(Entity("node", node, f"rack/{rack}"))
                topology.relate(Relation(RelationKind.LINKS, f"switch/leaf-{rack}", f"node/{node}"))
                for slot in range(gpus):
                    topology.add(Entity("gpu", f"GPU-{node}-{slot}", f"node/{node}"))
    return topology


def run_job(topology: Topology, name: str, nodes: Sequence[str]) -> None:
    """Start a job on ``nodes``."""
    topology.add(Entity("job", name))
    for node in nodes:
        topology.relate(Relation(RelationKind.RUNS, f"job/{name}", node))


def finding(
    rule: str,
    entity: str,
    at: float,
    metric: str = "",
    detector: str = "level",
    severity: Severity = Severity.TICKET,
    said: str = "",
    members: Sequence[str] = (),
    sensor: str = "",
    action: str = "",
) -> Anomaly:
    """Return a finding that opens ``at`` seconds after START."""
    more = {"sensor": sensor} if sensor else {}
    series = Series(metric, labels(**{kind_of(entity): name_of(entity)}, **more)) if metric else None
    started_at = START + round(at * SECOND)
    return Anomaly(
        id=anomaly_id(rule, entity, series, started_at),
        phase=Phase.OPENED,
        rule=rule,
        detector=detector,
        version="1",
        severity=severity,
        entity=entity,
        started_at=started_at,
        updated_at=started_at,
        score=0.9,
        explanation=said or f"{rule} on {entity}",
        summary=said,
        series=series,
        members=tuple(members),
        action=action,
    )


def silent(node: str, at: float) -> Anomaly:
    """Return that ``node`` sends nothing since ``at``."""
    said = f"{name_of(node)} sends no telemetry"
    return finding("node_silent", node, at, detector="silence", severity=Severity.PAGE, said=said)


def ended(anomaly: Anomaly, at: float) -> Anomaly:
    """Return the end of ``anomaly``."""
    moment = START + round(at * SECOND)
    return replace(anomaly, phase=Phase.CLOSED, updated_at=moment, ended_at=moment)


@dataclass(frozen=True)
class EventRule:
    """Every event of one kind is a finding; code ``clear`` ends it."""

    name: str
    kind: str
    hold_seconds: float = 600.0
    severity: Severity = Severity.PAGE
    count: int = 1
    window_seconds: float = 600.0

    def finding(self, event: Event, topology: Topology) -> Anomaly | None:
        """See the port."""
        if event.kind != self.kind:
            return None
        entity = topology.observe(event.labels)
        seconds = (event.timestamp - START) / SECOND
        said = f"{entity}: {event.kind} {event.code}"
        opened = finding(self.name, entity, seconds, detector="event", severity=self.severity, said=said)
        return ended(opened, seconds) if event.code == "clear" else opened


class Rules:
    """Some event rules."""

    def __init__(self, *rules: EventRule) -> None:
        self._rules = rules

    def event_rules(self) -> Sequence[EventRule]:
        """Return them."""
        return self._rules


class Story:
    """One Alerter, its store and the messages it would send; times are seconds after START."""

    def __init__(
        self,
        topology: Topology,
        rules: Rules | None = None,
        settings: AlertSettings | None = None,
        store: MemoryIncidentStore | None = None,
    ) -> None:
        self.topology = topology
        self.store = store or MemoryIncidentStore()
        self.stats = SelfStats()
        self.sent: list[tuple[str, str]] = []  # kind, title
        self.alerter = Alerter(
            self.store, topology, rules or Rules(), settings or AlertSettings(), self._notify, self.stats
        )

    def _notify(self, incident: Incident, kind: str) -> list[Notification]:
        self.sent.append((kind, incident.title))
        name = f"{incident.id}-{kind}-{incident.version}"
        return [Notification(name, incident.id, "test", kind, "{}", incident.updated_at)]

    def hear(self, at: float, *anomalies: Anomaly, events: Sequence[Event] = ()) -> list[Incident]:
        """Hear findings at a time."""
        return self.alerter.take(anomalies, events, self.ns(at))

    def until(self, at: float, start: float, step: float = 10.0) -> None:
        """Let time pass from ``start`` to ``at``."""
        moment = start
        while moment < at:
            moment = min(at, moment + step)
            self.alerter.advance(self.ns(moment))

    @staticmethod
    def ns(at: float) -> int:
        """Return event time."""
        return START + round(at * SECOND)

    def incidents(self) -> list[Incident]:
        """Return every incident, the oldest first."""
        found = self.store.find(IncidentQuery(limit=1000))
        return [whole for one in reversed(found) if (whole := self.store.get(one.id)) is not None]

    def only(self) -> Incident:
        """Return the only incident."""
        found = self.incidents()
        assert len(found) == 1, [one.title for one in found]
        return found[0]

    def kinds(self) -> list[str]:
        """Return what was sent, in order."""
        return [kind for kind, _ in self.sent]
