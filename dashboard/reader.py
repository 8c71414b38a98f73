"""Reads the backends for one request: what the pages and the API both want to know of the hall."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from coldaisle import matcher
from coldaisle.catalogue import Kind, metric_of
from coldaisle.clock import SECOND
from coldaisle.incident import Incident, IncidentState
from coldaisle.series import Series
from coldaisle.store import IncidentQuery, Line
from coldaisle.topology import Topology, kind_of, name_of
from dashboard import hall
from dashboard.hall import HallKeeper, Picture
from dashboard.settings import ServeConfig
from dashboard.source import Backends

OPEN_STATES = (IncidentState.OPEN, IncidentState.ACKNOWLEDGED)
_MOST_OPEN = 500


@dataclass(frozen=True, slots=True)
class Status:
    """The hall in a few numbers; None = unknown."""

    open: int
    unacknowledged: int
    worst: int  # state of the hall, one of dashboard.hall's
    cells: int
    healthy: int
    unknown: int
    kind: str  # of the cells: gpu or node
    power_watts: float | None
    power_of: str
    pue: float | None
    lag_seconds: float | None
    stale: bool


@dataclass(frozen=True, slots=True)
class Reader:
    """The backends with what is kept between requests."""

    backends: Backends
    settings: ServeConfig
    keeper: HallKeeper

    def now(self) -> int:
        """Return the time of the house."""
        return self.backends.clock.now()

    def open_incidents(self) -> list[Incident]:
        """Return open and acknowledged incidents, the worst and the unacknowledged first, then the newest."""
        found = self.backends.incidents.find(IncidentQuery(states=OPEN_STATES, limit=_MOST_OPEN))
        return sorted(
            found,
            key=lambda i: (i.suppressed_by is not None, i.acknowledgement is not None, -i.severity.rank, -i.opened_at),
        )

    def picture(self, incidents: list[Incident], metric: str | None = None) -> Picture | None:
        """Return the hall now, or None before the first telemetry."""
        live = self.backends.live()
        if live is None:
            return None
        loud = [incident for incident in incidents if incident.suppressed_by is None]
        return self.keeper.picture(live, self.backends.topology(), loud, metric)

    def metrics_of_cells(self) -> list[str]:
        """Return the metrics that can colour the hall."""
        live = self.backends.live()
        return [] if live is None else list(self.keeper.plan(live, self.backends.topology()).metrics)

    def status(self, incidents: list[Incident], picture: Picture | None) -> Status:
        """Return the hall in a few numbers."""
        live = self.backends.live()
        loud = [incident for incident in incidents if incident.suppressed_by is None]
        lag = None if live is None or live.now <= 0 else max(0.0, (self.now() - live.now) / SECOND)
        stale_after = round(self.settings.stale_after_seconds * SECOND)
        topology = self.backends.topology()
        plan = None if live is None else self.keeper.plan(live, topology)
        watts = None if live is None or plan is None else hall.power(live, plan, stale_after)
        nodes = len(topology.of_kind("node"))
        worst = max((hall.STATE_OF[incident.severity] for incident in loud), default=hall.FINE)
        return Status(
            open=len(loud),
            unacknowledged=sum(incident.state is IncidentState.OPEN for incident in loud),
            worst=worst if picture is not None or loud else hall.UNKNOWN,
            cells=0 if picture is None else len(picture.arrangement.cells),
            healthy=0 if picture is None else int(np.isin(picture.state, (hall.FINE, hall.INFO)).sum()),
            unknown=0 if picture is None else int((~picture.known).sum()),
            kind="gpu" if picture is None else picture.arrangement.kind,
            power_watts=None if watts is None else watts[0],
            power_of="" if watts is None else watts[1],
            pue=None if live is None or plan is None else hall.pue(live, plan, nodes, stale_after),
            lag_seconds=lag,
            stale=lag is not None and lag > self.settings.stale_after_seconds,
        )

    def lines(
        self, metric: str, match: str, start: int, end: int, max_points: int = 1000, max_series: int = 50
    ) -> list[Line]:
        """
        Return stored lines as people read them: a counter as its rate a second, a reset as a gap.

        Raises ConfigError (``match`` cannot be read), Transient.
        """
        found = self.backends.metrics.query(metric, matcher.parse(match), start, end, max_points, max_series)
        return [rate(line) for line in found] if metric_of(metric).kind is Kind.COUNTER else found

    def expected_band(self, series: Series) -> tuple[float, float] | None:
        """Return (low, high) of what is expected of ``series`` now, or None while warming up or unknown."""
        live = self.backends.live()
        if live is None:
            return None
        try:
            position = live.series.index(series)
        except ValueError:
            return None
        low, high = float(live.low[position]), float(live.high[position])
        return (low, high) if np.isfinite(low) and np.isfinite(high) else None


def rate(line: Line) -> Line:
    """Return a counter's line as its rise a second between samples; where it fell, it was reset: unknown."""
    steps = np.diff(line.timestamps) / SECOND
    rises = np.diff(line.values)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.where((rises >= 0) & (steps > 0), rises / steps, np.nan)
    return Line(line.series, line.timestamps[1:], values)


def matchers_within(entity: str, metric: str, topology: Topology) -> str:
    """
    Return the matcher text that finds the series of ``metric`` in ``entity``: its own, or those of its nodes.

    Series carry the labels of what they measure, not of what contains it: a rack's GPUs are found by node.
    """
    kind, wanted = kind_of(entity), metric_of(metric).entity
    if kind in ("gpu", "nic", "port", "psu", "node") or kind == wanted:
        return matcher_for(entity)
    inside = sorted(one for one in topology.reach(entity) if kind_of(one) == ("node" if wanted == "gpu" else wanted))
    if not inside:
        return matcher_for(entity)
    return f'{kind_of(inside[0])}=~"{"|".join(re.escape(name_of(one)) for one in inside)}"'


def matcher_for(entity: str) -> str:
    """Return the matcher text that finds the series of ``entity``: ``gpu/GPU-1`` is ``gpu="GPU-1"``."""
    kind, name = kind_of(entity), name_of(entity)
    node, colon, local = name.partition(":")
    if colon and kind in ("gpu", "nic", "port", "psu"):
        return f'node="{node}", {kind}="{local}"'
    return f'{kind}="{name}"'
