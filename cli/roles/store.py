"""``run store``: frames and events from Kafka to the metric store."""

from __future__ import annotations

from contextlib import ExitStack

from cli.roles.process import Process
from cli.roles.servers import bus_for, metrics_for, where_bus, where_metrics
from cli.upkeep import Keeper
from coldaisle.bus import DEADLETTERS
from pipeline.checkpoint import Handover
from pipeline.deadletter import DeadLetters
from pipeline.roles import Reader, Storer


def begin(process: Process, stack: ExitStack) -> str:
    """Start storing once Kafka is there; return what runs, in words. Raises ConfigError, Asked."""
    settings, clock, stats = process.settings, process.clock, process.stats
    bus = bus_for(process, stack, (*Storer.topics, DEADLETTERS))
    refused = DeadLetters(bus.producer(), stats, by=Storer.group)

    def refuse(line: bytes, reason: str) -> None:
        refused.put_line(line, reason)
        refused.flush()

    metrics = metrics_for(process, stack, refuse)
    handover = Handover()
    consumer = bus.consumer(Storer.topics, Storer.group, handover)
    reader = Reader(DeadLetters(bus.producer(), stats, by=Storer.group), stats)
    role = Storer(consumer, metrics, reader, clock, settings.storage.flush_seconds, handover)
    meter = process.meter(consumer.behind, Storer.group)
    stack.enter_context(process.worker("store", lambda: meter.after(role.step()), role.close))
    if settings.storage.metrics == "parquet":
        keeper = Keeper(metrics, clock, settings.storage.retention_days)
        stack.enter_context(process.worker("retention", keeper.step))
    return f"{' and '.join(Storer.topics)} of {where_bus(settings)} to {where_metrics(settings)}"
