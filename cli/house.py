"""All roles of one process on the memory bus: what ``up`` and ``demo`` run."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from time import monotonic

from cli.service import Stop, Worker
from cli.settings import Settings
from cli.wiring import alerter_of, copy_of, engine_of, notifiers_of, notify_of, rules_of
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import DAY, HOUR, SECOND, Clock, SystemClock
from coldaisle.errors import ConfigError, Transient
from coldaisle.incident import Incident
from coldaisle.live import LiveView
from coldaisle.selfstats import SelfStats
from coldaisle.store.parquet import ParquetStore
from coldaisle.store.sql import SqlIncidentStore, open_incidents
from coldaisle.topology import Topology
from pipeline.alerting.outbox import OutboxWorker
from pipeline.alerting.role import AlertRole
from pipeline.deadletter import DeadLetters
from pipeline.roles import Reader, Scorer, Storer

_SWEEP_NS = HOUR
_ASLEEP_SECONDS = 15.0  # between two looks at the bus, which never wait longer than half a second
_LOCK = ".lock"
OnChange = Callable[[Incident], None]


@dataclass(frozen=True)
class House:
    """What a running house offers to whoever feeds it."""

    address: str
    bus: MemoryBus
    stats: SelfStats
    metrics: ParquetStore
    incidents: SqlIncidentStore
    repaired: tuple[str, ...]
    unscored: Callable[[], int]  # how many messages wait for the scorer


@contextmanager
def house(
    settings: Settings, clock: Clock, topology: Topology, stop: Stop, changed: OnChange | None = None
) -> Iterator[House]:
    """
    Open the stores and run ``score``, ``store``, ``alert``, the outbox and the pages until the context ends.

    Sinks start before sources and stop after them, so that what has been read is not lost. Raises
    ConfigError (a port in use, a folder that cannot be written or that another one writes, a full disk, a
    broken rule).
    """
    rules = rules_of(settings)
    stats = SelfStats()
    with ExitStack() as stack:
        stack.enter_context(_alone_in(settings.storage.folder))
        incidents = _incidents(settings.storage.folder)
        stack.callback(incidents.close)
        under_way = incidents.release()
        metrics = ParquetStore(settings.storage.folder / "metrics", clock, stats)
        stack.callback(metrics.close)
        bus = MemoryBus(clock, stats)
        stack.callback(bus.close)

        # Half of the time of a start is this import: whatever can be refused was refused before it.
        from dashboard.app import create_app, serve
        from dashboard.source import Backends, Health

        engine = engine_of(settings, rules, copy_of(topology), stats)
        shown = _Shown(copy_of(topology), engine.view)
        served_at: list[str] = []
        notify = notify_of(settings.receivers, clock, lambda: "".join(served_at))
        backends = Backends(
            live=shown.view,
            topology=lambda: shown.topology,
            incidents=incidents,
            metrics=metrics,
            stats=stats,
            clock=clock,
            hall=settings.hall,
            notify=notify,
            health=lambda: Health(
                not stop.failed, (stop.failure,) if stop.failed else (), {"coldaisle": version("coldaisle")}
            ),
        )
        address = stack.enter_context(
            serve(create_app(backends, settings.serve), settings.serve.host, settings.serve.port)
        )
        served_at.append(address)
        alerter = alerter_of(settings, rules, copy_of(topology), incidents, notify, stats)
        alerter.restore(clock.now())

        outbox = OutboxWorker(incidents, notifiers_of(settings.receivers, clock), clock, stats)
        stack.enter_context(_outbox(outbox))
        dead_letters = DeadLetters(bus.producer(), stats)
        heard = bus.consumer(AlertRole.topics, AlertRole.group)
        alert = AlertRole(heard, alerter, dead_letters, clock, changed)
        wait_ns = round(settings.alerts.group_wait_seconds * SECOND)

        def last_words() -> None:
            # An alert that still waits for company would be forgotten; its incident opens now.
            for incident in alerter.advance(clock.now() + wait_ns):
                if changed is not None:
                    changed(incident)
            alert.close()

        stack.enter_context(Worker("alert", alert.step, stop, last_words, heard.lag))
        reader = Reader(DeadLetters(bus.producer(), stats), stats)
        kept = bus.consumer(Storer.topics, Storer.group)
        store = Storer(kept, metrics, reader, clock, settings.storage.flush_seconds)
        stack.enter_context(Worker("store", store.step, stop, store.close, kept.lag))
        reader = Reader(DeadLetters(bus.producer(), stats), stats)
        judged = bus.consumer(Scorer.topics, Scorer.group)
        score = Scorer(judged, bus.producer(), engine, reader, clock, stats)
        if isinstance(clock, SystemClock):
            score.notice_sleep(_ASLEEP_SECONDS)
        stack.enter_context(Worker("score", lambda: shown.after(score.step()), stop, score.close, judged.lag))
        keeper = _Keeper(metrics, clock, settings.storage.retention_days)
        stack.enter_context(Worker("retention", keeper.step, stop))
        repaired = list(metrics.repaired)
        if under_way:
            repaired.append(f"{under_way} notifications were under way when the last run ended; they are sent again")
        yield House(address, bus, stats, metrics, incidents, tuple(repaired), judged.lag)


class _Shown:
    """
    The scorer's picture for the pages, copied once a second by the scorer's own thread.

    Anybody else would copy tables that grow under his hands.
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

    def after(self, _judged: object) -> None:
        """Copy the picture after a step of the scorer, in its thread, if the last one is a second old."""
        if monotonic() >= self._due:
            view = self._view()
            self._learn(view)
            self._last, self._due = view, monotonic() + 1.0

    def _learn(self, view: LiveView) -> None:
        for series, entity in zip(view.series, view.entities, strict=True):
            if entity not in self.topology:
                self.topology.observe(series.labels)


class _Keeper:
    """Deletes what is older than the retention, now and then."""

    def __init__(self, metrics: ParquetStore, clock: Clock, retention_days: float) -> None:
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
def _outbox(worker: OutboxWorker) -> Iterator[None]:
    leaving = threading.Event()
    thread = threading.Thread(target=worker.run, args=(leaving,), name="outbox", daemon=True)
    thread.start()
    try:
        yield
    finally:
        leaving.set()
        thread.join(timeout=5.0)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold ``folder`` alone: a second writer would take the first one's unfinished segments for wreckage."""
    elsewhere = "name another folder with --data DIR"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); {elsewhere}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        taken = "another Coldaisle writes here; stop it" if isinstance(error, BlockingIOError) else error.strerror
        raise ConfigError(f"{folder}: {taken}, or {elsewhere}") from error
    try:
        yield
    finally:
        os.close(lock)  # the system lets go of it too when the process is killed


def _incidents(folder: Path) -> SqlIncidentStore:
    try:
        return open_incidents(folder)
    except Transient as error:
        # At a start nobody tries again: the disk is full, or somebody holds the database.
        raise ConfigError(f"{error}; then start again, or name another folder with --data DIR") from error
