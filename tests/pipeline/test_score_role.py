"""The role ``score`` on a bus of many partitions: crashes, members that come and go, a bus that loses output."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldaisle.anomaly import Anomaly
from coldaisle.bus import ANOMALIES, COHORTS, EVENTS, FRAMES
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import SECOND, ManualClock
from coldaisle.codec import decode_anomaly, encode_event, encode_frame
from coldaisle.errors import Transient
from coldaisle.selfstats import SelfStats
from coldaisle.store.snapshots import MemorySnapshots
from coldaisle.topology import Topology
from pipeline.score_role import Pace, ScoreRole
from pipeline.shards import Workshop
from tests.pipeline.hall_story import BOOK, SECONDS, SETTINGS, START, Told, bar, hall, one_engine, told

PARTITIONS = 4


@cache
def messages() -> list[tuple[list[tuple[bytes, bytes]], list[bytes]]]:
    """Return what is put on the bus in each second: frames with their keys, and events."""
    return [
        ([(frame.node.encode(), encode_frame(frame)) for frame in frames], [encode_event(event) for event in events])
        for _, frames, events in hall()
    ]


class Site:
    """A bus with the hall's telemetry, the members that score it, and where they keep their snapshots."""

    def __init__(self) -> None:
        self.clock = ManualClock(START)
        self.stats = SelfStats()
        self.bus = MemoryBus(self.clock, self.stats, PARTITIONS)
        self.snapshots = MemorySnapshots(self.stats)
        self.members: list[ScoreRole] = []
        self._producer = self.bus.producer()
        self._heard = self.bus.reader((ANOMALIES,))
        # Kafka keeps for days what has been committed; in memory it stays while some group has not.
        self._keeper = self.bus.consumer((FRAMES, COHORTS, EVENTS), "keeper")
        self.found: list[Anomaly] = []

    def join(self) -> ScoreRole:
        workshop = Workshop(bar, Topology, BOOK, SETTINGS, self.stats, PARTITIONS, PARTITIONS)
        member = ScoreRole(self.bus, workshop, self.snapshots, self.clock, Pace(snapshot_seconds=7.0))
        self.members.append(member)
        return member

    def kill(self, member: ScoreRole) -> None:
        """Let a member vanish without a word."""
        self.members.remove(member)
        member.losing = member.lost  # type: ignore[method-assign]
        for consumer in member._consumers.values():
            consumer.close()

    def live(self, between: Callable[[int], object] = lambda second: None) -> Told:
        for second, (frames, events) in enumerate(messages()):
            self.clock.set(START + second * SECOND)
            for node, frame in frames:
                self._producer.produce(FRAMES, node, frame)
            for event in events:
                self._producer.produce(EVENTS, b"n00", event)
            between(second)
            self.work()
        for _ in range(30):
            self.work()
        self.found += [decode_anomaly(message.value) for message in self._heard.poll(100_000, 0)]
        return told(self.found)

    def work(self) -> None:
        for member in list(self.members):
            try:
                member.step(0.0)
            except Transient:
                continue


def test_one_member_finds_what_one_engine_finds() -> None:
    site = Site()
    site.join()
    assert site.live() == one_engine()


@pytest.mark.slow
@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.sets(st.integers(1, SECONDS - 1), min_size=1, max_size=12))
def test_members_that_are_killed_change_nothing(seconds: set[int]) -> None:
    site = Site()
    site.join()

    def kill(second: int) -> None:
        if second in seconds:
            site.kill(site.members[0])
            site.join()

    assert site.live(kill) == one_engine()


def test_members_that_come_and_go_change_nothing() -> None:
    site = Site()
    site.join()

    def come_and_go(second: int) -> None:
        if second in (30, 35):
            site.join()
        if second == 70:
            site.members.pop(0).close()
        if second == 95:
            site.kill(site.members[0])

    assert site.live(come_and_go) == one_engine()
    assert len(site.members) == 1


@pytest.mark.slow
def test_output_that_the_bus_did_not_keep_is_made_again() -> None:
    site = Site()
    member = site.join()
    kept = member._producer.flush
    failures = [0]

    def flush() -> None:
        if site.clock.now() > START + 50 * SECOND and failures[0] < 3:
            failures[0] += 1
            raise Transient("the broker went away")
        kept()

    member._producer.flush = flush  # type: ignore[method-assign]
    assert site.live() == one_engine()
    assert site.stats.total("score_rewinds_total") == 3


def test_a_damaged_snapshot_is_refused_and_what_it_held_is_read_again(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    site.join()

    def spoil(second: int) -> None:
        if second == 64:
            site.kill(site.members[0])
            for kept in site.snapshots._kept.values():
                kept[-1] = kept[-1][:600] + b"spoilt" + kept[-1][606:]
            site.join()

    assert site.live(spoil) == one_engine()
    assert "set aside" in caplog.text
