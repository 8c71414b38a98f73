"""Gives the pipeline its trained models, and writes down how a challenger did beside the champion."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from importlib.util import find_spec

from cli.settings import Settings, models_folder
from coldaisle.clock import MINUTE, Clock
from coldaisle.entity_detector import EntityDetector
from coldaisle.errors import ConfigError
from coldaisle.selfstats import SelfStats
from models.artefact import load, read_card
from models.forecast.paths import step_of
from models.forecast.served import PathForecaster, ServedForecaster
from models.forest_nursery import Forests
from models.forest_shadow import BOTH, ROWS, STRANGE, Shadowed
from models.isolation_forest import KIND, Forest, forests_of
from models.registry import Registry
from pipeline.rulebook import RuleBook

NOTED_NS = 10 * MINUTE
FORECAST = "forecast"
_LOG = logging.getLogger("coldaisle.models")


def entity_detector_of(settings: Settings, stats: SelfStats) -> EntityDetector:
    """
    Return the champion among forests, a challenger in its shadow; without either, forests that grow by themselves.

    A model that cannot be used is told, counted in ``models_refused``, and never keeps scoring from starting.
    """
    registry = Registry(models_folder(settings))
    champion = _forests(registry, challenger=False)
    challenger = _forests(registry, challenger=True)
    _tell(registry, KIND, stats)
    forests = Forests(champion)
    return Shadowed(forests, challenger, stats) if challenger else forests


def forecaster_of(settings: Settings, rules: RuleBook, stats: SelfStats) -> PathForecaster | None:
    """
    Return the champion among forecasters, served by a process of its own; None = the light one does it all.

    Starting it takes the seconds that torch takes to import. One that cannot be used here, since its file is refused,
    the extra is missing, or it learnt nothing that a rule limits, is told, and counted in ``models_refused``.
    """
    if not settings.engine.early_warning:
        return None
    registry = Registry(models_folder(settings))
    path = registry.champion(FORECAST)
    served = None
    if path is not None:
        try:
            card = read_card(path)
            step_of(card)
            if not {rule.metric for rule in rules.metric_rules()} & set(card.metrics):
                raise ConfigError(
                    f"forecast: model {card.version} learnt no metric that a rule sets a limit for; train one on others"
                )
            if _extra_missing():
                raise ConfigError(_without_extra(card.version))
            served = ServedForecaster(path, card, stats)
        except ConfigError as error:
            registry.refuse(path, str(error))
    _tell(registry, FORECAST, stats)
    return served


def _extra_missing() -> bool:
    return find_spec("torch") is None or find_spec("pytorch_forecasting") is None


def _without_extra(version: str) -> str:
    return f"forecast: model {version} needs the extra `forecast`, which is missing; `make forecast` installs it"


def _tell(registry: Registry, job: str, stats: SelfStats) -> None:
    """Log and count what could not be used."""
    stats.describe("models_refused", "gauge", "Stored models that cannot be used; coldaisle doctor says why.")
    for path, why in registry.refused:
        _LOG.warning("model refused: %s (%s)", why, path)
    stats.set("models_refused", len(registry.refused), job=job)


def _forests(registry: Registry, challenger: bool) -> Mapping[str, Forest]:
    path = registry.challenger(KIND) if challenger else registry.champion(KIND)
    if path is None:
        return {}
    try:
        return forests_of(*load(path, KIND))
    except ConfigError as error:  # whole, and yet no forest
        registry.refuse(path, str(error))
        return {}


class ModelWatch:
    """
    Looks at the registry once a minute, and writes into it now and then what champion and challenger counted.

    In a thread of its own: whoever trains may hold the registry for a moment. ``problems`` are sentences for the
    Health page, ``versions`` who decides by job; both are replaced, never changed.
    """

    def __init__(self, settings: Settings, stats: SelfStats, clock: Clock) -> None:
        self.problems: tuple[str, ...] = ()
        self.versions: Mapping[str, str] = {}
        self._registry = Registry(models_folder(settings))
        self._stats, self._clock = stats, clock
        self._looks = clock.now()
        self._due = clock.now() + NOTED_NS
        self._pause = threading.Event()

    def step(self) -> None:
        """Look and write when it is due, else wait a little."""
        now = self._clock.now()
        if now >= self._looks:
            self._looks = now + MINUTE
            entries = self._registry.entries()
            champions = {one.job: one.version for one in entries if one.standing == "champion"}
            refused = [why for _, why in self._registry.refused]
            if FORECAST in champions and _extra_missing():
                refused.append(_without_extra(champions.pop(FORECAST)))
            self.versions = {f"model {job}": version for job, version in champions.items()}
            self.problems = tuple(f"Model refused: {why}." for why in refused)
        if now >= self._due:
            self._due = now + NOTED_NS
            scores = shadow_scores(self._stats)
            try:
                if scores:
                    self._registry.note_live(KIND, scores, now)
            except ConfigError as error:  # a folder that may only be read is no reason to stop scoring
                _LOG.warning("shadow scores cannot be noted: %s", error)
        self._pause.wait(0.5)


def shadow_scores(stats: SelfStats) -> dict[str, dict[str, float]]:
    """Return what was counted since the start: {version: rows, the share found strange, the share both found}."""
    counted: dict[str, dict[str, float]] = {}
    for name, labels, value in stats.rows():
        told = dict(labels)
        if name in (ROWS, STRANGE, BOTH) and told.get("job") == KIND:
            counted.setdefault(told["version"], {})[name] = value
    return {
        version: {
            "rows": each[ROWS],
            "strange_share": each.get(STRANGE, 0.0) / each[ROWS],
            "both_strange_share": each.get(BOTH, 0.0) / each[ROWS],
        }
        for version, each in counted.items()
        if each.get(ROWS)
    }
