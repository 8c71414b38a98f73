"""What the platform asks of a message bus, in Kafka's words and nothing more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol
from zlib import crc32

FRAMES = "frames"
EVENTS = "events"
COHORTS = "cohorts"
ANOMALIES = "anomalies"
DEADLETTERS = "deadletters"
TOPICS = (FRAMES, EVENTS, COHORTS, ANOMALIES, DEADLETTERS)


class Partition(NamedTuple):
    """One ordered log of a topic."""

    topic: str
    number: int


class Message(NamedTuple):
    """One record of a partition. ``headers`` name the content type and, for dead letters, the origin and reason."""

    partition: Partition
    offset: int
    key: bytes
    value: bytes
    headers: Mapping[str, str]
    timestamp: int  # ns, when it was produced


class Producer(Protocol):
    """Appends messages."""

    def produce(self, topic: str, key: bytes, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Append a message. Raises Backpressure when the bus is full, Transient when it is away."""
        ...

    def flush(self) -> None:
        """Return when everything produced is durable on the bus. Raises Transient."""
        ...

    def close(self) -> None:
        """Flush and let go; safe to call twice."""
        ...


class Consumer(Protocol):
    """Reads the partitions that its group assigns to it."""

    def poll(self, max_messages: int, timeout_seconds: float) -> list[Message]:
        """Return up to ``max_messages``, waiting at most ``timeout_seconds`` for the first one."""
        ...

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        """Say durably where the group goes on; called last, when every output is safe."""
        ...

    def lag(self) -> int:
        """Return how many messages wait to be read."""
        ...

    def behind(self) -> Mapping[Partition, int]:
        """Return how many messages wait in each partition it holds. Raises Transient while the bus is away."""
        ...

    def seek(self, next_offsets: Mapping[Partition, int]) -> None:
        """Go on elsewhere in partitions that it holds; an offset that is no longer kept means the oldest one."""
        ...

    def close(self) -> None:
        """Leave the group; what was not committed comes again to whoever reads next."""
        ...


class Watcher(Protocol):
    """
    Is told which partitions a consumer holds, always within ``poll`` or ``close`` and in the caller's thread.

    What keeps state for each partition loads it in ``gained`` and saves it in ``losing``.
    """

    def gained(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        """Take partitions on, before their messages; return where to go on where that is not what is committed."""
        ...

    def losing(self, partitions: frozenset[Partition]) -> None:
        """Finish with partitions that are still held: flush, save, commit; they go when this returns."""
        ...

    def lost(self, partitions: frozenset[Partition]) -> None:
        """Drop partitions that somebody else holds by now: save and commit nothing."""
        ...


class Bus(Protocol):
    """Makes producers and consumers."""

    def producer(self) -> Producer:
        """Return a producer, one for each thread."""
        ...

    def consumer(self, topics: Iterable[str], group: str, watcher: Watcher | None = None) -> Consumer:
        """Return a member of ``group``; one that never committed starts at the oldest message."""
        ...

    def reader(self, topics: Iterable[str]) -> Consumer:
        """Return a consumer of its own that holds every partition, from the oldest message; it never commits."""
        ...

    def partitions(self, topic: str) -> int:
        """Return how many partitions ``topic`` has. Raises Transient, Permanent when there is no such topic."""
        ...

    def close(self) -> None:
        """Let go of everything; safe to call twice."""
        ...


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of ``key``. Never ``hash()``: it differs from process to process."""
    return crc32(key) % partitions
