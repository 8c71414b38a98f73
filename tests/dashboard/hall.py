"""A plausible hall of 1,024 GPUs with two open incidents and a history, made the same every time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from coldaisle.alert import Alert, AlertState
from coldaisle.anomaly import Anomaly, Phase, Window, anomaly_id
from coldaisle.clock import DAY, HOUR, MINUTE, SECOND, ManualClock
from coldaisle.event import Event
from coldaisle.frame import Block, Frame
from coldaisle.incident import Incident, IncidentState, ResolveReason
from coldaisle.live import LiveView
from coldaisle.matcher import Matcher, all_match
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.severity import Severity
from coldaisle.store import Line, Notification, NotificationState
from coldaisle.store.memory_incidents import MemoryIncidentStore
from coldaisle.topology import Entity, Relation, RelationKind, Topology
from dashboard.source import Backends, Health

NOW = 1_795_403_520 * SECOND  # 2026-11-23 02:32:00 UTC
RACKS_A_ROW, NODES_A_RACK, GPUS_A_NODE = 8, 4, 8
_METRICS = ("gpu_temperature_celsius", "gpu_power_watts", "gpu_clock_sm_hertz", "gpu_utilization_ratio")
_USUAL = {
    "gpu_temperature_celsius": (64.0, 1.6),
    "gpu_power_watts": (610.0, 14.0),
    "gpu_clock_sm_hertz": (1.755e9, 9e6),
    "gpu_utilization_ratio": (0.94, 0.02),
    "node_inlet_temperature_celsius": (23.4, 0.4),
}


def topology(rows: str = "ABCD", racks: int = RACKS_A_ROW, nodes: int = NODES_A_RACK) -> Topology:
    """Rows of racks of nodes of eight GPUs; one air unit a row, two feeds a rack."""
    hall = Topology([Entity("site", "hall-1")])
    number = 0
    for place, row in enumerate(rows, start=1):
        hall.add(Entity("row", row, "site/hall-1"))
        hall.add(Entity("crac", f"crac-{place}", "site/hall-1"))
        hall.relate(Relation(RelationKind.COOLS, f"crac/crac-{place}", f"row/{row}"))
        for rack in range(1, racks + 1):
            hall.add(Entity("rack", f"{row}{rack:02}", f"row/{row}"))
            for _ in range(nodes):
                number += 1
                hall.add(Entity("node", f"n{number:03}", f"rack/{row}{rack:02}"))
                for gpu in range(GPUS_A_NODE):
                    hall.add(Entity("gpu", f"n{number:03}-gpu{gpu}", f"node/n{number:03}"))
    return hall


def live(hall: Topology, now: int = NOW, version: int = 1, warm: Sequence[str] = ("B",)) -> LiveView:
    """The newest value of every series: row B warms, one GPU lags, node n117 is silent."""
    random = np.random.default_rng(7)
    series: list[Series] = []
    entities: list[str] = []
    shift: list[float] = []
    for gpu in hall.of_kind("gpu"):
        node = str(gpu.parent).removeprefix("node/")
        row = str(hall.within(gpu.id, "row")).removeprefix("row/")
        for metric in _METRICS:
            series.append(Series(metric, labels(gpu=gpu.name, node=node)))
            entities.append(gpu.id)
            hot = row in warm and metric == "gpu_temperature_celsius"
            slow = gpu.name == "n103-gpu5" and metric == "gpu_clock_sm_hertz"
            shift.append(11.0 if hot else -15.0 if slow else 0.0)
    for host in hall.of_kind("node"):
        series.append(Series("node_inlet_temperature_celsius", labels(node=host.name)))
        entities.append(host.id)
        shift.append(14.0 if str(hall.within(host.id, "row")) in {f"row/{r}" for r in warm} else 0.0)
    series += [Series("collector_up", labels(collector="nvml", node=f"n{i:03}")) for i in range(1, 129)]
    entities += [f"node/n{i:03}" for i in range(1, 129)]
    shift += [0.0] * 128
    series.append(Series("site_power_watts", labels(site="hall-1")))
    entities.append("site/hall-1")
    shift.append(0.0)
    middle = np.array([_USUAL.get(s.metric, (1.0, 0.0))[0] for s in series])
    spread = np.array([_USUAL.get(s.metric, (1.0, 0.0))[1] for s in series])
    sigma = np.array(shift) + random.normal(0, 0.7, len(series))
    values = middle + sigma * spread
    values[-1] = 812_400.0
    silent = np.array([e.startswith(("gpu/n117", "node/n117")) for e in entities])
    metrics = [s.metric for s in series]
    family = {name: number for number, name in enumerate(sorted(set(metrics)))}
    return LiveView(
        now=now,
        version=version,
        series=tuple(series),
        entities=tuple(entities),
        timestamps=np.where(silent, now - 7 * MINUTE, now).astype(np.int64),
        values=values,
        scores=np.clip(np.abs(sigma) / 24, 0, 1).astype(np.float32),
        expected=middle.astype(np.float32),
        low=(middle - 3 * spread).astype(np.float32),
        high=(middle + 3 * spread).astype(np.float32),
        groups=np.array([family[name] for name in metrics], dtype=np.int32),
    )


def _window(
    metric: str, unit: str, usual: float, spread: float, drift: float, limit: float | None, peers: int
) -> Window:
    random = np.random.default_rng(len(metric))
    count, bend = 120, 70
    times = tuple(NOW - 20 * MINUTE + i * 10 * SECOND for i in range(count))
    rise = np.maximum(0, np.arange(count) - bend) * drift
    seen = usual + random.normal(0, spread / 3, count) + rise
    observed = [float(v) for v in seen]
    return Window(
        metric=metric,
        unit=unit,
        timestamps=times,
        observed=tuple(None if 30 <= i < 36 else v for i, v in enumerate(observed)),
        expected=(usual,) * count,
        low=(usual - spread,) * count,
        high=(usual + spread,) * count,
        peers={
            f"node/n{i:03}": tuple(float(v) for v in usual + random.normal(0, spread / 3, count))
            for i in range(1, peers + 1)
        },
        limit=limit,
    )


def _finding(rule: str, entity: str, severity: Severity, text: str, window: Window | None, detector: str) -> Alert:
    began = NOW - 20 * MINUTE + 70 * 10 * SECOND
    anomaly = Anomaly(
        id=anomaly_id(rule, entity, None, began),
        phase=Phase.OPENED,
        rule=rule,
        detector=detector,
        version="1",
        severity=severity,
        entity=entity,
        started_at=began,
        updated_at=NOW - MINUTE,
        score=0.62,
        explanation=text,
        window=window,
    )
    return Alert(
        name=rule,
        entity=entity,
        severity=severity,
        state=AlertState.FIRING,
        starts_at=began,
        updated_at=NOW - MINUTE,
        explanation=text,
        detector=detector,
        version="1",
        score=0.62,
        anomalies=(anomaly,),
    )


def warming(hall: Topology) -> Incident:
    """Row B warms: its cooling unit lost flow."""
    nodes = [node.id for node in hall.of_kind("node") if hall.within(node.id, "row") == "row/B"]
    gpus = [gpu.id for gpu in hall.of_kind("gpu") if hall.within(gpu.id, "row") == "row/B"]
    began = NOW - 20 * MINUTE + 70 * 10 * SECOND
    supply = _finding(
        "cooling-supply-warm",
        "crac/crac-2",
        Severity.PAGE,
        "The air that crac-2 supplies rose from 18.0 to 23.0 °C in 8 minutes; 18.0 ± 0.6 °C is usual.",
        _window("crac_supply_temperature_celsius", "celsius", 18.0, 0.6, 0.1, 22.0, 0),
        "level",
    )
    inlet = _finding(
        "node-inlet-warm",
        nodes[0],
        Severity.PAGE,
        "Inlet air of 32 nodes of row B is 5.6 °C above the same nodes of rows A, C and D.",
        _window("node_inlet_temperature_celsius", "celsius", 23.4, 1.0, 0.11, 32.0, 8),
        "peers",
    )
    incident = Incident(
        id="9f31c2aa77b04e15",
        title="Row B warms: cooling unit crac-2 lost flow",
        severity=Severity.PAGE,
        state=IncidentState.OPEN,
        suspect="crac/crac-2",
        entities=("crac/crac-2", *nodes, *gpus),
        started_at=began,
        opened_at=began + 35 * SECOND,
        updated_at=NOW - MINUTE,
        explanation="Cooling unit crac-2 stopped moving air at 02:23:40. Supply air has warmed since, and every "
        "node it cools follows, while rows A, C and D do not. GPUs of row B reach slowdown in about 11 minutes (90 %).",
        recommended_action="Check fan and pump of crac-2. If supply air is above 22 °C at 02:38, drain row B.",
        reasons=(
            "crac-2 reported “fan stopped” at 02:23:40, 20 s before the first temperature moved.",
            "32 of 32 nodes that crac-2 cools are warmer than their siblings; none of the other 96 is.",
            "Power of row B is as expected (203 kW), so the heat is not from more work.",
        ),
        confidence=0.93,
        alerts=(supply, replace(inlet, members=tuple(nodes))),
        runbook="https://docs.example.org/runbooks/cooling-supply-warm",
    )
    for offset, kind, text in (
        (0, "event", "crac-2: fan stopped (status critical)"),
        (20, "alert", "supply air of crac-2 above its band"),
        (35, "opened", "opened: crac-2 explains 33 alerts"),
        (36, "notified", "told on-call: delivered (200)"),
        (95, "alert", "inlet air of 32 nodes above their siblings"),
    ):
        incident = incident.noted(began + offset * SECOND, kind, text)
    return incident


def lagging() -> Incident:
    """One GPU behind its siblings, in somebody's hands."""
    began = NOW - 3 * HOUR
    alert = _finding(
        "gpu-slower-than-siblings",
        "gpu/n103-gpu5",
        Severity.TICKET,
        "n103-gpu5 clocks at 1,620 MHz while 127 siblings of the same job hold 1,755 MHz.",
        _window("gpu_clock_sm_hertz", "hertz", 1.755e9, 2e7, -2.6e6, None, 7),
        "peers",
    )
    incident = Incident(
        id="4b7e02d1c9aa3f60",
        title="n103-gpu5 is 8 % slower than its siblings and holds back job train-17",
        severity=Severity.TICKET,
        state=IncidentState.OPEN,
        suspect="gpu/n103-gpu5",
        entities=("gpu/n103-gpu5",),
        started_at=began,
        opened_at=began + 5 * MINUTE,
        updated_at=began + 9 * MINUTE,
        explanation="Clocks of n103-gpu5 fell while power and temperature stayed usual; its siblings did not change.",
        recommended_action="Drain n103 at the next checkpoint and reset GPU 5; if clocks stay low, replace the board.",
        reasons=("Clock 1,620 MHz against 1,755 MHz of 127 siblings.", "No thermal or power throttle reason is set."),
        confidence=0.81,
        alerts=(alert,),
    )
    incident = incident.noted(incident.opened_at, "opened", "opened by gpu-slower-than-siblings")
    return incident.acknowledged(began + 9 * MINUTE, "mika", note="Draining after the checkpoint at 03:00")


