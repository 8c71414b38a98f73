"""The picture that the pages are drawn from, copied by the one thread that changes it."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from coldaisle.live import LiveView
from coldaisle.topology import Topology


class Shown:
    """
    The picture for the pages, copied once a second by the thread that makes it.

    Anybody else would copy tables that grow under its hands.
    """

    def __init__(self, topology: Topology, view: Callable[[], LiveView]) -> None:
        self.topology = topology
        self._view = view
        self._last: LiveView | None = None
        self._due = 0.0

    def view(self) -> LiveView | None:
        """Return the newest picture, or None before the first telemetry."""
        last = self._last
        return last if last is not None and last.series else None

    def after(self, _done: object) -> None:
        """Copy the picture after a step, in the thread that took it, if the last one is a second old."""
        if monotonic() >= self._due:
            view = self._view()
            self._learn(view)
            self._last, self._due = view, monotonic() + 1.0

    def _learn(self, view: LiveView) -> None:
        for series, entity in zip(view.series, view.entities, strict=True):
            if entity not in self.topology:
                self.topology.observe(series.labels)
