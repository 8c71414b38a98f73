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

from coldaisle.bus import Message, Partition, partition_of
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


class _Group:
    """The members of a group and where it goes on."""

    def __init__(self) -> None:
        self.committed: dict[Partition, int] = {}
        self.members: list[MemoryConsumer] = []


class MemoryBus:
    """
    Topics of ``partitions`` logs each, shared by the threads of one process.

    A message stays until every group that ever read its topic has committed it. A topic that holds
    ``max_bytes`` makes producers wait ``timeout_seconds`` and then refuses with Backpressure; one that no
    group reads (dead letters, say) forgets its oldest messages instead. Both are counted in ``stats``:
    ``bus_refused_total``, ``bus_expired_total``. What it holds ends with the process.
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
        self._groups: dict[str, _Group] = {}
        self._closed = False
        self._changed = threading.Condition()

    def producer(self) -> MemoryProducer:
        """Return a producer, one for each thread."""
        return MemoryProducer(self)

    def consumer(self, topics: Iterable[str], group: str) -> MemoryConsumer:
        """Return a member of ``group``; one that never committed starts at the oldest message."""
        with self._changed:
            self._refuse_if_closed()
            names = tuple(dict.fromkeys(topics))
            for name in names:
                self._topic(name).groups.add(group)
            member = MemoryConsumer(self, names, group)
            of = self._groups.setdefault(group, _Group())
            of.members.append(member)
            self._assign(of)
            return member

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

    def _assign(self, group: _Group) -> None:
        """Share the partitions of each topic among the members that read it; who keeps one goes on where it was."""
        shares: dict[MemoryConsumer, dict[Partition, int]] = {member: {} for member in group.members}
        for name in sorted({topic for member in group.members for topic in member.topics}):
            readers = [member for member in group.members if name in member.topics]
            for number, log in enumerate(self._topic(name).logs):
                partition = Partition(name, number)
                owner = readers[number % len(readers)]
                start = max(group.committed.get(partition, 0), log.base)
                shares[owner][partition] = owner.positions.get(partition, start)
        for member, share in shares.items():
            member.positions = share
        self._changed.notify_all()

    def _take(self, member: MemoryConsumer, max_messages: int, timeout_seconds: float) -> list[Message]:
        until = monotonic() + timeout_seconds
        with self._changed:
            while True:
                if member.closed:
                    raise Permanent("this consumer is closed")
                found = [] if self._closed else self._ready(member, max_messages)
                left = until - monotonic()
                if found or self._closed or left <= 0:
                    return found
                self._changed.wait(left)

    def _ready(self, member: MemoryConsumer, max_messages: int) -> list[Message]:
        """
        Take what is there, the oldest first whatever its partition. Called with the lock.

        A reader that has fallen behind thus catches up in the order of time: were one partition read far
        ahead of the others, what waits in those would look late.
        """
        logs: list[Iterator[Message]] = []
        for partition, position in member.positions.items():
            log = self._topics[partition.topic].logs[partition.number]
            # The front of a deque is near; readers far behind its end are near its front.
            waiting = islice(log.messages, position - log.base, None)
            logs.append(waiting)
        oldest_first = merge(*logs, key=attrgetter("timestamp"))
        found = list(islice(oldest_first, max_messages))
        for message in found:
            member.positions[message.partition] = message.offset + 1
        return found

    def _commit(self, member: MemoryConsumer, next_offsets: Mapping[Partition, int]) -> None:
        with self._changed:
            if member.closed:
                raise Permanent("this consumer is closed")
            group = self._groups[member.group]
            for partition, offset in next_offsets.items():
                if partition not in member.positions:
                    raise Transient(f"{partition.topic}/{partition.number} went to another member of {member.group}")
                end = self._topic(partition.topic).logs[partition.number].end
                if offset > end:
                    raise Permanent(f"{partition.topic}/{partition.number}: offset {offset} is beyond its end {end}")
            for partition, offset in next_offsets.items():
                group.committed[partition] = max(offset, group.committed.get(partition, 0))
                self._trim(partition)
            self._changed.notify_all()

    def _trim(self, partition: Partition) -> None:
        topic = self._topic(partition.topic)
        log = topic.logs[partition.number]
        needed = min(self._groups[name].committed.get(partition, 0) for name in topic.groups)
        while log.messages and log.base < needed:
            self._drop_oldest(topic, log)

    def _lag(self, member: MemoryConsumer) -> int:
        with self._changed:
            return sum(
                self._topics[partition.topic].logs[partition.number].end - position
                for partition, position in member.positions.items()
            )

    def _leave(self, member: MemoryConsumer) -> None:
        with self._changed:
            if member.closed:
                return
            member.closed = True
            group = self._groups[member.group]
            group.members.remove(member)
            member.positions = {}
            if group.members:
                self._assign(group)
            self._changed.notify_all()


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

    def __init__(self, bus: MemoryBus, topics: tuple[str, ...], group: str) -> None:
        self._bus = bus
        self.topics = topics
        self.group = group
        self.positions: dict[Partition, int] = {}
        self.closed = False

    def poll(self, max_messages: int, timeout_seconds: float) -> list[Message]:
        """Return up to ``max_messages``, in order within a partition; waits at most ``timeout_seconds``."""
        return self._bus._take(self, max_messages, timeout_seconds)

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        """Say where the group goes on. Raises Transient where a partition has gone to another member."""
        self._bus._commit(self, next_offsets)

    def lag(self) -> int:
        """Return how many messages wait to be read."""
        return self._bus._lag(self)

    def close(self) -> None:
        """Leave the group; what was not committed comes again to whoever reads next."""
        self._bus._leave(self)
