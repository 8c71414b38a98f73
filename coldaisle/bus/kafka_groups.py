"""Asks Kafka how far behind whole groups are, whoever their members are, and what the cluster is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import OffsetSpec

from coldaisle.bus.kafka_client import Murmurs, connection, listen_quietly, ours
from coldaisle.bus.kafka_settings import KafkaConfig
from coldaisle.errors import Transient


class KafkaGroups:
    """Looks at groups from outside; one thread. It keeps its connection until it fails or is closed."""

    def __init__(self, config: KafkaConfig) -> None:
        """Raises ConfigError where a certificate cannot be read."""
        self._config = config
        self._options = connection(config)
        self._murmurs: Murmurs = listen_quietly()
        self._admin: Any = None

    def lags(self, groups: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], int]:
        """
        Return how many messages each (group, topic) of ``groups`` has not committed yet.

        A group that never committed is behind by all that is kept. Topics that are missing are left out. Raises
        Transient, Permanent.
        """
        with self._asked("how far groups are") as admin:
            topics = sorted({topic for read in groups.values() for topic in read})
            names = {self._config.topic(topic): topic for topic in topics}
            parts = [
                TopicPartition(each["name"], part["partition_index"])
                for each in admin.describe_topics(list(names))
                if each["error_code"] == 0
                for part in each["partitions"]
            ]
            starts = admin.list_partition_offsets(dict.fromkeys(parts, OffsetSpec.EARLIEST))
            ends = admin.list_partition_offsets(dict.fromkeys(parts, OffsetSpec.LATEST))
            committed = admin.list_group_offsets([self._config.group(group) for group in groups])
        lags: dict[tuple[str, str], int] = {}
        for group, read in groups.items():
            reached = committed.get(self._config.group(group), {})
            for part in parts:
                if (topic := names[part.topic]) in read:
                    found = reached.get(part)
                    start = starts[part].offset
                    at = start if found is None or found.offset < start else found.offset
                    lags[group, topic] = lags.get((group, topic), 0) + max(0, ends[part].offset - at)
        return lags

    def cluster(self) -> str:
        """Return the cluster's own id, the same for as long as its logs live. Raises Transient, Permanent."""
        with self._asked("its name") as admin:
            return str(admin.describe_cluster()["cluster_id"])

    def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()

    @contextmanager
    def _asked(self, what: str) -> Iterator[Any]:
        try:
            if self._admin is None:
                self._admin = KafkaAdminClient(**self._options)
            yield self._admin
        except kafka_errors.KafkaTimeoutError as error:
            self.close()
            raise Transient(f"kafka at {', '.join(self._config.servers)} is away: {self._murmurs.reason()}") from error
        except kafka_errors.KafkaError as error:
            self.close()
            raise ours(error, what) from error
