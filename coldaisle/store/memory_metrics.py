"""The in-memory twin of the metric stores, for tests and short demonstrations."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

import numpy as np

from coldaisle.event import Event
from coldaisle.frame import Block, Frame
from coldaisle.matcher import Matcher, all_match
from coldaisle.series import Series
from coldaisle.store import Line
from coldaisle.store.lines import Numbering, Rows, joined, matching, once, thinned


class InMemoryMetricStore:
    """Keeps samples until the process ends. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known = Numbering()
        self._parts: list[Rows] = []
        self._events: dict[str, Event] = {}

    def write(self, frames: Iterable[Frame | Block]) -> None:
        """Take frames."""
        with self._lock:
            self._parts += [self._known.rows(frame) for frame in frames if len(frame)]

    def write_events(self, events: Iterable[Event]) -> None:
        """Take events."""
        with self._lock:
            for event in events:
                self._events[f"{event.timestamp} {event.kind} {event.code} {event.labels}"] = event

    def flush(self) -> None:
        """Return at once: memory is as durable as it gets."""

    def query(
        self,
        metric: str,
        matchers: Sequence[Matcher],
        start: int,
        end: int,
        max_points: int = 2000,
        max_series: int = 200,
    ) -> list[Line]:
        """Return the lines of ``metric``, ``start <= timestamp <= end``."""
        with self._lock:
            numbers, times, values = self._all()
            here = (times >= start) & (times <= end)
            numbers, times, values = numbers[here], times[here], values[here]
            lines: list[Line] = []
            for series in self._series(metric, matchers):
                mine = numbers == self._known.number(series)
                if mine.any() and len(lines) < max_series:
                    lines.append(Line(series, *thinned(times[mine], values[mine], max_points)))
            return lines

    def metrics(self) -> list[str]:
        """Return the names of all metrics that have samples, sorted."""
        with self._lock:
            return sorted({series.metric for series in self._present()})

    def series(self, metric: str, matchers: Sequence[Matcher] = (), limit: int = 1000) -> list[Series]:
        """Return the series of ``metric``, sorted."""
        with self._lock:
            return self._series(metric, matchers)[:limit]

    def events(self, start: int, end: int, matchers: Sequence[Matcher] = (), limit: int = 1000) -> list[Event]:
        """Return events of a span, the newest first."""
        with self._lock:
            found = [
                event
                for event in self._events.values()
                if start <= event.timestamp <= end and all_match(tuple(matchers), dict(event.labels))
            ]
        return sorted(found, key=lambda event: event.timestamp, reverse=True)[:limit]

    def retain(self, oldest: int) -> int:
        """Delete what is older than ``oldest`` (ns); return how many samples went."""
        with self._lock:
            numbers, times, values = self._all()
            keep = times >= oldest
            self._parts = [(numbers[keep], times[keep], values[keep])]
            self._events = {key: event for key, event in self._events.items() if event.timestamp >= oldest}
            return int(np.count_nonzero(~keep))

    def close(self) -> None:
        """Let go; safe to call twice."""

    def _all(self) -> Rows:
        self._parts = [once(joined(self._parts))]
        return self._parts[0]

    def _present(self) -> list[Series]:
        return [self._known.series[number] for number in np.unique(self._all()[0]).tolist()]

    def _series(self, metric: str, matchers: Sequence[Matcher]) -> list[Series]:
        mine = [series for series in self._present() if series.metric == metric]
        return sorted(matching(mine, matchers))
