"""Reads Kafka: fairly over partitions, in rough order of time, with every rebalance heard in the caller's thread."""

from __future__ import annotations

import time
from collections.abc import Mapping
from time import monotonic
from typing import Any

from kafka import KafkaConsumer as Client
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.base import MemberState
from kafka.structs import OffsetAndMetadata, TopicPartition

from coldaisle.bus import Message, Partition, Watcher
from coldaisle.bus.kafka_client import Shared, connect, connection, ours
from coldaisle.bus.kafka_fetching import Fetching
from coldaisle.bus.kafka_membership import Listener
from coldaisle.errors import Permanent, Transient

_PARTITION_FETCH_BYTES = 1 << 20
_FETCH_BYTES = 16 << 20
_FETCH_WAIT_MILLISECONDS = 250
_PULSE_SECONDS = 0.2
_REBALANCE_SECONDS = 5.0
_ANSWER_MILLISECONDS = 5_000


class KafkaConsumer:
    """
    A member of a group, or without one a reader of everything; for one thread.

    It connects when it first polls, so that a process may start before its broker.
    """

    def __init__(self, shared: Shared, topics: tuple[str, ...], group: str | None, watcher: Watcher | None) -> None:
        self._shared = shared
        self._config = shared.config
        self._topics = topics
        self._group = group
        self._watcher = watcher
        self._options = connection(shared.config)
        self._client: Client | None = None
        self._listener = Listener()
        self._fetching = Fetching(shared, topics, self._listener)
        self._asked_at = 0.0
        self._ends: dict[TopicPartition, int] = {}
        self._silent = False
        self._lag = 0
        self._closed = False

    # -- what the port asks ------------------------------------------------------------------------------------

    def poll(self, max_messages: int, timeout_seconds: float) -> list[Message]:
        """
        Return up to ``max_messages``, waiting at most ``timeout_seconds`` for the first one.

        While the broker is away it returns nothing; ``behind`` says so. Connecting may take ``connect_seconds``, a
        rebalance up to 5 seconds more than was allowed.
        Raises what the watcher raises: where that cannot let go properly, the partitions go all the same and it is
        told that they are lost; what it could not take on is offered again by the next poll. Raises Permanent where
        the topic or the right to read it is missing.
        """
        until = monotonic() + timeout_seconds
        client = self._connected()
        if client is None:
            time.sleep(max(until - monotonic(), 0.0))
            return []
        while True:
            self._settle(client)
            if self._fetching.ready:
                if monotonic() - self._fetching.polled_at > _PULSE_SECONDS:
                    self._fetching.pulse(client)
                    self._finish_joining(client)
                    continue
                return self._fetching.take(max_messages)
            self._fetching.fetch(client, until)
            self._finish_joining(client)
            if self._listener.moved or self._fetching.ready:
                continue
            if monotonic() >= until:
                return []

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        """
        Say durably where the group goes on.

        Raises Transient where a partition has gone to another member or the broker does not answer in time.
        """
        client = self._client
        if self._closed:
            raise Permanent("this consumer is closed")
        if self._group is None:
            raise Permanent("a reader without a group commits nothing")
        self._refuse_what_moved(next_offsets)
        if client is None or not next_offsets:
            return
        offsets = {
            self._fetching.held[each]: OffsetAndMetadata(offset, "", -1) for each, offset in next_offsets.items()
        }
        self._finish_joining(client)
        try:
            client.commit(offsets, timeout_ms=_ANSWER_MILLISECONDS)
        except kafka_errors.KafkaError as error:
            raise ours(error, f"a commit of group {self._group}") from error

    def seek(self, next_offsets: Mapping[Partition, int]) -> None:
        """Go on elsewhere; where there is no such offset, at the oldest message. Raises Transient as ``commit``."""
        if self._closed:
            raise Permanent("this consumer is closed")
        self._refuse_what_moved(next_offsets)
        client = self._client
        if client is None or not next_offsets:
            return
        there = [self._fetching.held[each] for each in next_offsets]
        try:
            oldest = client.beginning_offsets(there, timeout_ms=_ANSWER_MILLISECONDS)
            ends = client.end_offsets(there, timeout_ms=_ANSWER_MILLISECONDS)
        except kafka_errors.KafkaError as error:
            raise ours(error, "a look at what is kept") from error
        kept = {}
        for partition, offset in next_offsets.items():
            each = self._fetching.held[partition]
            kept[partition] = offset if oldest[each] <= offset <= ends[each] else oldest[each]
            if kept[partition] != offset:
                self._fetching.count_skipped(partition, kept[partition] - offset)
        self._fetching.go_on_at(client, kept)

    def lag(self) -> int:
        """Return how many messages wait to be read; while the broker is away, how many did when it last answered."""
        try:
            self.behind()
        except Transient:
            return self._lag
        return self._lag

    def behind(self) -> dict[Partition, int]:
        """
        Return how many messages wait in each partition it holds.

        The brokers are asked at most once a second. Raises Transient when they do not answer.
        """
        client = self._client
        if self._closed:
            raise Permanent("this consumer is closed")
        if client is None:
            raise self._shared.away()
        if monotonic() - self._asked_at >= 1.0 or not self._ends.keys() >= set(self._fetching.held.values()):
            self._ask(client)
        if self._silent:
            raise self._shared.away()
        found = {
            partition: max(
                max(self._ends[there], client.highwater(there) or 0) - self._fetching.goes_on(client, partition), 0
            )
            for partition, there in self._fetching.held.items()
        }
        self._lag = sum(found.values())
        return found

    def close(self) -> None:
        """Leave the group; what was not committed comes again to whoever reads next."""
        if self._closed:
            return
        try:
            if self._client is not None:
                self._leave(self._client)
        finally:
            self._closed = True

    # -- connecting and leaving --------------------------------------------------------------------------------

    def _connected(self) -> Client | None:
        if self._closed:
            raise Permanent("this consumer is closed")
        if self._client is not None:
            return self._client
        try:
            counts = {topic: self._shared.partitions(topic) for topic in self._topics}
            client = connect(Client, self._options | self._reading())
        except (Transient, kafka_errors.KafkaTimeoutError):
            return None
        except kafka_errors.KafkaError as error:
            raise ours(error, "a connection") from error
        try:
            self._begin(client, counts)
        except kafka_errors.KafkaError as error:
            # The broker went away between the connection and the first question.
            client.close(autocommit=False, timeout_ms=_ANSWER_MILLISECONDS)
            trouble = ours(error, "a look at the topics")
            if isinstance(trouble, Transient):
                return None
            raise trouble from error
        self._client = client
        return client

    def _begin(self, client: Client, counts: Mapping[str, int]) -> None:
        """Take all partitions, ``counts`` of each topic, or join the group."""
        names = [self._config.topic(topic) for topic in self._topics]
        if self._group is None:
            whole = [
                TopicPartition(name, number)
                for topic, name in zip(self._topics, names, strict=True)
                for number in range(counts[topic])
            ]
            client.assign(whole)
            client.seek_to_beginning()
            self._fetching.hold(whole)
            return
        client.subscribe(names, listener=self._listener)
        for name in names:
            # Whoever leads the group without knowing the partitions gives out none, and the group starts again.
            client.partitions_for_topic(name)

    def _reading(self) -> dict[str, Any]:
        config = self._config
        reading: dict[str, Any] = {
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
            "max_partition_fetch_bytes": _PARTITION_FETCH_BYTES,
            "fetch_max_bytes": max(_FETCH_BYTES, config.max_message_bytes),
            "fetch_max_wait_ms": _FETCH_WAIT_MILLISECONDS,
        }
        if self._group is not None:
            reading |= {
                "group_id": config.group(self._group),
                "group_instance_id": config.instance,
                "partition_assignment_strategy": [CooperativeStickyAssignor],
                "session_timeout_ms": round(config.session_seconds * 1000),
                # A rebalance lasts until every member has heard of it, and they hear with their heartbeats.
                "heartbeat_interval_ms": min(round(config.session_seconds * 100), 500),
                "max_poll_interval_ms": round(config.max_work_seconds * 1000),
            }
        return reading

    def _leave(self, client: Client) -> None:
        self._listener.closing = True
        held = frozenset(self._fetching.held)
        try:
            if held and self._group is not None:
                self._let_go(held)
        finally:
            self._fetching.drop(held)
            client.close(autocommit=False, timeout_ms=5_000)

    # -- rebalances --------------------------------------------------------------------------------------------

    def _settle(self, client: Client) -> None:
        """Tell the watcher what moved, in the caller's thread and between two polls of the library."""
        while self._listener.moved:
            change, there = self._listener.moved[0]
            partitions = frozenset(self._fetching.named(each) for each in there)
            if change == "gained":
                self._fetching.hold(there)
                self._take_on(partitions)
                self._listener.moved.popleft()
                continue
            self._listener.moved.popleft()
            gone = partitions & self._fetching.held.keys()
            self._fetching.forget(gone)
            try:
                if change == "losing":
                    self._let_go(gone)
                elif self._watcher is not None and gone:
                    self._watcher.lost(gone)
            finally:
                self._fetching.drop(gone)

    def _take_on(self, partitions: frozenset[Partition]) -> None:
        elsewhere = self._watcher.gained(partitions) if self._watcher is not None else {}
        self.seek({each: offset for each, offset in elsewhere.items() if each in partitions})

    def _let_go(self, partitions: frozenset[Partition]) -> None:
        watcher = self._watcher
        if watcher is None or not partitions:
            return
        try:
            watcher.losing(partitions)
        except BaseException:
            watcher.lost(partitions)
            raise

    def _rebalancing(self, client: Client) -> bool:
        return self._group is not None and client.group_metadata().state is MemberState.REBALANCING

    def _finish_joining(self, client: Client) -> None:
        """
        Stay with the library while it joins the group.

        It throws away what the group agreed upon while nobody polled, and starts another rebalance: a member that came
        and went would never settle. (Met with kafka-python 3.0.12.)
        """
        until = monotonic() + _REBALANCE_SECONDS
        while not self._listener.moved and self._rebalancing(client) and monotonic() < until:
            self._fetching.pulse(client, _PULSE_SECONDS)

    # -- where it stands ---------------------------------------------------------------------------------------

    def _ask(self, client: Client) -> None:
        """Ask the brokers for the ends; remember whether they answered."""
        there = list(self._fetching.held.values())
        self._asked_at = monotonic()
        try:
            self._ends = client.end_offsets(there, timeout_ms=1000) if there else self._prove(client)
        except (kafka_errors.KafkaError, AssertionError):
            self._silent = True
            return
        self._silent = False

    def _prove(self, client: Client) -> dict[TopicPartition, int]:
        """Ask for anything at all: a member that holds nothing must notice too that the broker is away."""
        client.end_offsets([TopicPartition(self._config.topic(self._topics[0]), 0)], timeout_ms=1000)
        return {}

    def _refuse_what_moved(self, partitions: Mapping[Partition, int]) -> None:
        for partition in partitions:
            if partition not in self._fetching.held:
                raise Transient(f"{partition.topic}/{partition.number} went to another member of the group")
