"""An alert in progress: the findings that support it, from its first to its last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from coldaisle.alert import Alert, AlertState, fingerprint
from coldaisle.anomaly import Anomaly, Phase
from coldaisle.severity import Severity
from coldaisle.topology import kind_of
from pipeline.alerting.symptoms import Symptom, described, strength_of, symptom_of

_REMEMBERED_CLOSED = 64
_KEPT_FINDINGS = 16


@dataclass(slots=True)
class Track:
    """
    One alert while it is being worked on; mutable, owned by one Alerter.

    A finding is known by its id, so hearing of it twice changes nothing. Events of one rule on one entity
    are one finding that is seen again.
    """

    name: str
    entity: str
    severity: Severity
    starts_at: int
    updated_at: int
    first_seen: int
    symptom: Symptom
    strength: float
    ends_at: int | None = None
    incident: str | None = None
    hold_until: int | None = None
    occurrences: int = 0
    flaps: int = 0
    muted: str | None = None
    described: bool = True
    open: dict[str, Anomaly] = field(default_factory=dict)
    closed: dict[str, None] = field(default_factory=dict)
    strongest: dict[str, Anomaly] = field(default_factory=dict)
    members: tuple[str, ...] = ()  # everything it ever held for
    holding: frozenset[str] = frozenset()  # what it holds for now
    series: dict[str, None] = field(default_factory=dict)  # names of what it was seen on, for "12 sensors"
    changed: bool = field(default=True, compare=False, repr=False)  # since its state was last kept

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        if name != "changed":
            object.__setattr__(self, "changed", True)

    @property
    def fingerprint(self) -> str:
        """The identity of the alert."""
        return fingerprint(self.name, self.entity)

    @property
    def firing(self) -> bool:
        """Whether it still holds."""
        return self.ends_at is None

    @property
    def places(self) -> Sequence[str]:
        """The entities it speaks of: its own, and those that it holds for."""
        if not self.members:
            return (self.entity,)
        return self.members if kind_of(self.entity) in ("site", "row") else (self.entity, *self.members)

    @property
    def subjects(self) -> Sequence[str]:
        """What people count: the node that fell silent, not its eight GPUs; of a site the nodes, not the site."""
        return self.members if self.members and kind_of(self.entity) in ("site", "row") else (self.entity,)

    @property
    def best(self) -> Anomaly:
        """The strongest finding."""
        return next(iter(self.strongest.values()))

    @classmethod
    def of(cls, anomaly: Anomaly, now: int) -> Track:
        """Begin an alert with its first finding."""
        track = cls(
            name=anomaly.rule,
            entity=anomaly.entity,
            severity=anomaly.severity,
            starts_at=anomaly.started_at,
            updated_at=anomaly.updated_at,
            first_seen=now,
            symptom=symptom_of(anomaly),
            strength=strength_of(anomaly),
            described=described(anomaly),
        )
        track.hold(anomaly)
        return track

    @classmethod
    def restored(cls, alert: Alert, incident: str, now: int) -> Track:
        """Take an alert back from the store; its findings are those the incident kept."""
        track = cls(
            name=alert.name,
            entity=alert.entity,
            severity=alert.severity,
            starts_at=alert.starts_at,
            updated_at=alert.updated_at,
            first_seen=now,
            symptom=Symptom.OTHER,
            strength=0.5,
            ends_at=alert.ends_at,
            incident=incident,
            muted=alert.suppressed_by,
            members=alert.members,
            holding=frozenset(alert.members),
        )
        kept = alert.anomalies or (_finding_of(alert),)
        for anomaly in kept:
            if anomaly.phase is Phase.CLOSED or alert.state is AlertState.RESOLVED:
                track.closed[anomaly.id] = None
            else:
                track.open[_key(anomaly)] = anomaly
            track.strongest[anomaly.id] = anomaly
            track.note_series(anomaly)
        track.symptom, track.strength = symptom_of(track.best), max(strength_of(one) for one in kept)
        track.described = any(described(one) for one in kept)
        return track

    def hold(self, anomaly: Anomaly) -> bool:
        """Take a finding that holds; return whether that is news worth writing at once."""
        key = _key(anomaly)
        if anomaly.id in self.closed and key not in self.open:
            return False  # heard again after a restart, and over long since
        known = self.open.get(key)
        if known is not None and known.id == anomaly.id and anomaly.updated_at < known.updated_at:
            return False
        if known is not None and known.id != anomaly.id and anomaly.id in self.strongest:
            return False  # an event heard again after later ones
        news = known is None or anomaly.severity.rank > self.severity.rank or self._take_members(anomaly)
        if known is None:
            self._take_members(anomaly)
        if known is None or known.id != anomaly.id:
            self.occurrences += 1
        if self.ends_at is not None:
            self.ends_at = None
            self.flaps += 1
            news = True
        self.open[key] = anomaly if anomaly.window is None else replace(anomaly, window=None)
        if anomaly.severity.rank > self.severity.rank:
            self.severity = anomaly.severity
        self.starts_at = min(self.starts_at, anomaly.started_at)
        self.updated_at = max(self.updated_at, anomaly.updated_at)
        self.strength = max(self.strength, strength_of(anomaly))
        self.described = self.described or described(anomaly)
        self.note_series(anomaly)
        self._keep(anomaly)
        return news

    def release(self, anomaly: Anomaly) -> bool:
        """Take the end of a finding; return whether the alert ends with it."""
        self.changed = True
        known = self.open.pop(_key(anomaly), None)
        self.closed[anomaly.id] = None
        if known is not None:
            self.closed[known.id] = None
        while len(self.closed) > _REMEMBERED_CLOSED:
            self.closed.pop(next(iter(self.closed)))
        if anomaly.id in self.strongest:
            kept = self.strongest[anomaly.id]
            self.strongest[anomaly.id] = replace(kept, phase=Phase.CLOSED, ended_at=anomaly.ended_at)
        if self.open or not self.firing:
            return False
        self.end(anomaly.ended_at if anomaly.ended_at is not None else anomaly.updated_at)
        return True

    def end(self, timestamp: int) -> None:
        """Nothing supports the alert any longer."""
        for anomaly in (*self.open.values(), *self.strongest.values()):
            self.closed[anomaly.id] = None
        self.open.clear()
        self.holding = frozenset()
        self.hold_until = None
        self.ends_at = max(timestamp, self.starts_at)
        self.updated_at = max(self.updated_at, self.ends_at)

    def note_series(self, anomaly: Anomaly) -> None:
        """Remember what it was seen on."""
        if anomaly.series is not None and len(self.series) < 1000:
            self.series[sensor_name(anomaly)] = None

    def alert(self, windows: int, full: bool) -> Alert:
        """Return it as it is shown and kept; ``windows`` findings carry their evidence, none if not ``full``."""
        best = self.best
        kept: tuple[Anomaly, ...] = ()
        if full:
            kept = tuple(
                one if place < windows or one.window is None else replace(one, window=None)
                for place, one in enumerate(self.strongest.values())
            )
        return Alert(
            name=self.name,
            entity=self.entity,
            severity=self.severity,
            state=AlertState.FIRING if self.firing else AlertState.RESOLVED,
            starts_at=self.starts_at,
            updated_at=self.updated_at,
            ends_at=self.ends_at,
            summary=best.summary,
            explanation=best.explanation,
            action=best.action,
            runbook=best.runbook,
            score=best.score,
            detector=best.detector,
            version=best.version,
            anomalies=kept,
            members=self.members,
            suppressed_by=self.muted,
        )

    def _take_members(self, anomaly: Anomaly) -> bool:
        if not anomaly.members:
            return False
        now = frozenset(anomaly.members)
        if now == self.holding:
            return False
        known = set(self.members)
        self.members += tuple(one for one in anomaly.members if one not in known)
        self.holding = now
        return True

    def _keep(self, anomaly: Anomaly) -> None:
        kept = self.strongest.get(anomaly.id)
        if kept is not None and anomaly.window is None and kept.window is not None:
            anomaly = replace(anomaly, window=kept.window)  # evidence is frozen as it stood at the opening
        elif kept is not None and kept.window is not None:
            anomaly = replace(anomaly, window=kept.window)
        self.strongest[anomaly.id] = anomaly
        if len(self.strongest) > 1:
            ranked = sorted(
                self.strongest.values(), key=lambda one: (-one.severity.rank, -strength_of(one), -one.score)
            )
            self.strongest = {one.id: one for one in ranked[:_KEPT_FINDINGS]}


def sensor_name(anomaly: Anomaly) -> str:
    """Return the shortest name of what a finding was seen on: the sensor, else the metric."""
    if anomaly.series is None:
        return ""
    for label in ("sensor", "fan", "name", "device", "mountpoint", "interface", "chip"):
        value = anomaly.series.label(label)
        if value:
            return value
    return anomaly.series.metric


def _key(anomaly: Anomaly) -> str:
    # One Xid every minute is one finding seen again, not sixty findings an hour.
    if anomaly.detector != "event":
        return anomaly.id
    return f"event:{anomaly.series}" if anomaly.series is not None else "event"


def _finding_of(alert: Alert) -> Anomaly:
    return Anomaly(
        id=alert.fingerprint,
        phase=Phase.OPENED if alert.state is AlertState.FIRING else Phase.CLOSED,
        rule=alert.name,
        detector=alert.detector,
        version=alert.version,
        severity=alert.severity,
        entity=alert.entity,
        started_at=alert.starts_at,
        updated_at=alert.updated_at,
        score=alert.score,
        explanation=alert.explanation,
        ended_at=alert.ends_at,
        summary=alert.summary,
        action=alert.action,
        runbook=alert.runbook,
        members=alert.members,
    )
