"""``run alert``: findings and events from Kafka to incidents, their notifications to receivers."""

from __future__ import annotations

import os
import secrets
import socket
from contextlib import ExitStack

from cli.lag import LagStep, LagWatch
from cli.roles.process import Process
from cli.roles.servers import bus_for, incidents_for, where_bus, where_incidents
from cli.settings import Settings
from cli.upkeep import outbox_at_work
from cli.wiring import alerter_of, copy_of, notifiers_of, notify_of, rules_of
from coldaisle.bus import DEADLETTERS, Partition
from coldaisle.bus.kafka_groups import KafkaGroups
from pipeline.alerting.lessons import Lessons
from pipeline.alerting.outbox import OutboxWorker
from pipeline.alerting.role import AlertRole, AlertRoleSettings
from pipeline.deadletter import DeadLetters
from pipeline.roles import Storer
from pipeline.score_role import ScoreRole


def begin(process: Process, stack: ExitStack) -> str:
    """Start alerting once its servers are there; return what runs, in words. Raises ConfigError, Asked."""
    settings, clock, stats = process.settings, process.clock, process.stats
    rules = rules_of(settings)
    notifiers = notifiers_of(settings.receivers, clock)
    incidents = incidents_for(process, stack)
    bus = bus_for(process, stack, (*AlertRole.topics, DEADLETTERS))
    groups = KafkaGroups(settings.bus.kafka)
    stack.callback(groups.close)
    cluster = process.wait_for("kafka", groups.cluster)

    notify = notify_of(settings.receivers, clock, lambda: page_address(settings))
    alerter = alerter_of(settings, rules, copy_of(process.topology), incidents, notify, stats)
    alerter.teach_by(Lessons(bus.producer()))
    heard = bus.reader(AlertRole.topics)
    dead_letters = DeadLetters(bus.producer(), stats, by=AlertRole.group)
    holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
    role = AlertRole(
        heard, alerter, dead_letters, clock, None, AlertRoleSettings(holder=holder, bus=cluster, commits=False)
    )

    def behind() -> dict[Partition, int]:
        # Who stands by reads nothing: what waits is the other's work. Asking still tells whether Kafka is there.
        return {partition: waiting if role.deciding else 0 for partition, waiting in heard.behind().items()}

    meter = process.meter(behind, AlertRole.group)

    # What looks at lag stops first: it writes to the bus that the role reads.
    stack.enter_context(process.worker("alert", lambda: meter.after(role.step()), role.close))
    stack.enter_context(outbox_at_work(OutboxWorker(incidents, notifiers, clock, stats)))
    watched = {Storer.group: Storer.topics, **ScoreRole.groups}
    watch = LagWatch(lambda: {**groups.lags(watched), **meter.lags}, settings.bus, clock, stats, bus.producer())
    stack.enter_context(process.worker("lag", LagStep(watch, process.stop.wait)))
    told = ", ".join(receiver.name for receiver in settings.receivers) or "nobody (there is no [[receiver]])"
    return f"{' and '.join(AlertRole.topics)} of {where_bus(settings)} to {where_incidents(settings)}, telling {told}"


def page_address(settings: Settings) -> str:
    """Return where people find the page that another process serves; empty where nobody said."""
    serve = settings.serve
    if serve.url:
        return serve.url
    return f"http://{serve.host}:{serve.port}" if serve.loopback and serve.port else ""
