"""The bus on Apache Kafka."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from time import monotonic
from typing import TypeVar

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors

from coldaisle.bus import Watcher
from coldaisle.bus.kafka_client import WRONG_PASSWORD, Shared, connect, connection, listen_quietly, no_such_topic, ours
from coldaisle.bus.kafka_consumer import KafkaConsumer
from coldaisle.bus.kafka_producer import KafkaProducer
from coldaisle.bus.kafka_settings import KafkaConfig
from coldaisle.errors import Permanent, Transient
from coldaisle.selfstats import SelfStats

_REMEMBER_SECONDS = 60.0
MadeT = TypeVar("MadeT", KafkaProducer, KafkaConsumer)


class KafkaBus:
    """
    Topics on Kafka brokers, shared by the processes of a site.

    Topics are never made by the way: ``coldaisle doctor --fix`` makes them. A process may start before its brokers:
    producers and consumers connect when they are first used. What is refused or skipped is counted in ``stats``:
    ``bus_refused_total``, ``bus_undelivered_total``, ``bus_skipped_total``.
    """

    def __init__(self, config: KafkaConfig, stats: SelfStats | None = None) -> None:
        self._config = config
        self._shared = Shared(config, stats or SelfStats(), listen_quietly(), self.partitions)
        self._options = connection(config)
        self._lock = threading.Lock()
        self._counts: dict[str, tuple[float, int]] = {}
        self._made: list[KafkaProducer | KafkaConsumer] = []
        self._closed = False

    def producer(self) -> KafkaProducer:
        """Return a producer, one for each thread."""
        return self._keep(KafkaProducer(self._shared))

    def consumer(self, topics: Iterable[str], group: str, watcher: Watcher | None = None) -> KafkaConsumer:
        """Return a member of ``group``; one that never committed starts at the oldest message."""
        return self._keep(self._consumer(topics, group, watcher))

    def reader(self, topics: Iterable[str]) -> KafkaConsumer:
        """Return a consumer of its own that holds every partition, from the oldest message."""
        return self._keep(self._consumer(topics, None, None))

    def partitions(self, topic: str) -> int:
        """Return how many partitions ``topic`` has. Raises Transient, Permanent when there is no such topic."""
        with self._lock:
            known = self._counts.get(topic)
            if known is not None and monotonic() - known[0] < _REMEMBER_SECONDS:
                return known[1]
            count = self._ask(topic)
            self._counts[topic] = (monotonic(), count)
            return count

    def close(self) -> None:
        """Let go of everything; safe to call twice. What is left in producers is flushed; Transient where it fails."""
        with self._lock:
            self._closed = True
            made, self._made = self._made, []
        failed: Transient | None = None
        for each in made:
            try:
                each.close()
            except Transient as error:
                failed = error
        if failed is not None:
            raise failed

    def _ask(self, topic: str) -> int:
        options = self._options | {"bootstrap_timeout_ms": round(self._config.away_seconds * 1000)}
        try:
            admin = connect(KafkaAdminClient, options)
        except kafka_errors.KafkaTimeoutError as error:
            if (reason := self._shared.murmurs.reason()) == WRONG_PASSWORD:
                raise Permanent(f"kafka refuses us: {reason}; correct bus.kafka.user and password") from error
            raise self._shared.away() from error
        except kafka_errors.KafkaError as error:
            raise ours(error, "a connection") from error
        try:
            found = admin.describe_topics([self._config.topic(topic)])
        except kafka_errors.KafkaError as error:
            raise ours(error, f"a look at topic {topic}") from error
        finally:
            admin.close()
        if not found or found[0]["error_code"] == kafka_errors.UnknownTopicOrPartitionError.errno:
            raise no_such_topic(self._config, topic)
        described = found[0]
        error_type = kafka_errors.for_code(described["error_code"])
        if error_type is not kafka_errors.NoError:
            raise ours(error_type(), f"a look at topic {topic}")
        return len(described["partitions"])

    def _consumer(self, topics: Iterable[str], group: str | None, watcher: Watcher | None) -> KafkaConsumer:
        names = tuple(dict.fromkeys(topics))
        return KafkaConsumer(self._shared, names, group, watcher)

    def _keep(self, made: MadeT) -> MadeT:
        with self._lock:
            if self._closed:
                raise Permanent("the bus is closed")
            self._made.append(made)
            return made
