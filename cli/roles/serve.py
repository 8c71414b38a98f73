"""``run serve``: the pages and the API, with no engine in their process."""

from __future__ import annotations

from contextlib import ExitStack
from importlib.metadata import version

from cli.lag import LagStep, LagWatch
from cli.roles.follower import Follower
from cli.roles.process import Process
from cli.roles.servers import bus_for, incidents_for, metrics_for, where_bus, where_incidents, where_metrics
from cli.shown import Shown
from cli.wiring import copy_of, expecting_of, notify_of
from coldaisle.bus import ANOMALIES, EVENTS, FRAMES
from coldaisle.bus.kafka_groups import KafkaGroups
from pipeline.roles import Storer
from pipeline.score_role import ScoreRole


def begin(process: Process, stack: ExitStack) -> str:
    """Start serving once its servers are there; return what runs, in words. Raises ConfigError, Asked."""
    settings, clock, stats = process.settings, process.clock, process.stats
    incidents = incidents_for(process, stack)
    metrics = metrics_for(process, stack, None)
    bus = bus_for(process, stack, (FRAMES, ANOMALIES, EVENTS))

    from dashboard.app import create_app, serve
    from dashboard.source import Backends, Health

    follower = Follower(bus, copy_of(process.topology), clock, stats)
    shown = Shown(copy_of(process.topology), follower.view)
    served_at: list[str] = []
    versions = {"coldaisle": version("coldaisle")}

    def health() -> Health:
        problems = tuple(f"{part}: {reason}" for part, reason in sorted(process.readiness.missing().items()))
        return Health(not problems, problems, versions)

    backends = Backends(
        live=shown.view,
        topology=lambda: shown.topology,
        incidents=incidents,
        metrics=metrics,
        stats=stats,
        clock=clock,
        hall=settings.hall,
        notify=notify_of(settings.receivers, clock, lambda: settings.serve.url or "".join(served_at)),
        health=health,
        expecting=expecting_of(),
    )
    meter = process.meter(follower.behind, "serve")

    def step() -> None:
        shown.after(follower.step())
        meter.after(None)

    stack.enter_context(process.worker("follower", step, follower.close))
    groups = KafkaGroups(settings.bus.kafka)
    stack.callback(groups.close)
    watched = {Storer.group: Storer.topics, ScoreRole.group: ScoreRole.topics}
    watch = LagWatch(lambda: groups.lags(watched), settings.bus, clock, stats, None)
    stack.enter_context(process.worker("lag", LagStep(watch, process.stop.wait)))
    address = stack.enter_context(serve(create_app(backends, settings.serve), settings.serve.host, settings.serve.port))
    served_at.append(address)
    return (
        f"pages and API at {address} from {where_incidents(settings)}, {where_metrics(settings)} "
        f"and the newest of {where_bus(settings)}"
    )
