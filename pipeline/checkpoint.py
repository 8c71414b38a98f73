"""Commits offsets last."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from coldaisle.bus import Consumer, Message, Partition
from coldaisle.errors import Transient

_LOG = logging.getLogger(__name__)


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
        self._gone: set[Partition] = set()

    @property
    def pending(self) -> bool:
        """Whether something waits to be committed."""
        return bool(self._next_offsets)

    def store(self, messages: Iterable[Message]) -> None:
        """Take note of messages that have been worked on."""
        for message in messages:
            if message.partition in self._gone:
                continue  # whoever has it now works on it again and commits it
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

    def held(self, partitions: Iterable[Partition]) -> None:
        """Take note of partitions that this member holds from now on."""
        self._gone -= set(partitions)

    def gone(self, partitions: Iterable[Partition]) -> None:
        """Take note of partitions that another member holds from now on: nothing of theirs is committed here."""
        self._gone |= set(partitions)
        for partition in self._gone & self._next_offsets.keys():
            del self._next_offsets[partition]


class Handover:
    """A :class:`coldaisle.bus.Watcher` for a role without state: commits what is done before partitions leave."""

    def __init__(self) -> None:
        self._checkpoint: Checkpoint | None = None

    def serve(self, checkpoint: Checkpoint) -> None:
        """Speak for ``checkpoint`` from now on."""
        self._checkpoint = checkpoint

    def gained(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        """Go on where the group has committed."""
        if self._checkpoint is not None:
            self._checkpoint.held(partitions)
        return {}

    def losing(self, partitions: frozenset[Partition]) -> None:
        """Commit what is done; where that fails, whoever comes next does it again."""
        if self._checkpoint is not None:
            try:
                self._checkpoint.commit()
            except Transient as error:
                _LOG.warning("what was not committed of %d partitions is read again: %s", len(partitions), error)
        self.lost(partitions)

    def lost(self, partitions: frozenset[Partition]) -> None:
        """Commit nothing of theirs any more."""
        if self._checkpoint is not None:
            self._checkpoint.gone(partitions)
