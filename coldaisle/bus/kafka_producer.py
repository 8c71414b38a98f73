"""Appends messages to Kafka: idempotent, in order per key, bounded in what is not yet durable."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from time import monotonic
from typing import Any

from kafka import KafkaProducer as Client
from kafka import errors as kafka_errors
from kafka.partitioner import Partitioner

from coldaisle.bus import partition_of
from coldaisle.bus.kafka_client import Shared, connect, connection, no_such_topic, ours
from coldaisle.errors import Backpressure, Permanent, Transient

_OVERHEAD_BYTES = 200
"""What a message costs beside its key and value, roughly; so that empty messages are bounded too."""
_BATCH_BYTES = 256 << 10
_LINGER_MILLISECONDS = 5
"""Long enough to fill batches under load, short beside a scrape interval."""


class _OurPartitioner(Partitioner):  # type: ignore[misc]  # the library ships no types
    """Puts a key where every other bus puts it."""

    def partition(
        self, topic: str, key: bytes, serialized_key: bytes, value: bytes, serialized_value: bytes, cluster: Any
    ) -> int:
        return partition_of(serialized_key, len(cluster.partitions_for_topic(topic)))


class KafkaProducer:
    """
    Appends messages; for one thread.

    It connects when it is first used, in a thread of its own, so that a process may start before its broker.
    """

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._config = shared.config
        self._stats = shared.stats
        self._options = connection(shared.config)
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._connecting: threading.Thread | None = None
        self._connect_began = 0.0
        self._topics: set[str] = set()
        self._closed = False
        self._in_flight_bytes = 0
        self._in_flight = 0
        self._progress_at = 0.0  # when something was last acknowledged, or first sent after nothing was in flight
        self._failed = 0
        self._failure = ""

    def produce(self, topic: str, key: bytes, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        """
        Append a message; it is durable after the next ``flush``.

        Raises Backpressure when too much waits to become durable, Transient when the broker is away, Permanent when
        there is no such topic or the message is larger than any may be. None of them takes longer than
        ``away_seconds``.
        """
        weight = len(key) + len(value) + _OVERHEAD_BYTES
        limit = self._config.max_message_bytes
        if weight > limit:
            self._stats.add("bus_refused_total", topic=topic, reason="too large")
            raise Permanent(f"a message of {weight} bytes exceeds the {limit} bytes of topic {topic}")
        client = self._connected()
        self._check(topic)
        self._refuse_if_full(topic, weight)
        pairs = [(name, text.encode()) for name, text in headers.items()] if headers else None
        with self._lock:
            if self._in_flight == 0:
                self._progress_at = monotonic()
            self._in_flight += 1
            self._in_flight_bytes += weight
        try:
            future = client.send(self._config.topic(topic), value=value, key=key, headers=pairs)
        except kafka_errors.MessageSizeTooLargeError as error:
            self._settled(weight, None)
            self._stats.add("bus_refused_total", topic=topic, reason="too large")
            raise Permanent(f"a message of {weight} bytes exceeds the {limit} bytes of topic {topic}") from error
        except kafka_errors.KafkaError as error:
            self._settled(weight, None)
            raise ours(error, f"sending to {topic}") from error
        future.add_callback(lambda _: self._settled(weight, None))
        future.add_errback(lambda error: self._settled(weight, error))

    def flush(self) -> None:
        """
        Return when everything produced is durable.

        Raises Transient after ``flush_seconds``, or when a message was given up since the last flush. What it raises
        for may still arrive: sending it again makes it arrive twice, never not at all.
        """
        client = self._client
        if client is not None:
            try:
                client.flush(timeout=self._config.flush_seconds)
            except kafka_errors.KafkaTimeoutError as error:
                raise self._shared.away() from error
        with self._lock:
            failed, self._failed = self._failed, 0
        if failed:
            raise Transient(f"kafka did not take {failed} messages: {self._failure}")

    def close(self) -> None:
        """Flush and let go; safe to call twice. Raises Transient as ``flush``."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            self.flush()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        try:
            client.close(timeout=0 if self._in_flight else 5)
        except kafka_errors.KafkaTimeoutError:
            # What could not be delivered must not keep its thread trying for ever.
            client._sender.force_close()

    def _connected(self) -> Client:
        if self._closed:
            raise Permanent("this producer is closed")
        if self._client is not None:
            return self._client
        with self._lock:
            if self._connecting is None or not self._connecting.is_alive():
                self._connect_began = monotonic()
                self._connecting = threading.Thread(target=self._connect, name="kafka-connect", daemon=True)
                self._connecting.start()
            attempt = self._connecting
        attempt.join(max(self._connect_began + self._config.away_seconds - monotonic(), 0.0))
        if self._client is None:
            raise self._shared.away()
        return self._client

    def _connect(self) -> None:
        try:
            client = connect(Client, self._options | self._writing())
        except kafka_errors.KafkaError:
            return  # the caller says so, and the next one tries again
        with self._lock:
            if not self._closed:
                self._client = client
                return
        client.close(timeout=0)

    def _writing(self) -> dict[str, Any]:
        config = self._config
        return {
            "acks": "all",
            "enable_idempotence": True,
            "compression_type": None if config.compression == "none" else config.compression,
            "partitioner": _OurPartitioner(),
            "batch_size": _BATCH_BYTES,
            "linger_ms": _LINGER_MILLISECONDS,
            "max_request_size": config.max_message_bytes,
            "max_block_ms": round(config.away_seconds * 1000),
            "delivery_timeout_ms": round(config.delivery_seconds * 1000),
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
        }

    def _check(self, topic: str) -> None:
        if topic in self._topics:
            return
        if self._shared.partitions(topic) < 1:
            raise no_such_topic(self._config, topic)
        self._topics.add(topic)

    def _refuse_if_full(self, topic: str, weight: int) -> None:
        with self._lock:
            waiting_seconds = monotonic() - self._progress_at if self._in_flight else 0.0
            held = self._in_flight_bytes
        if waiting_seconds > self._config.away_seconds:
            raise self._shared.away()
        if held + weight > self._config.max_in_flight_bytes:
            self._stats.add("bus_refused_total", topic=topic, reason="full")
            raise Backpressure(
                f"{held} of {self._config.max_in_flight_bytes} bytes wait for kafka to take them",
                retry_after_seconds=0.1,
            )

    def _settled(self, weight: int, error: Exception | None) -> None:
        """Note that a message is durable or given up; called by the library's thread."""
        with self._lock:
            self._in_flight -= 1
            self._in_flight_bytes -= weight
            if error is None:
                self._progress_at = monotonic()
                return
            self._failed += 1
            self._failure = type(error).__name__
        self._stats.add("bus_undelivered_total", reason=type(error).__name__)
