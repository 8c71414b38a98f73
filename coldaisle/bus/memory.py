"""The bus in one process: the same words as Kafka's, kept in memory and bounded in bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from heapq import merge
from itertools import islice
from operator import attrgetter
from time import monotonic
from types import MappingProxyType

from coldaisle.bus import Message, Partition, Watcher, partition_of
from coldaisle.bus.memory_group import Group, Member
from coldaisle.clock import Clock, SystemClock
from coldaisle.errors import Backpressure, Permanent, Transient
from coldaisle.selfstats import SelfStats

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_OVERHEAD_BYTES = 200
"""What one message costs beside its key and value, roughly; so that empty messages are bounded too."""


class _Log:
    """One partition: the messages that somebody may still want."""

    def __init__(self) -> None:
        self.base = 0  # offset of the oldest message kept
        self.messages: deque[Message] = deque()

    @property
    def end(self) -> int:
        return self.base + len(self.messages)


class _Topic:
    """The partitions of one topic and what they weigh together."""

    def __init__(self, partitions: int) -> None:
        self.logs = [_Log() for _ in range(partitions)]
        self.bytes = 0
        self.groups: set[str] = set()


class MemoryBus:
    """
    Topics of ``partitions`` logs each, shared by the threads of one process.

    A message stays until every group that ever read its topic has committed it. A topic that holds
    ``max_bytes`` makes producers wait ``timeout_seconds`` and then refuses with Backpressure; one that no
    group reads (dead letters, say) forgets its oldest messages instead. Both are counted in ``stats``:
    ``bus_refused_total``, ``bus_expired_total``; what a reader could no longer read in
    ``bus_skipped_total``. What the bus holds ends with the process.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        stats: SelfStats | None = None,
        partitions: int = 4,
        max_bytes: int = 256 << 20,
        timeout_seconds: float = 5.0,
    ) -> None:
        if partitions < 1:
            raise ValueError("a topic has at least one partition")
        self._clock = clock or SystemClock()
        self._stats = stats or SelfStats()
        self._partitions = partitions
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._topics: dict[str, _Topic] = {}
        self._groups: dict[str, Group] = {}
        self._closed = False
        self._changed = threading.Condition()

    def producer(self) -> MemoryProducer:
        """Return a producer, one for each thread."""
        return MemoryProducer(self)

    def consumer(self, topics: Iterable[str], group: str, watcher: Watcher | None = None) -> MemoryConsumer:
        """Return a member of ``group``; one that never committed starts at the oldest message."""
        with self._changed:
            self._refuse_if_closed()
            names = tuple(dict.fromkeys(topics))
            for name in names:
                self._topic(name).groups.add(group)
            member = Member(names, watcher)
            of = self._groups.setdefault(group, Group(self._base))
            of.join(member, self._partitions)
            self._changed.notify_all()
            return MemoryConsumer(self, member, of)

    def reader(self, topics: Iterable[str]) -> MemoryConsumer:
        """Return a consumer that holds every partition; it keeps no message from being forgotten."""
        with self._changed:
            self._refuse_if_closed()
            names = tuple(dict.fromkeys(topics))
            for name in names:
                self._topic(name)
            alone = Group(self._base, commits=False)
            member = Member(names, None)
            alone.join(member, self._partitions)
            return MemoryConsumer(self, member, alone)

    def partitions(self, topic: str) -> int:
        """Return how many partitions ``topic`` has; a topic is made when it is first named."""
        return self._partitions

    def close(self) -> None:
        """Let go of everything; safe to call twice."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def held_bytes(self, topic: str) -> int:
        """Return how much ``topic`` holds now."""
        with self._changed:
            return self._topic(topic).bytes

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise Permanent("the bus is closed")

    def _topic(self, name: str) -> _Topic:
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _Topic(self._partitions)
        return topic

    def _append(self, topic: str, key: bytes, value: bytes, headers: Mapping[str, str] | None) -> None:
        weight = len(key) + len(value) + _OVERHEAD_BYTES
        with self._changed:
            self._refuse_if_closed()
            if weight > self._max_bytes:
                raise Permanent(f"a message of {weight} bytes exceeds the {self._max_bytes} bytes of topic {topic}")
            held = self._topic(topic)
            self._make_room(topic, held, weight)
            number = partition_of(key, self._partitions)
            log = held.logs[number]
            kept = MappingProxyType(dict(headers)) if headers else _NO_HEADERS
            log.messages.append(Message(Partition(topic, number), log.end, key, value, kept, self._clock.now()))
            held.bytes += weight
            self._changed.notify_all()

    def _make_room(self, name: str, topic: _Topic, weight: int) -> None:
        """Wait for readers, or where there are none forget the oldest. Called with the lock."""
        while not topic.groups and topic.bytes + weight > self._max_bytes:
            oldest = min((log for log in topic.logs if log.messages), key=lambda log: log.messages[0].timestamp)
            self._drop_oldest(topic, oldest)
            self._stats.add("bus_expired_total", topic=name, reason="no reader")
        until = monotonic() + self._timeout_seconds
        while topic.bytes + weight > self._max_bytes:
            left = until - monotonic()
            if left <= 0 or not self._changed.wait(left):
                self._stats.add("bus_refused_total", topic=name, reason="full")
                raise Backpressure(
                    f"topic {name} holds {topic.bytes} of {self._max_bytes} bytes; its readers are behind",
                    retry_after_seconds=max(self._timeout_seconds, 0.1),
                )
            self._refuse_if_closed()

    @staticmethod
    def _drop_oldest(topic: _Topic, log: _Log) -> None:
        gone = log.messages.popleft()
        log.base += 1
        topic.bytes -= len(gone.key) + len(gone.value) + _OVERHEAD_BYTES

    def _trim(self, partition: Partition) -> None:
        topic = self._topic(partition.topic)
        log = topic.logs[partition.number]
        needed = min(self._groups[name].committed.get(partition, 0) for name in topic.groups)
        while log.messages and log.base < needed:
            self._drop_oldest(topic, log)

    def _base(self, partition: Partition) -> int:
        return self._topic(partition.topic).logs[partition.number].base

    def _end(self, partition: Partition) -> int:
        return self._topic(partition.topic).logs[partition.number].end

    def _within(self, partition: Partition, offset: int) -> int:
        """Return ``offset``, or the oldest one kept where there is no such offset. Called with the lock."""
        base = self._base(partition)
        if base <= offset <= self._end(partition):
            return offset
        self._stats.add("bus_skipped_total", max(base - offset, 0), topic=partition.topic, reason="expired")
        return base


class MemoryProducer:
    """Appends messages to a MemoryBus."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus
        self._closed = False

    def produce(self, topic: str, key: bytes, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Append a message. Raises Backpressure when the topic stays full, Permanent when it never fits."""
        if self._closed:
            raise Permanent("this producer is closed")
        self._bus._append(topic, key, value, headers)

    def flush(self) -> None:
        """Return at once: memory is as durable as it gets."""

    def close(self) -> None:
        """Let go; safe to call twice."""
        self._closed = True


class MemoryConsumer:
    """Reads the partitions of a MemoryBus that its group assigns to it."""

    def __init__(self, bus: MemoryBus, member: Member, group: Group) -> None:
        self._bus = bus
        self._member = member
        self._group = group

    def poll(self, max_messages: int, timeout_seconds: float) -> list[Message]:
        """
        Return up to ``max_messages``, in order within a partition; waits at most ``timeout_seconds``.

        Raises what the watcher raises. Where it cannot let go properly, the partitions go all the same and it is
        told that they are lost; what it could not take on is offered again by the next poll.
        """
        until = monotonic() + timeout_seconds
        while True:
            self._settle()
            with self._bus._changed:
                if self._member.closed:
                    raise Permanent("this consumer is closed")
                found = [] if self._bus._closed else self._ready(max_messages)
                left = until - monotonic()
                if found or self._bus._closed or left <= 0:
                    return found
                if not self._member.unsettled:
                    self._bus._changed.wait(left)

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        """Say where the group goes on. Raises Transient where a partition has gone to another member."""
        with self._bus._changed:
            if not self._group.commits:
                raise Permanent("a reader without a group commits nothing")
            self._refuse_what_moved(next_offsets)
            for partition, offset in next_offsets.items():
                end = self._bus._end(partition)
                if offset > end:
                    raise Permanent(f"{partition.topic}/{partition.number}: offset {offset} is beyond its end {end}")
            for partition, offset in next_offsets.items():
                self._group.committed[partition] = max(offset, self._group.committed.get(partition, 0))
                self._bus._trim(partition)
            self._bus._changed.notify_all()

    def seek(self, next_offsets: Mapping[Partition, int]) -> None:
        """Go on elsewhere; where there is no such offset, at the oldest message. Raises Transient as ``commit``."""
        with self._bus._changed:
            self._refuse_what_moved(next_offsets)
            for partition, offset in next_offsets.items():
                self._member.positions[partition] = self._bus._within(partition, offset)

    def lag(self) -> int:
        """Return how many messages wait to be read."""
        return sum(self.behind().values())

    def behind(self) -> dict[Partition, int]:
        """Return how many messages wait in each partition it holds; this bus is never away."""
        with self._bus._changed:
            self._catch_up_with_the_oldest()
            return {each: self._bus._end(each) - position for each, position in self._member.positions.items()}

    def close(self) -> None:
        """Leave the group; what was not committed comes again to whoever reads next."""
        with self._bus._changed:
            if self._member.closed:
                return
            told = self._member.told
        try:
            self._let_go(told)
        finally:
            with self._bus._changed:
                self._group.leave(self._member, self._bus._partitions)
                self._bus._changed.notify_all()

    def _settle(self) -> None:
        """Tell the watcher what goes and what comes, without the lock: it will commit and seek."""
        watcher = self._member.watcher
        if watcher is None:
            return
        with self._bus._changed:
            going = self._member.told - self._member.target
        self._let_go(going)
        with self._bus._changed:
            coming = frozenset(self._member.untold)
        if not coming:
            return
        elsewhere = watcher.gained(coming)
        with self._bus._changed:
            self.seek({each: offset for each, offset in elsewhere.items() if each in self._member.positions})
            self._member.untold -= coming

    def _let_go(self, partitions: frozenset[Partition]) -> None:
        watcher = self._member.watcher
        if watcher is None or not partitions:
            return
        try:
            watcher.losing(partitions)
        except BaseException:
            watcher.lost(partitions)
            raise
        finally:
            with self._bus._changed:
                self._group.release(self._member, partitions)
                self._group.hand_out()
                self._bus._changed.notify_all()

    def _ready(self, max_messages: int) -> list[Message]:
        """
        Take what is there, the oldest first whatever its partition. Called with the lock.

        A reader that has fallen behind thus catches up in the order of time: were one partition read far
        ahead of the others, what waits in those would look late.
        """
        self._catch_up_with_the_oldest()
        logs: list[Iterator[Message]] = []
        for partition in self._member.told:
            log = self._bus._topics[partition.topic].logs[partition.number]
            # The front of a deque is near; readers far behind its end are near its front.
            logs.append(islice(log.messages, self._member.positions[partition] - log.base, None))
        oldest_first = merge(*logs, key=attrgetter("timestamp"))
        found = list(islice(oldest_first, max_messages))
        for message in found:
            self._member.positions[message.partition] = message.offset + 1
        return found

    def _catch_up_with_the_oldest(self) -> None:
        """Skip what has been forgotten before it was read; only readers without a group meet that."""
        for partition, position in self._member.positions.items():
            if position < self._bus._base(partition):
                self._member.positions[partition] = self._bus._within(partition, position)

    def _refuse_what_moved(self, partitions: Iterable[Partition]) -> None:
        if self._member.closed:
            raise Permanent("this consumer is closed")
        for partition in partitions:
            if partition not in self._member.positions:
                raise Transient(f"{partition.topic}/{partition.number} went to another member of the group")
