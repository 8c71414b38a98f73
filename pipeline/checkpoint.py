"""Commits offsets last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from coldaisle.bus import Consumer, Message, Partition


class Sink(Protocol):
    """Whatever must be durable before the messages that it came from are done."""

    def flush(self) -> None:
        """Return when everything is durable. Raises Transient."""
        ...


class Checkpoint:
    """What has been read and not yet committed."""

    def __init__(self, consumer: Consumer, sinks: Sequence[Sink]) -> None:
        self._consumer = consumer
        self._sinks = sinks
        self._next_offsets: dict[Partition, int] = {}

    @property
    def pending(self) -> bool:
        """Whether something waits to be committed."""
        return bool(self._next_offsets)

    def store(self, messages: Iterable[Message]) -> None:
        """Take note of messages that have been worked on."""
        for message in messages:
            reached = self._next_offsets.get(message.partition, 0)
            self._next_offsets[message.partition] = max(reached, message.offset + 1)

    def commit(self) -> None:
        """
        1. Flush every sink; an error here leaves the offsets uncommitted.
        2. Commit the offsets; a crash in between repeats work, never loses it.
        """
        if not self._next_offsets:
            return
        for sink in self._sinks:
            sink.flush()
        self._consumer.commit(self._next_offsets)
        self._next_offsets = {}
