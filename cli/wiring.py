"""Builds the parts of the house from its settings; the one place that knows which part is made of what."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cli.rules_folder import rules_folder
from cli.settings import ReceiverConfig, Settings
from cli.trained import entity_detector_of, forecaster_of
from coldaisle.clock import Clock
from coldaisle.detector import Detector
from coldaisle.expected import Expecting
from coldaisle.incident import Incident
from coldaisle.selfstats import SelfStats
from coldaisle.store import Notification, RoleStore
from coldaisle.topology import Topology
from models.calibrate import TailCalibrator
from models.drift import Drift
from models.early_warning import EarlyWarning
from models.forecast.expected import LightExpecting
from models.forecast.served import PathForecaster
from models.level import Level
from models.limit_warning import LimitWarning
from models.peers import Peers
from models.seasonal import Seasonal
from pipeline.alerting.alerter import Alerter
from pipeline.alerting.notifiers import Notifier
from pipeline.alerting.notifiers.webhook import WebhookNotifier
from pipeline.alerting.outbox import notifications_for
from pipeline.court import Bar
from pipeline.predictions import Foresight
from pipeline.rulebook import RuleBook
from pipeline.rules import load as load_rules
from pipeline.scoring import Engine

Notify = Callable[[Incident, str], Sequence[Notification]]
_FAMILIES = 256
"""Room for so many families of series to begin with; the calibrator grows."""
_KINDS = 16
"""The same for kinds of entity."""


def rules_of(settings: Settings) -> RuleBook:
    """Return the configured rules, or the shipped ones. Raises ConfigError."""
    return load_rules(rules_folder(settings.rules))


def engine_of(settings: Settings, rules: RuleBook, topology: Topology, stats: SelfStats) -> Engine:
    """Return the scoring engine with the detectors of the house."""
    bar = bar_of(settings, rules, stats)
    ahead = foresight_of(settings, forecaster_of(settings, rules, stats))
    return Engine(bar.detectors, bar.calibrator, rules, topology, settings.engine, stats, ahead, bar.entities)


def bar_of(settings: Settings, rules: RuleBook, stats: SelfStats) -> Bar:
    """Return detectors and a calibrator that have learnt nothing yet."""
    level = Level(relearn_seconds=settings.engine.relearn_seconds)
    detectors: tuple[Detector, ...] = (level, Seasonal(), Peers(), Drift())
    together = entity_detector_of(settings, stats), TailCalibrator(1, _KINDS)
    return Bar(detectors, TailCalibrator(len(detectors), _FAMILIES), rules, settings.engine, stats, together)


def foresight_of(settings: Settings, forecaster: PathForecaster | None = None) -> Foresight | None:
    """Return warners that have seen nothing yet; None where the configuration wants none."""
    if not settings.engine.early_warning:
        return None
    return Foresight((EarlyWarning(), LimitWarning(forecaster)), warn_probability=settings.engine.warn_probability)


def expecting_of() -> Expecting:
    """Return what tells the pages what was and is expected of a series."""
    return LightExpecting()


def notify_of(receivers: Sequence[ReceiverConfig], clock: Clock, address: Callable[[], str]) -> Notify:
    """
    Return what turns a change of an incident into notifications for those who want its severity.

    ``address`` of the page is asked late: with port 0 it is known only once the page is served.
    """

    def notify(incident: Incident, kind: str) -> Sequence[Notification]:
        wanting = [receiver.name for receiver in receivers if incident.severity.value in receiver.severities]
        return notifications_for(incident, kind, wanting, clock.now(), address())

    return notify


def notifiers_of(receivers: Sequence[ReceiverConfig], clock: Clock) -> dict[str, Notifier]:
    """Return a notifier for each receiver. Raises ConfigError (a secret that cannot be read)."""
    return {receiver.name: WebhookNotifier(receiver, clock) for receiver in receivers}


def alerter_of(
    settings: Settings, rules: RuleBook, topology: Topology, store: RoleStore, notify: Notify, stats: SelfStats
) -> Alerter:
    """Return what turns findings into incidents."""
    return Alerter(store, topology, rules, settings.alerts, notify, stats)


def copy_of(topology: Topology) -> Topology:
    """Return a topology of one's own: each role has its own, since it changes while it is read."""
    return Topology(topology, topology.relations())
