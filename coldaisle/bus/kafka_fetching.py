"""Fetches what the held partitions offer, brings it into the order of time, and knows where each of them goes on."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from time import monotonic
from types import MappingProxyType
from typing import Any

from kafka import KafkaConsumer as Client
from kafka import errors as kafka_errors
from kafka.structs import TopicPartition

from coldaisle.bus import Message, Partition
from coldaisle.bus.kafka_client import Shared, ours
from coldaisle.bus.kafka_membership import Listener
from coldaisle.bus.kafka_merge import Merge
from coldaisle.errors import ColdaisleError, Permanent

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_AT_ONCE = 100_000
"""More messages than one answer of a broker holds: partitions are weighed against each other here, not there."""
_HOLD_SECONDS = 0.25
"""How long what is here waits for a partition that lags, so that time stays in order: one round of fetching."""


class Fetching:
    """
    What a consumer holds: its partitions, what was fetched of them, and where each one goes on.

    For one thread. It polls the client that it is given; a change of the group that such a poll brings waits in
    ``listener`` until the consumer settles it.
    """

    def __init__(self, shared: Shared, topics: tuple[str, ...], listener: Listener) -> None:
        self.held: dict[Partition, TopicPartition] = {}
        self.polled_at = 0.0
        """When the client was last polled, in seconds of ``monotonic``."""
        self._shared = shared
        self._topics = topics
        self._listener = listener
        self._merge = Merge()
        self._fetched: dict[Partition, int] = {}  # where fetching goes on
        self._given: dict[Partition, int] = {}  # where the caller goes on
        self._holding_since: float | None = None

    # -- what is held ------------------------------------------------------------------------------------------

    def named(self, there: TopicPartition) -> Partition:
        """Return what we call a partition of the broker."""
        return Partition(there.topic.removeprefix(self._shared.config.prefix), there.partition)

    def hold(self, there: Iterable[TopicPartition]) -> None:
        """Take what is fetched of these partitions from now on."""
        self.held |= {self.named(each): each for each in there}

    def forget(self, partitions: Collection[Partition]) -> None:
        """Hand out nothing more of what was fetched of ``partitions``."""
        self._merge.forget(partitions)

    def drop(self, partitions: Collection[Partition]) -> None:
        """Hold ``partitions`` no longer."""
        self._merge.forget(partitions)
        for partition in partitions:
            del self.held[partition]
            self._fetched.pop(partition, None)
            self._given.pop(partition, None)

    def go_on_at(self, client: Client, next_offsets: Mapping[Partition, int]) -> None:
        """Fetch and hand out from these offsets."""
        self._merge.forget(next_offsets.keys())
        for partition, offset in next_offsets.items():
            client.seek(self.held[partition], offset)
            self._fetched[partition] = self._given[partition] = offset

    def goes_on(self, client: Client, partition: Partition) -> int:
        """Return the offset that the caller gets next. Raises Transient while the broker does not tell."""
        where = self._given.get(partition)
        if where is None:
            try:
                position = client.position(self.held[partition], timeout_ms=1000)
            except kafka_errors.KafkaError as error:
                raise ours(error, f"a look at where to go on in {partition}") from error
            if position is None:
                raise self._shared.away()
            where = int(position)
            self._given[partition] = where
            self._fetched.setdefault(partition, where)
        return where

    def count_skipped(self, partition: Partition, messages: int) -> None:
        """Count messages that were gone before they were read."""
        self._shared.stats.add("bus_skipped_total", max(messages, 0), topic=partition.topic, reason="expired")

    # -- handing out -------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether something may be handed out now."""
        return self._merge.ready

    def take(self, max_messages: int) -> list[Message]:
        """Hand out up to ``max_messages`` of what is ready."""
        found = self._merge.take(max_messages)
        given = self._given
        for message in found:
            given[message.partition] = message.offset + 1
        return found

    # -- polling -----------------------------------------------------------------------------------------------

    def fetch(self, client: Client, until: float) -> None:
        """
        Fetch what there is, waiting until something comes, and make ready what is in order.

        It waits until ``until`` at most, in seconds of ``monotonic``. Raises Permanent where the broker refuses for
        good; while it is away nothing comes.
        """
        left = max(until - monotonic(), 0.0)
        if self._holding_since is not None:
            left = min(left, _HOLD_SECONDS)
            full = [self.held[each] for each in self._merge.waiting if each in self.held]
            client.pause(*(each for each in full if each in client.assignment()))
        try:
            for there, records in self._poll(client, left).items():
                self._keep(there, records)
        finally:
            if self._holding_since is not None:
                client.resume(*client.paused())
        self._release(client)

    def pulse(self, client: Client, seconds: float = 0.0) -> None:
        """Let the library do what it must between fetches: hear of rebalances, join; nothing is fetched."""
        self.polled_at = monotonic()
        client.pause(*client.assignment())
        try:
            self._poll(client, seconds)
        finally:
            client.resume(*client.paused())

    def _poll(self, client: Client, seconds: float) -> dict[TopicPartition, list[Any]]:
        self.polled_at = monotonic()
        try:
            fetched: dict[TopicPartition, list[Any]] = client.poll(
                timeout_ms=round(seconds * 1000), max_records=_AT_ONCE
            )
        except kafka_errors.KafkaError as error:
            if not self._listener.moved:
                self._suffer(ours(error, f"reading {', '.join(self._topics)}"), seconds)
            return {}
        return fetched

    @staticmethod
    def _suffer(error: ColdaisleError, seconds: float) -> None:
        if isinstance(error, Permanent):
            raise error
        time.sleep(min(seconds, 0.1))  # the library said so at once, and would again

    # -- the order of time -------------------------------------------------------------------------------------

    def _keep(self, there: TopicPartition, records: list[Any]) -> None:
        partition = self.named(there)
        if partition not in self.held:
            return
        first = records[0].offset
        if (expected := self._fetched.get(partition)) is not None and first != expected:
            self.count_skipped(partition, first - expected)
            self._given[partition] = first
        self._given.setdefault(partition, first)
        self._fetched[partition] = records[-1].offset + 1
        self._merge.add(
            partition,
            [
                Message(
                    partition,
                    record.offset,
                    record.key or b"",
                    record.value or b"",
                    _headers(record.headers) if record.headers else _NO_HEADERS,
                    record.timestamp * 1_000_000,
                )
                for record in records
            ],
        )

    def _release(self, client: Client) -> None:
        waiting = self._merge.waiting
        if not waiting:
            self._holding_since = None
            return
        behind = [each for each, there in self.held.items() if self._has_more(client, each, there)]
        now = monotonic()
        if self._holding_since is not None and now - self._holding_since >= _HOLD_SECONDS:
            behind = [each for each in behind if each in waiting]
        self._merge.release(behind)
        if self._merge.ready:
            self._holding_since = None
        elif self._holding_since is None:
            self._holding_since = now

    def _has_more(self, client: Client, partition: Partition, there: TopicPartition) -> bool:
        if there not in client.assignment():
            return False
        highwater = client.highwater(there)
        reached = self._fetched.get(partition)
        return highwater is not None and reached is not None and highwater > reached


def _headers(pairs: list[tuple[str, bytes | None]]) -> Mapping[str, str]:
    return {name: (value or b"").decode("utf-8", "replace") for name, value in pairs}
