"""Every bus must pass every check. A new bus only adds itself to BUSES."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from coldaisle.bus import Bus, Consumer, Message, Partition, partition_of
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import ManualClock

BUSES: list[Callable[[], Bus]] = [lambda: MemoryBus(ManualClock(5), timeout_seconds=0.0)]
IDS = ["memory"]
WAIT_SECONDS = 0.2


@pytest.fixture(params=BUSES, ids=IDS)
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    made: Bus = request.param()
    yield made
    made.close()


def produce(bus: Bus, *values: bytes, topic: str = "frames", key: bytes = b"n1") -> None:
    producer = bus.producer()
    for value in values:
        producer.produce(topic, key, value)
    producer.close()


def read_all(consumer: Consumer) -> list[Message]:
    found: list[Message] = []
    while batch := consumer.poll(100, WAIT_SECONDS if not found else 0.0):
        found += batch
    return found


def after(messages: list[Message]) -> dict[Partition, int]:
    return {message.partition: message.offset + 1 for message in messages}


def test_messages_of_one_key_come_in_order_with_their_key_and_headers(bus: Bus) -> None:
    producer = bus.producer()
    producer.produce("frames", b"n1", b"a", {"content-type": "x"})
    producer.produce("frames", b"n1", b"b")
    producer.flush()
    first, second = read_all(bus.consumer(["frames"], "g"))
    assert (first.key, first.value, dict(first.headers)) == (b"n1", b"a", {"content-type": "x"})
    assert (second.value, dict(second.headers), second.offset) == (b"b", {}, first.offset + 1)
    assert first.partition == second.partition


def test_what_was_not_committed_comes_again(bus: Bus) -> None:
    produce(bus, b"first", b"second")
    consumer = bus.consumer(["frames"], "g")
    messages = read_all(consumer)
    consumer.commit(after(messages[:1]))
    consumer.close()
    assert [message.value for message in read_all(bus.consumer(["frames"], "g"))] == [b"second"]


def test_what_was_committed_does_not_come_again(bus: Bus) -> None:
    produce(bus, b"first")
    consumer = bus.consumer(["frames"], "g")
    consumer.commit(after(read_all(consumer)))
    consumer.close()
    assert read_all(bus.consumer(["frames"], "g")) == []


def test_each_group_reads_everything(bus: Bus) -> None:
    store, score = bus.consumer(["frames"], "store"), bus.consumer(["frames"], "score")
    produce(bus, b"a", b"b")
    assert [m.value for m in read_all(store)] == [m.value for m in read_all(score)] == [b"a", b"b"]


def test_members_of_a_group_share_the_partitions(bus: Bus) -> None:
    one, two = bus.consumer(["frames"], "g"), bus.consumer(["frames"], "g")
    for number in range(40):
        produce(bus, str(number).encode(), key=f"n{number}".encode())
    mine, yours = read_all(one), read_all(two)
    assert mine
    assert yours
    assert sorted(int(m.value) for m in mine + yours) == list(range(40))
    assert {m.partition for m in mine}.isdisjoint({m.partition for m in yours})


def test_what_a_departed_member_left_comes_to_the_others(bus: Bus) -> None:
    one, two = bus.consumer(["frames"], "g"), bus.consumer(["frames"], "g")
    for number in range(40):
        produce(bus, str(number).encode(), key=f"n{number}".encode())
    read_all(one)
    kept = read_all(two)
    two.commit(after(kept))
    one.close()
    rest = read_all(two)
    assert sorted(int(m.value) for m in kept + rest) == list(range(40))


def test_a_poll_returns_no_more_than_was_asked_for(bus: Bus) -> None:
    produce(bus, b"a", b"b", b"c")
    consumer = bus.consumer(["frames"], "g")
    assert len(consumer.poll(2, WAIT_SECONDS)) == 2
    assert consumer.lag() == 1


def test_a_consumer_reads_all_its_topics(bus: Bus) -> None:
    consumer = bus.consumer(["frames", "events"], "g")
    produce(bus, b"f", topic="frames")
    produce(bus, b"e", topic="events")
    assert {m.partition.topic: m.value for m in read_all(consumer)} == {"frames": b"f", "events": b"e"}


def test_closing_twice_is_safe(bus: Bus) -> None:
    consumer, producer = bus.consumer(["frames"], "g"), bus.producer()
    for each in (consumer, producer, bus):
        each.close()
        each.close()
    assert partition_of(b"n1", 4) in range(4)


def test_a_waiting_poll_wakes_up_when_a_message_comes(bus: Bus) -> None:
    consumer = bus.consumer(["frames"], "g")
    found: list[Message] = []
    reader = threading.Thread(target=lambda: found.extend(consumer.poll(1, 30.0)))
    reader.start()
    produce(bus, b"late")
    reader.join(30.0)
    assert [message.value for message in found] == [b"late"]
