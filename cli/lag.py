"""How far behind roles are: as a metric, and as an event about the platform itself once it lasts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import monotonic

from cli.settings import BusConfig
from coldaisle.bus import EVENTS, Partition, Producer
from coldaisle.clock import SECOND, Clock
from coldaisle.codec import encode_event
from coldaisle.errors import Transient
from coldaisle.event import Event
from coldaisle.selfstats import SelfStats
from coldaisle.series import labels

LOOK_SECONDS = 5.0
"""How often lag is looked at: often enough for a page, rarely enough to cost nothing."""
REPEAT_SECONDS = 60.0
"""How often a lag that lasts is told again; the rule ``platform_lag`` holds for longer than this."""
PLATFORM = "coldaisle"
"""The name of the site that stands for the platform itself, so that its own trouble explains nobody else's."""
_KEY = PLATFORM.encode()
_LOG = logging.getLogger("coldaisle.lag")
Behind = Callable[[], Mapping[Partition, int]]
"""Returns how many messages wait in each partition that a consumer holds. Raises Transient."""
Lags = Callable[[], Mapping[tuple[str, str], int]]
"""Returns how many messages each (group, topic) has not committed. Raises Transient."""


class LagMeter:
    """
    Tells how far behind one consumer is: ``bus_lag_messages`` by group and topic, of the partitions it holds.

    ``away`` is told why the bus does not answer, and an empty word when it does: polling alone does not notice.
    """

    def __init__(self, behind: Behind, group: str, stats: SelfStats, away: Callable[[str], object]) -> None:
        self._behind, self._group, self._stats, self._away = behind, group, stats, away
        self._due = 0.0
        self.lags: dict[tuple[str, str], int] = {}
        """The last lag of each (group, topic)."""
        stats.describe("bus_lag_messages", "gauge", "Messages that wait in the partitions this process reads.")

    def after(self, done: object) -> object:
        """Look, when it is due, in the thread that polls; return ``done``."""
        if monotonic() < self._due:
            return done
        try:
            behind = self._behind()
        except Transient as error:
            self._away(str(error))
            self._due = monotonic() + 1.0
            return done
        self._away("")
        # A member that was given no partitions yet will have some soon.
        self._due = monotonic() + (LOOK_SECONDS if behind else 1.0)
        lags = dict.fromkeys(self.lags, 0)
        for partition, waiting in behind.items():
            key = (self._group, partition.topic)
            lags[key] = lags.get(key, 0) + waiting
        self.lags = lags
        for (group, topic), lag in lags.items():
            self._stats.set("bus_lag_messages", float(lag), group=group, topic=topic)
        return done


class LagWatch:
    """
    Tells how far behind whole groups are: ``group_lag_messages``, and an event when it lasts.

    A group above ``lag_limit_messages`` for ``lag_limit_seconds`` becomes an event ``platform``/``lag`` every
    minute, which the rule ``platform_lag`` makes an alert; one below half of it again, ``platform``/``caught_up``.
    Without a producer nothing is told.
    """

    def __init__(
        self, lags: Lags, config: BusConfig, clock: Clock, stats: SelfStats, producer: Producer | None
    ) -> None:
        self._lags, self._config, self._clock, self._stats = lags, config, clock, stats
        self._producer = producer
        self._above_since: dict[tuple[str, str], int] = {}
        self._told_at: dict[tuple[str, str], int] = {}
        stats.describe("group_lag_messages", "gauge", "Messages that a group of consumers has not committed yet.")

    def look(self) -> list[Event]:
        """Look once; return what was told. Raises Transient."""
        now = self._clock.now()
        events: list[Event] = []
        for (group, topic), lag in sorted(self._lags().items()):
            self._stats.set("group_lag_messages", float(lag), group=group, topic=topic)
            event = self._judge(group, topic, lag, now)
            if event is not None:
                events.append(event)
        if events and self._producer is not None:
            for event in events:
                self._producer.produce(EVENTS, _KEY, encode_event(event))
            self._producer.flush()
        return events

    def _judge(self, group: str, topic: str, lag: int, now: int) -> Event | None:
        key, limit = (group, topic), self._config.lag_limit_messages
        if lag > limit:
            since = self._above_since.setdefault(key, now)
            lasted = now - since >= self._config.lag_limit_seconds * SECOND
            told = self._told_at.get(key)
            if lasted and (told is None or now - told >= REPEAT_SECONDS * SECOND):
                self._told_at[key] = now
                _LOG.warning("group %s is %d messages behind on %s", group, lag, topic)
                text = f"group {group} is {lag:,} messages behind on {topic} (limit {limit:,})"
                return _event("lag", group, topic, now, text)
        elif lag <= limit // 2:
            self._above_since.pop(key, None)
            if self._told_at.pop(key, None) is not None:
                return _event("caught_up", group, topic, now, f"group {group} has caught up on {topic}")
        return None


def _event(code: str, group: str, topic: str, now: int, text: str) -> Event:
    return Event("platform", code, now, labels(site=PLATFORM, group=group, topic=topic), text)


class LagStep:
    """The step of a worker that looks at lag now and then."""

    def __init__(self, watch: LagWatch, pause: Callable[[float], object]) -> None:
        self._watch, self._pause = watch, pause
        self._due = 0.0

    def __call__(self) -> None:
        """Look when it is due, else wait a little. Raises Transient."""
        if monotonic() >= self._due:
            self._due = monotonic() + LOOK_SECONDS
            try:
                self._watch.look()
            except Transient as error:
                _LOG.info("lag cannot be told now: %s", error)
        self._pause(0.5)
