"""``run score``: frames from Kafka through the detectors, findings to Kafka, exact after a crash."""

from __future__ import annotations

from contextlib import ExitStack

from cli.roles.process import Process
from cli.roles.servers import bus_for, where_bus
from cli.settings import snapshots_folder
from cli.trained import ModelWatch, forecaster_of
from cli.wiring import bar_of, copy_of, foresight_of, rules_of
from coldaisle.bus import ANOMALIES, COHORTS, DEADLETTERS, EVENTS, FRAMES
from coldaisle.store.snapshots import FolderSnapshots
from pipeline.score_role import Pace, ScoreRole
from pipeline.shards import Workshop


def begin(process: Process, stack: ExitStack) -> str:
    """Start scoring once Kafka is there; return what runs, in words. Raises ConfigError, Asked."""
    settings, clock, stats = process.settings, process.clock, process.stats
    rules = rules_of(settings)
    forecaster = forecaster_of(settings, rules, stats)
    folder = snapshots_folder(settings)
    snapshots = FolderSnapshots(folder, stats)
    bus = bus_for(process, stack, (FRAMES, EVENTS, COHORTS, ANOMALIES, DEADLETTERS))
    workshop = Workshop(
        bar=lambda: bar_of(settings, rules, stats),
        topology=lambda: copy_of(process.topology),
        rules=rules,
        settings=settings.engine,
        stats=stats,
        watches=process.wait_for("kafka", lambda: bus.partitions(FRAMES)),
        courts=process.wait_for("kafka", lambda: bus.partitions(COHORTS)),
        foresight=lambda: foresight_of(settings, forecaster),
    )
    pace = Pace(settings.snapshots.seconds, settings.engine.idle_seconds)
    role = process.wait_for("kafka", lambda: ScoreRole(bus, workshop, snapshots, clock, pace))
    meter = process.meter(role.behind, ScoreRole.group)
    stack.enter_context(process.worker("score", lambda: meter.after(role.step()), role.close))
    stack.enter_context(process.worker("models", ModelWatch(settings, stats, clock).step))
    return f"{FRAMES} and {EVENTS} of {where_bus(settings)} to its {ANOMALIES}, snapshots in {folder}"
