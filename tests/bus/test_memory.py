from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

from coldaisle.bus import Partition
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import ManualClock
from coldaisle.errors import Backpressure, Permanent, Transient
from coldaisle.selfstats import SelfStats


def small(stats: SelfStats | None = None, timeout_seconds: float = 0.0) -> MemoryBus:
    return MemoryBus(ManualClock(), stats, partitions=1, max_bytes=1_000, timeout_seconds=timeout_seconds)


def test_a_full_topic_refuses_and_counts_it() -> None:
    stats = SelfStats()
    bus = small(stats)
    bus.consumer(["frames"], "score")
    producer = bus.producer()
    producer.produce("frames", b"", b"x" * 500)
    with pytest.raises(Backpressure, match="frames holds 700 of 1000 bytes"):
        producer.produce("frames", b"", b"x" * 500)
    assert stats.get("bus_refused_total", topic="frames", reason="full") == 1


def test_committing_makes_room_for_a_waiting_producer() -> None:
    bus = small(timeout_seconds=30.0)
    consumer = bus.consumer(["frames"], "score")
    bus.producer().produce("frames", b"", b"x" * 500)
    writer = threading.Thread(target=lambda: bus.producer().produce("frames", b"", b"y" * 500))
    writer.start()
    consumer.poll(1, 0.0)
    consumer.commit({Partition("frames", 0): 1})
    writer.join(30.0)
    assert [message.value for message in consumer.poll(5, 0.0)] == [b"y" * 500]


def test_a_message_stays_until_every_known_group_has_committed_it() -> None:
    bus = small()
    groups = [bus.consumer(["frames"], name) for name in ("store", "score")]
    bus.producer().produce("frames", b"", b"x")
    held = []
    for consumer in groups:
        consumer.poll(1, 0.0)
        held.append(bus.held_bytes("frames"))
        consumer.commit({Partition("frames", 0): 1})
    assert held == [201, 201]
    assert bus.held_bytes("frames") == 0


def test_a_topic_without_readers_forgets_its_oldest_and_counts_it() -> None:
    stats = SelfStats()
    bus = small(stats)
    producer = bus.producer()
    for number in range(10):
        producer.produce("deadletters", b"", str(number).encode() * 100)
    left = bus.consumer(["deadletters"], "people").poll(10, 0.0)
    assert [message.value[:1] for message in left] == [b"7", b"8", b"9"]
    assert stats.total("bus_expired_total") == 7


def test_a_message_that_never_fits_is_refused_for_good() -> None:
    with pytest.raises(Permanent, match="exceeds"):
        small().producer().produce("frames", b"", b"x" * 2_000)


def test_a_commit_for_a_partition_that_moved_is_refused() -> None:
    bus = MemoryBus(ManualClock(), partitions=2)
    one = bus.consumer(["frames"], "g")
    bus.consumer(["frames"], "g")
    with pytest.raises(Transient, match="another member"):
        one.commit({Partition("frames", 1): 0})
    with pytest.raises(Permanent, match="beyond its end"):
        one.commit({Partition("frames", 0): 5})


def test_what_is_closed_says_so() -> None:
    bus = MemoryBus(ManualClock())
    consumer, producer = bus.consumer(["frames"], "g"), bus.producer()
    consumer.close()
    producer.close()
    with pytest.raises(Permanent, match="closed"):
        consumer.poll(1, 0.0)
    with pytest.raises(Permanent, match="closed"):
        producer.produce("frames", b"", b"")
    bus.close()
    with pytest.raises(Permanent, match="closed"):
        bus.producer().produce("frames", b"", b"")


def test_many_threads_lose_nothing() -> None:
    bus = MemoryBus(ManualClock(), partitions=4)
    consumers = [bus.consumer(["frames"], "g") for _ in range(2)]

    def send(name: str) -> None:
        producer = bus.producer()
        for number in range(200):
            producer.produce("frames", f"{name}{number}".encode(), f"{name} {number}".encode())

    threads = [threading.Thread(target=send, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    values = [message.value for consumer in consumers for message in consumer.poll(1_000, 0.0)]
    assert len(values) == len(set(values)) == 600


class Stubborn:
    """A watcher that cannot save."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.ready = False

    def gained(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        if not self.ready:
            raise Transient("the snapshots are away")
        return {}

    def losing(self, partitions: frozenset[Partition]) -> None:
        raise Transient("the disk is full")

    def lost(self, partitions: frozenset[Partition]) -> None:
        self.heard.append(f"lost {len(partitions)}")


def test_what_a_watcher_cannot_take_on_is_offered_again_and_not_read_before() -> None:
    bus, watcher = MemoryBus(ManualClock(), partitions=2), Stubborn()
    consumer = bus.consumer(["frames"], "g", watcher)
    bus.producer().produce("frames", b"", b"x")
    with pytest.raises(Transient, match="away"):
        consumer.poll(1, 0.0)
    watcher.ready = True
    assert len(consumer.poll(1, 0.0)) == 1


def test_partitions_go_even_where_the_watcher_could_not_save() -> None:
    bus, watcher = MemoryBus(ManualClock(), partitions=2), Stubborn()
    watcher.ready = True
    one = bus.consumer(["frames"], "g", watcher)
    one.poll(1, 0.0)
    two = bus.consumer(["frames"], "g")
    with pytest.raises(Transient, match="disk is full"):
        one.poll(1, 0.0)
    assert watcher.heard == ["lost 1"]
    assert set(two.behind()) == {Partition("frames", 1)}


def test_a_member_waits_for_partitions_until_their_holder_has_let_go() -> None:
    bus, watcher = MemoryBus(ManualClock(), partitions=2), Stubborn()
    watcher.ready = True
    one = bus.consumer(["frames"], "g", watcher)
    one.poll(1, 0.0)
    two = bus.consumer(["frames"], "g")
    assert two.behind() == {}
    assert len(one.behind()) == 2


def test_a_reader_that_was_too_slow_goes_on_at_the_oldest_and_counts_what_it_missed() -> None:
    stats = SelfStats()
    bus = small(stats)
    reader = bus.reader(["deadletters"])
    for number in range(10):
        bus.producer().produce("deadletters", b"", str(number).encode() * 100)
    assert [message.value[:1] for message in reader.poll(10, 0.0)] == [b"7", b"8", b"9"]
    assert stats.get("bus_skipped_total", topic="deadletters", reason="expired") == 7
