"""From a collector's configured word to what builds it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from coldaisle.clock import Clock
from coldaisle.config import parse
from coldaisle.errors import ConfigError
from coldaisle.selfstats import SelfStats
from collectors.host.collector import HostCollector
from collectors.host.config import HostConfig
from collectors.nvml.collector import nvml_collector
from collectors.nvml.config import NvmlConfig
from collectors.port import Collector
from collectors.prometheus.collector import PrometheusCollector
from collectors.prometheus.config import PrometheusConfig
from collectors.runner import Spec
from collectors.schedule import ScrapeConfig


class Entry(NamedTuple):
    """The configuration class of a collector, and its factory: (config, node, clock, stats) -> Collector."""

    config: type[ScrapeConfig]
    make: Callable[[Any, str, Clock, SelfStats], Collector]


COLLECTORS: Final[Mapping[str, Entry]] = {
    "host": Entry(HostConfig, lambda config, node, clock, stats: HostCollector(config, node)),
    "nvml": Entry(NvmlConfig, nvml_collector),
    "prometheus": Entry(PrometheusConfig, lambda config, node, clock, stats: PrometheusCollector(config, node, stats)),
}


def spec_of(word: str, config: ScrapeConfig, clock: Clock, stats: SelfStats, node: str = "") -> Spec:
    """
    Build the collector ``word`` with its configuration, ready for the runner.

    ``config.node`` wins over ``node``, which wins over the machine's own name. Raises ConfigError.
    """
    entry = entry_of(word)
    of = config.node or node or socket.gethostname()
    return Spec(entry.make(config, of, clock, stats), of, config.interval_seconds, config.deadline_seconds)


def config_of(word: str, document: Mapping[str, Any], origin: str) -> ScrapeConfig:
    """Turn a section of the configuration into the collector's own. Raises ConfigError."""
    try:
        section = entry_of(word).config
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from error
    return parse(document, section, origin)


def entry_of(word: str) -> Entry:
    """Return the row of ``word``. Raises ConfigError that lists the words there are."""
    try:
        return COLLECTORS[word]
    except KeyError as error:
        known = ", ".join(sorted(COLLECTORS))
        raise ConfigError(f"there is no collector {word!r}; there are {known}") from error