def past(number: int) -> Incident:
    """One closed incident of the history."""
    kinds = (
        ("n{0:03} lost GPU {1}: Xid 79, off the bus", Severity.PAGE, "node/n{0:03}"),
        ("Rack A{1:02} runs on one feed: PDU a{1}-b is dark", Severity.PAGE, "rack/A{1:02}"),
        ("Link n{0:03}:mlx5_{1} flaps: 14 losses in 10 minutes", Severity.TICKET, "node/n{0:03}"),
        ("n{0:03} fan 3 turns at 2,100 rpm, siblings at 7,800 rpm", Severity.TICKET, "node/n{0:03}"),
        ("Air unit crac-{1} supplies 1.4 °C more than usual", Severity.TICKET, "crac/crac-{1}"),
        ("Job train-{0} ended; 64 GPUs are idle", Severity.INFO, "job/train-{0}"),
    )
    title, severity, suspect = kinds[number % len(kinds)]
    node, small = 1 + (number * 37) % 128, 1 + (number // 3) % 4
    began = NOW - DAY - number * 5 * HOUR
    incident = Incident(
        id=f"{number:04x}{(number * 2654435761) % 2**48:012x}",
        title=title.format(node, small),
        severity=severity,
        state=IncidentState.OPEN,
        suspect=suspect.format(node, small),
        entities=(suspect.format(node, small),),
        started_at=began,
        opened_at=began + 40 * SECOND,
        updated_at=began,
        explanation="An event rule named it.",
        recommended_action="See the runbook.",
        reasons=("The device said so.",),
        confidence=0.9,
        alerts=(),
    )
    reason = tuple(ResolveReason)[number % 5]
    end = began + (7 + number % 90) * MINUTE
    if reason is ResolveReason.ENDED:
        return replace(incident.resolved(end, "coldaisle", reason, "every alert has ended"), ended_at=end)
    return incident.resolved(
        end, ("mika", "jo", "sam")[number % 3], reason, "pump bearing replaced" if small == 2 else ""
    )


class Metrics:
    """A metric store that computes what it is asked for; writes nothing."""

    def __init__(self, view: LiveView) -> None:
        self._view = view

    def write(self, frames: Iterable[Frame | Block]) -> None:
        """Not asked for by the pages."""
        raise AssertionError("the pages never write samples")

    def write_events(self, events: Iterable[Event]) -> None:
        """Not asked for by the pages."""
        raise AssertionError("the pages never write events")

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is held."""

    def retain(self, oldest: int) -> int:
        """Keep everything."""
        return 0 * oldest

    def metrics(self) -> list[str]:
        """See the port."""
        return sorted({series.metric for series in self._view.series})

    def series(self, metric: str, matchers: Sequence[Matcher] = (), limit: int = 1000) -> list[Series]:
        """See the port."""
        found = [s for s in self._view.series if s.metric == metric and all_match(tuple(matchers), dict(s.labels))]
        return found[:limit]

    def query(
        self,
        metric: str,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        max_points: int = 2000,
        max_series: int = 200,
    ) -> list[Line]:
        """See the port."""
        count = min(max_points, 360)
        times = np.linspace(start, end, count).astype(np.int64)
        usual, spread = _USUAL.get(metric, (1.0, 0.0))
        lines = []
        for number, series in enumerate(self.series(metric, matchers, max_series)):
            random = np.random.default_rng(number)
            wave = np.sin(np.arange(count) / 40) * spread
            keep = np.ones(count, dtype=bool)
            keep[200:230] = number != 0
            lines.append(Line(series, times[keep], (usual + wave + random.normal(0, spread / 3, count))[keep]))
        return lines

    def events(self, start: int, end: int, matchers: Sequence[Matcher] = (), limit: int = 1000) -> list[Event]:
        """See the port."""
        event = Event("status", "critical", NOW - 8 * MINUTE, labels(crac="crac-2"), "crac-2: fan stopped")
        return [event][:limit] if start <= event.timestamp <= end else []


def backends(calm: bool = False, past_incidents: int = 400) -> Backends:
    """Everything the pages ask for."""
    hall = topology()
    view = live(hall, warm=() if calm else ("B",))
    store = MemoryIncidentStore()
    for number in range(past_incidents):
        store.save(past(number))
    if not calm:
        incident = warming(hall)
        sent = Notification(
            "msg-1",
            incident.id,
            "on-call",
            "opened",
            "{}",
            incident.opened_at,
            NotificationState.SENT,
            1,
            sent_at=incident.opened_at + SECOND,
        )
        failed = Notification(
            "msg-2",
            incident.id,
            "facility-desk",
            "opened",
            "{}",
            incident.opened_at,
            NotificationState.DEAD,
            8,
            last_error="404 from the receiver: no such hook",
        )
        store.save(incident, (sent, failed))
        store.save(lagging())
    stats = SelfStats()
    stats.add("coldaisle_samples_dropped_total", 1284, reason="late")
    stats.add("coldaisle_samples_dropped_total", 52, reason="outside its valid range")
    stats.add("coldaisle_samples_total", 9_412_311)
    return Backends(
        live=lambda: view,
        topology=lambda: hall,
        incidents=store,
        metrics=Metrics(view),
        stats=stats,
        clock=ManualClock(NOW + 400_000_000),
        health=lambda: Health(True, (), {"coldaisle": "0.1.0", "rules": "12 files", "level": "1", "peers": "1"}),
    )
