"""Incidents, alerts and notifications that every store is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from coldaisle.alert import Alert, AlertState
from coldaisle.anomaly import Anomaly, Phase, Window
from coldaisle.clock import MINUTE, SECOND
from coldaisle.incident import Incident, IncidentState
from coldaisle.severity import Severity
from coldaisle.store import Notification, RoleStore

NOON = 1_790_000_000 * SECOND
Look = Callable[[], RoleStore]
"""Gives the store, newly opened where that is what is checked."""


def window() -> Window:
    return Window(
        "gpu_temperature_celsius",
        "°C",
        (NOON, NOON + SECOND),
        (81.0, None),
        (60.5, 60.6),
        peers={"gpu/g2": (61.0, 62.0)},
    )


def alert(name: str = "gpu-hot", entity: str = "gpu/GPU-a") -> Alert:
    finding = Anomaly(
        id=f"f-{name}-{entity}",
        phase=Phase.OPENED,
        rule=name,
        detector="peers",
        version="1",
        severity=Severity.PAGE,
        entity=entity,
        started_at=NOON,
        updated_at=NOON,
        score=0.9,
        explanation="81 °C, its peers read 61 °C",
        window=window(),
    )
    return Alert(name, entity, Severity.PAGE, AlertState.FIRING, NOON, NOON, anomalies=(finding,))


def incident(incident_id: str = "inc-1", **changes: object) -> Incident:
    plain = Incident(
        id=incident_id,
        title="GPU GPU-a of node n017 is hotter than its peers",
        severity=Severity.PAGE,
        state=IncidentState.OPEN,
        suspect="gpu/GPU-a",
        entities=("gpu/GPU-a", "node/n017"),
        started_at=NOON,
        opened_at=NOON + MINUTE,
        updated_at=NOON + MINUTE,
        explanation="It reads 81 °C where seven siblings read 61 °C.",
        recommended_action="Look at its cold plate.",
        reasons=("81 °C against 61 °C",),
        confidence=0.8,
        alerts=(alert(),),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def notification(number: int = 1, **changes: object) -> Notification:
    plain = Notification(f"msg-{number}", "inc-1", "oncall", "opened", '{"n": 1}', NOON, next_attempt_at=NOON)
    return replace(plain, **changes)  # type: ignore[arg-type]
