"""All roles of one process on the memory bus: what ``up`` and ``demo`` run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cli.lag import Behind, LagMeter
from cli.service import Stop, Worker
from cli.settings import Settings
from cli.shown import Shown
from cli.storage_folder import ELSEWHERE, alone_in
from cli.trained import ModelWatch
from cli.upkeep import Keeper, outbox_at_work
from cli.wiring import alerter_of, copy_of, engine_of, expecting_of, notifiers_of, notify_of, rules_of
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import SECOND, Clock, SystemClock
from coldaisle.errors import ConfigError, Transient
from coldaisle.incident import Incident
from coldaisle.selfstats import SelfStats
from coldaisle.store.parquet import ParquetStore
from coldaisle.store.sql import SqlIncidentStore, open_incidents
from coldaisle.topology import Topology
from pipeline.alerting.lessons import Lessons
from pipeline.alerting.outbox import OutboxWorker
from pipeline.alerting.role import AlertRole
from pipeline.deadletter import DeadLetters
from pipeline.roles import Reader, Scorer, Storer

_ASLEEP_SECONDS = 15.0  # between two looks at the bus, which never wait longer than half a second
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
        stack.enter_context(alone_in(settings.storage.folder))
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
        shown = Shown(copy_of(topology), engine.view)
        served_at: list[str] = []
        notify = notify_of(settings.receivers, clock, lambda: settings.serve.url or "".join(served_at))
        models = ModelWatch(settings, stats, clock)
        backends = Backends(
            live=shown.view,
            topology=lambda: shown.topology,
            incidents=incidents,
            metrics=metrics,
            stats=stats,
            clock=clock,
            hall=settings.hall,
            notify=notify,
            expecting=expecting_of(),
            health=lambda: Health(
                not stop.failed,
                ((stop.failure,) if stop.failed else ()) + models.problems,
                {"coldaisle": version("coldaisle"), **models.versions},
            ),
        )
        address = stack.enter_context(
            serve(create_app(backends, settings.serve), settings.serve.host, settings.serve.port)
        )
        served_at.append(address)
        alerter = alerter_of(settings, rules, copy_of(topology), incidents, notify, stats)
        alerter.teach_by(Lessons(bus.producer()))
        outbox = OutboxWorker(incidents, notifiers_of(settings.receivers, clock), clock, stats)
        stack.enter_context(outbox_at_work(outbox))
        dead_letters = DeadLetters(bus.producer(), stats)
        heard = bus.consumer(AlertRole.topics, AlertRole.group)
        alert = AlertRole(heard, alerter, dead_letters, clock, changed)
        wait_ns = round(settings.alerts.group_wait_seconds * SECOND)

        def last_words() -> None:
            # An alert that still waits for company would be forgotten; its incident opens now.
            alert.finish(wait_ns)
            alert.close()

        stack.enter_context(
            Worker("alert", _metered(heard.behind, AlertRole.group, stats, alert.step), stop, last_words, heard.lag)
        )
        reader = Reader(DeadLetters(bus.producer(), stats), stats)
        kept = bus.consumer(Storer.topics, Storer.group)
        store = Storer(kept, metrics, reader, clock, settings.storage.flush_seconds)
        stack.enter_context(
            Worker("store", _metered(kept.behind, Storer.group, stats, store.step), stop, store.close, kept.lag)
        )
        reader = Reader(DeadLetters(bus.producer(), stats), stats)
        judged = bus.consumer(Scorer.topics, Scorer.group)
        score = Scorer(judged, bus.producer(), engine, reader, clock, stats)
        if isinstance(clock, SystemClock):
            score.notice_sleep(_ASLEEP_SECONDS)
        stack.enter_context(
            Worker(
                "score",
                _metered(judged.behind, Scorer.group, stats, lambda: shown.after(score.step())),
                stop,
                score.close,
                judged.lag,
            )
        )
        stack.enter_context(Worker("retention", Keeper(metrics, clock, settings.storage.retention_days).step, stop))
        stack.enter_context(Worker("models", models.step, stop))
        repaired = list(metrics.repaired)
        if under_way:
            repaired.append(f"{under_way} notifications were under way when the last run ended; they are sent again")
        yield House(address, bus, stats, metrics, incidents, tuple(repaired), judged.lag)


def _metered(behind: Behind, group: str, stats: SelfStats, step: Callable[[], object]) -> Callable[[], object]:
    """Return ``step`` that tells now and then how far behind it is."""
    meter = LagMeter(behind, group, stats, lambda _reason: None)
    return lambda: meter.after(step())


def _incidents(folder: Path) -> SqlIncidentStore:
    try:
        return open_incidents(folder)
    except Transient as error:
        # At a start nobody tries again: the disk is full, or somebody holds the database.
        raise ConfigError(f"{error}; then start again, or {ELSEWHERE}") from error
