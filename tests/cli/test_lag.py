"""What is told of roles that fall behind: a number always, an event once it lasts, an alert by the shipped rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.lag import LagMeter, LagStep, LagWatch
from cli.settings import BusConfig
from coldaisle.anomaly import Phase
from coldaisle.bus import EVENTS, FRAMES, Partition
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import SECOND, ManualClock
from coldaisle.codec import decode_event
from coldaisle.errors import Transient
from coldaisle.event import Event
from coldaisle.selfstats import SelfStats
from coldaisle.topology import Topology
from pipeline.rulebook import EventRule
from pipeline.rules import load

NOON = 1_790_000_000 * SECOND
RULES = Path(__file__).resolve().parents[2] / "config" / "rules"
SCORE = ("score", FRAMES)


class Platform:
    """One group that is as far behind as a test says, and who watches it."""

    def __init__(self, tells: bool = True) -> None:
        self.clock, self.stats = ManualClock(NOON), SelfStats()
        self.bus = MemoryBus(self.clock)
        self.lags = {SCORE: 0, ("store", FRAMES): 0}
        config = BusConfig(lag_limit_messages=1000, lag_limit_seconds=60.0)
        self.watch = LagWatch(
            lambda: dict(self.lags), config, self.clock, self.stats, self.bus.producer() if tells else None
        )
        self._reader = self.bus.reader([EVENTS])

    def look(self, lag: int, after_seconds: float = 5.0) -> list[Event]:
        """Let time pass, then look at a group ``lag`` messages behind."""
        self.clock.advance(after_seconds)
        self.lags[SCORE] = lag
        return self.watch.look()

    def told(self) -> list[Event]:
        """Every event that has come to the bus since the last time."""
        return [decode_event(message.value) for message in self._reader.poll(100, 0.0)]


def test_a_group_within_its_limit_is_counted_and_not_told() -> None:
    platform = Platform()
    for _ in range(60):
        assert platform.look(1000) == []
    assert platform.told() == []
    assert platform.stats.get("group_lag_messages", group="score", topic=FRAMES) == 1000


def test_a_short_lag_is_not_told() -> None:
    platform = Platform()
    assert [platform.look(lag) for lag in (5000,) * 12 + (100,)] == [[]] * 13
    assert [platform.look(lag) for lag in (5000,) * 12] == [[]] * 12, "it began anew"
    assert platform.told() == []


def test_a_lag_that_lasts_is_told_every_minute_until_its_end() -> None:
    platform = Platform()
    told_at = []
    for _ in range(60):
        if platform.look(60_000):
            told_at.append((platform.clock.now() - NOON) // SECOND)
    assert told_at == [65, 125, 185, 245], "five seconds of calm are no lag; then once a minute"
    assert platform.look(900) == [], "under the limit, but not yet half of it"
    (end,) = platform.look(500)
    assert (end.kind, end.code) == ("platform", "caught_up")
    assert platform.look(400) == []
    events = platform.told()
    assert [event.code for event in events] == ["lag"] * 4 + ["caught_up"]
    assert events[0].text == f"group score is 60,000 messages behind on {FRAMES} (limit 1,000)"
    assert dict(events[0].labels) == {"site": "coldaisle", "group": "score", "topic": FRAMES}


def test_the_shipped_rule_makes_it_a_ticket_of_the_platform_and_ends_it() -> None:
    rule = next(each for each in load(RULES) if each.name == "platform_lag")
    assert isinstance(rule, EventRule)
    platform = Platform()
    for lag in (60_000,) * 40 + (0,):
        platform.look(lag)
    made = [finding for event in platform.told() if (finding := rule.finding(event, Topology())) is not None]
    assert {(finding.rule, finding.entity) for finding in made} == {("platform_lag", "site/coldaisle")}
    assert made[0].phase is Phase.OPENED
    assert "60,000 messages behind" in made[0].summary
    assert made[-1].phase is Phase.CLOSED


def test_two_groups_are_judged_apart() -> None:
    platform = Platform()
    platform.lags["store", FRAMES] = 5000
    told = [event for _ in range(13) for event in platform.look(0)]
    assert [dict(event.labels)["group"] for event in told] == ["store"]


def test_without_a_producer_numbers_are_all_that_is_told() -> None:
    platform = Platform(tells=False)
    for _ in range(20):
        platform.look(60_000)
    assert platform.told() == []
    assert platform.stats.get("group_lag_messages", group="score", topic=FRAMES) == 60_000


def test_a_bus_that_is_away_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    def away() -> dict[tuple[str, str], int]:
        raise Transient("nothing answers")

    pauses: list[float] = []
    watch = LagWatch(away, BusConfig(), ManualClock(NOON), SelfStats(), None)
    with caplog.at_level("INFO"):
        step = LagStep(watch, pauses.append)
        step()
        step()
    assert "lag cannot be told now: nothing answers" in caplog.text
    assert pauses == [0.5, 0.5]


def test_a_meter_sums_the_partitions_of_a_topic_and_forgets_none_that_it_had() -> None:
    stats, reasons = SelfStats(), list[str]()
    waiting = {Partition(FRAMES, 0): 3, Partition(FRAMES, 1): 4, Partition(EVENTS, 0): 1}
    meter = LagMeter(lambda: waiting, "store", stats, reasons.append)
    assert meter.after("done") == "done"
    assert meter.lags == {("store", FRAMES): 7, ("store", EVENTS): 1}
    assert stats.get("bus_lag_messages", group="store", topic=FRAMES) == 7
    waiting.clear()
    meter._due = 0.0
    meter.after(None)
    assert stats.get("bus_lag_messages", group="store", topic=FRAMES) == 0, "its partitions went to another member"
    assert reasons == ["", ""]


def test_a_meter_says_why_the_bus_does_not_answer() -> None:
    reasons: list[str] = []

    def away() -> dict[Partition, int]:
        raise Transient("nothing answers")

    meter = LagMeter(away, "store", SelfStats(), reasons.append)
    assert meter.after(7) == 7
    assert reasons == ["nothing answers"]
    assert meter.lags == {}
