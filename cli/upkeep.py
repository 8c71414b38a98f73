"""What runs beside the roles: the outbox's threads, and the deletion of what is too old."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from coldaisle.clock import DAY, HOUR, Clock
from coldaisle.store import MetricStore
from pipeline.alerting.outbox import OutboxWorker

_SWEEP_NS = HOUR


class Keeper:
    """Deletes what is older than the retention, now and then."""

    def __init__(self, metrics: MetricStore, clock: Clock, retention_days: float) -> None:
        self._metrics, self._clock = metrics, clock
        self._keep = round(retention_days * DAY)
        self._due = clock.now()
        self._pause = threading.Event()

    def step(self) -> None:
        """Sweep when it is due, else wait a little."""
        now = self._clock.now()
        if now >= self._due:
            self._metrics.retain(now - self._keep)
            self._due = now + _SWEEP_NS
        self._pause.wait(0.5)


@contextmanager
def outbox_at_work(worker: OutboxWorker) -> Iterator[None]:
    """Deliver notifications while the context lasts."""
    leaving = threading.Event()
    thread = threading.Thread(target=worker.run, args=(leaving,), name="outbox", daemon=True)
    thread.start()
    try:
        yield
    finally:
        leaving.set()
        thread.join(timeout=5.0)
