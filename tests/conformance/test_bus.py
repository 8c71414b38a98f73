"""Every bus must pass every check: the one in memory, and Kafka on a real broker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest

from coldaisle.bus import Bus, Consumer, Message, Partition, partition_of
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import ManualClock
from coldaisle.errors import Permanent, Transient

ON_KAFKA = (pytest.mark.integration, pytest.mark.xdist_group("kafka"))
PATIENCE_SECONDS = 30.0


@pytest.fixture(params=["memory", pytest.param("kafka", marks=ON_KAFKA)])
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    if request.param == "memory":
        made: Bus = MemoryBus(ManualClock(5), timeout_seconds=0.0)
    else:
        from tests.integration.kafka_server import fresh_bus

        made = fresh_bus(request.getfixturevalue("kafka_server"))
    yield made
    made.close()


def produce(bus: Bus, *values: bytes, topic: str = "frames", key: bytes = b"n1") -> None:
    producer = bus.producer()
    for value in values:
        producer.produce(topic, key, value)
    producer.close()


def produce_numbers(bus: Bus, count: int) -> None:
    """Produce 0, 1, 2, ..., each under a key of its own."""
    producer = bus.producer()
    for number in range(count):
        producer.produce("frames", f"n{number}".encode(), str(number).encode())
    producer.close()


def settle(*members: Consumer) -> list[list[Message]]:
    """Poll until each member holds something and has read all of it; return what each one read."""
    found: list[list[Message]] = [[] for _ in members]
    behind: list[Mapping[Partition, int]] = [{} for _ in members]

    def work(number: int, messages: list[Message]) -> None:
        found[number] += messages
        behind[number] = waiting(members[number])

    def settled() -> bool:
        return all(behind) and not any(sum(each.values()) for each in behind) and no_two_share(behind)

    poll_together(members, work, settled)
    return found


def poll_together(
    members: Sequence[Consumer],
    work: Callable[[int, list[Message]], None],
    done: Callable[[], bool],
    at_most: int = 100,
) -> None:
    """Poll until ``done``; several do so in threads of their own, since they wait for each other to join."""
    until = monotonic() + PATIENCE_SECONDS

    def go_on(number: int) -> None:
        while not done():
            assert monotonic() < until, f"not done after {PATIENCE_SECONDS:g} s"
            work(number, members[number].poll(at_most, 0.05))

    if len(members) == 1:
        go_on(0)
        return
    with ThreadPoolExecutor(len(members)) as threads:
        list(threads.map(go_on, range(len(members))))


def waiting(member: Consumer) -> Mapping[Partition, int]:
    try:
        return member.behind()
    except Transient:
        return {}


def no_two_share(holdings: Sequence[Mapping[Partition, int]]) -> bool:
    """Whether every partition is held once; what one has let go of must have arrived at another."""
    held = [each for holding in holdings for each in holding]
    topics = {each.topic for each in held}
    wanted = sum(1 + max(each.number for each in held if each.topic == topic) for topic in topics)
    return len(held) == len(set(held)) == wanted


def read_all(consumer: Consumer) -> list[Message]:
    return settle(consumer)[0]


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
    settle(one, two)
    produce_numbers(bus, 40)
    mine, yours = settle(one, two)
    assert mine
    assert yours
    assert sorted(int(m.value) for m in mine + yours) == list(range(40))
    assert {m.partition for m in mine}.isdisjoint({m.partition for m in yours})


def test_what_a_departed_member_left_comes_to_the_others(bus: Bus) -> None:
    one, two = bus.consumer(["frames"], "g"), bus.consumer(["frames"], "g")
    settle(one, two)
    produce_numbers(bus, 40)
    _, kept = settle(one, two)
    two.commit(after(kept))
    one.close()
    rest: list[Message] = []
    # Having read all of its own it is settled before it hears that there is more.
    poll_together([two], lambda _, messages: rest.extend(messages), lambda: len(kept + rest) >= 40)
    assert sorted(int(m.value) for m in kept + rest) == list(range(40))


def test_a_poll_returns_no_more_than_was_asked_for(bus: Bus) -> None:
    produce(bus, b"a", b"b", b"c")
    consumer = bus.consumer(["frames"], "g")
    assert len(consumer.poll(2, PATIENCE_SECONDS)) == 2
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


class Watching:
    """Writes down what it is told, and in which thread; goes on where it is told to."""

    def __init__(self, elsewhere: Mapping[Partition, int] | None = None) -> None:
        self.elsewhere = dict(elsewhere or {})
        self.holds: set[Partition] = set()
        self.heard: list[str] = []
        self.threads: set[int] = set()
        self.consumer: Consumer | None = None
        self.done: dict[Partition, int] = {}

    def gained(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        self.note("gained")
        assert self.holds.isdisjoint(partitions)
        self.holds |= partitions
        return {each: self.elsewhere[each] for each in partitions if each in self.elsewhere}

    def losing(self, partitions: frozenset[Partition]) -> None:
        self.note("losing")
        assert partitions <= self.holds
        self.holds -= partitions
        if self.consumer is not None:
            self.consumer.commit({each: offset for each, offset in self.done.items() if each in partitions})

    def lost(self, partitions: frozenset[Partition]) -> None:
        self.note("lost")
        self.holds -= partitions

    def note(self, what: str) -> None:
        self.heard.append(what)
        self.threads.add(threading.get_ident())


def test_a_watcher_hears_of_its_partitions_before_their_messages_in_the_thread_that_polls(bus: Bus) -> None:
    produce(bus, b"a", b"b")
    watching = Watching()
    consumer = bus.consumer(["frames"], "g", watching)
    assert watching.heard == []
    messages = read_all(consumer)
    assert [message.value for message in messages] == [b"a", b"b"]
    assert watching.holds == {Partition("frames", number) for number in range(bus.partitions("frames"))}
    consumer.close()
    assert watching.heard[0] == "gained"
    assert watching.heard[-1] == "losing"
    assert watching.holds == set()
    assert watching.threads == {threading.get_ident()}


def test_a_watcher_says_where_to_go_on(bus: Bus) -> None:
    produce(bus, b"a", b"b", b"c")
    first = bus.consumer(["frames"], "g")
    messages = read_all(first)
    first.commit(after(messages[:1]))
    first.close()
    saved = Watching({messages[2].partition: messages[2].offset})
    assert [message.value for message in read_all(bus.consumer(["frames"], "g", saved))] == [b"c"]


def test_what_a_watcher_commits_while_losing_is_where_the_next_one_goes_on(bus: Bus) -> None:
    watching = Watching()
    one = watching.consumer = bus.consumer(["frames"], "g", watching)
    seen: list[bytes] = []

    def take(number: int, messages: list[Message]) -> None:
        watcher = (watching, other)[number]
        assert {message.partition for message in messages} <= watcher.holds
        seen.extend(message.value for message in messages)
        watcher.done.update(after(messages))

    produce_numbers(bus, 60)
    other = Watching()
    poll_together([one], take, lambda: len(seen) >= 20, at_most=5)
    two = other.consumer = bus.consumer(["frames"], "g", other)
    poll_together([one, two], take, lambda: len(seen) >= 60 and bool(other.holds), at_most=5)
    assert settle(one, two) == [[], []]
    assert sorted(seen, key=int) == [str(number).encode() for number in range(60)]
    assert watching.holds
    assert other.holds
    assert watching.holds.isdisjoint(other.holds)


def test_seeking_reads_again_and_never_beyond_what_is_kept(bus: Bus) -> None:
    produce(bus, b"a", b"b", b"c")
    consumer = bus.consumer(["frames"], "g")
    messages = read_all(consumer)
    where = messages[0].partition
    consumer.seek({where: messages[2].offset})
    assert [message.value for message in read_all(consumer)] == [b"c"]
    consumer.seek({where: 1_000_000})
    assert [message.value for message in read_all(consumer)] == [b"a", b"b", b"c"]


def test_how_far_behind_a_consumer_is_is_known_by_partition(bus: Bus) -> None:
    produce(bus, b"a", b"b", b"c")
    consumer = bus.consumer(["frames"], "g")
    first = consumer.poll(1, PATIENCE_SECONDS)
    where = first[0].partition
    behind = consumer.behind()
    assert set(behind) == {Partition("frames", number) for number in range(bus.partitions("frames"))}
    assert {each: count for each, count in behind.items() if count} == {where: 2}
    assert consumer.lag() == 2


def test_a_reader_holds_everything_from_the_oldest_and_commits_nothing(bus: Bus) -> None:
    produce_numbers(bus, 20)
    member = bus.consumer(["frames"], "g")
    for _ in range(2):
        reader = bus.reader(["frames"])
        assert sorted(int(message.value) for message in read_all(reader)) == list(range(20))
        assert set(reader.behind().values()) == {0}
        with pytest.raises(Permanent, match="commits nothing"):
            reader.commit({Partition("frames", 0): 0})
        reader.close()
    assert len(read_all(member)) == 20


def test_a_commit_of_a_partition_that_is_not_held_is_refused(bus: Bus) -> None:
    consumer = bus.consumer(["frames"], "g")
    settle(consumer)
    with pytest.raises(Transient, match="another member"):
        consumer.commit({Partition("frames", 999): 0})
    with pytest.raises(Transient, match="another member"):
        consumer.seek({Partition("frames", 999): 0})
