"""A log of messages with fixed stamps, read again after a crash in whatever mixture of partitions."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Mapping

from coldaisle.anomaly import Anomaly
from coldaisle.bus import ANOMALIES, EVENTS, Message, Partition, partition_of
from coldaisle.clock import SECOND, ManualClock
from coldaisle.codec import encode_anomaly, encode_event
from coldaisle.errors import Transient
from coldaisle.event import Event

PARTITIONS = 3


class MessageLog:
    """Partitions of ``anomalies`` and ``events``; each stamp is the append time, rising within its partition."""

    def __init__(self) -> None:
        self.partitions: dict[Partition, list[Message]] = {
            Partition(topic, number): [] for topic in (ANOMALIES, EVENTS) for number in range(PARTITIONS)
        }

    def append(self, what: Anomaly | Event, at: int, key: str) -> None:
        """Append at ``at`` (ns), or just after the last one of its partition."""
        topic = EVENTS if isinstance(what, Event) else ANOMALIES
        value = encode_event(what) if isinstance(what, Event) else encode_anomaly(what)
        partition = Partition(topic, partition_of(key.encode(), PARTITIONS))
        log = self.partitions[partition]
        stamp = max(at, log[-1].timestamp if log else 0)
        log.append(Message(partition, len(log), key.encode(), value, {}, stamp))

    def redelivered(self, chance: random.Random, share: float) -> MessageLog:
        """Return this log where some findings come a second time, as after a crash of whoever wrote them."""
        twin = MessageLog()
        for partition, log in self.partitions.items():
            again: list[Message] = []
            for message in log:
                twin._append(partition, message.value, message.key, message.timestamp)
                if chance.random() < share:
                    again.append(message)
                while again and chance.random() < 0.3:
                    # In their old order, a moment later, between what is new.
                    old = again.pop(0)
                    twin._append(partition, old.value, old.key, message.timestamp)
            for old in again:
                twin._append(partition, old.value, old.key, log[-1].timestamp)
        return twin

    def delayed(self, chance: random.Random, most_seconds: float) -> MessageLog:
        """Return this log where everything was appended later by up to so much, and partitions interleave otherwise."""
        twin = MessageLog()
        for partition, log in self.partitions.items():
            stamp = 0
            for message in log:
                stamp = max(stamp, message.timestamp + seconds(chance.uniform(0, most_seconds)))
                twin._append(partition, message.value, message.key, stamp)
        return twin

    def _append(self, partition: Partition, value: bytes, key: bytes, stamp: int) -> None:
        log = self.partitions[partition]
        log.append(Message(partition, len(log), key, value, {}, stamp))

    def end(self) -> int:
        """Return the newest stamp."""
        return max(log[-1].timestamp for log in self.partitions.values() if log)


class LogReader:
    """A consumer of every partition that sees what was appended until now; where ``away``, the bus answers nothing."""

    def __init__(self, log: MessageLog, clock: ManualClock, chance: random.Random, at_most: int = 50) -> None:
        self._log, self._clock, self._chance, self._at_most = log, clock, chance, at_most
        self.positions = dict.fromkeys(log.partitions, 0)
        self.away = False
        self.connected = False  # as Kafka's, it connects when it is first polled

    def poll(self, max_messages: int, timeout_seconds: float) -> list[Message]:
        """Return some of what is there, partition by partition, in any order of partitions."""
        if self.away:
            return []
        self.connected = True
        found: list[Message] = []
        partitions = sorted(self.positions)
        self._chance.shuffle(partitions)
        for partition in partitions:
            count = min(self._chance.randint(0, self._at_most), max_messages - len(found))
            first = self.positions[partition]
            messages = self._log.partitions[partition][first : min(first + count, self._end(partition))]
            self.positions[partition] += len(messages)
            found += messages
        return found

    def behind(self) -> Mapping[Partition, int]:
        """Return how many messages wait in each partition."""
        if self.away or not self.connected:
            raise Transient("the bus is away")
        return {each: self._end(each) - position for each, position in self.positions.items()}

    def seek(self, next_offsets: Mapping[Partition, int]) -> None:
        """Go on elsewhere."""
        self.positions |= next_offsets

    def lag(self) -> int:
        """Return how many messages wait."""
        return sum(self.behind().values())

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        """Refuse: a reader has no group."""
        raise AssertionError("a reader commits nothing")

    def close(self) -> None:
        """Let go."""
        self.away = True

    def _end(self, partition: Partition) -> int:
        """Return one after the newest offset that is there by now."""
        return bisect_right(self._log.partitions[partition], self._clock.now(), key=lambda one: one.timestamp)


def seconds(value: float) -> int:
    """Return nanoseconds."""
    return round(value * SECOND)
