"""The role ``alert``: findings and events from the bus become incidents in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coldaisle.anomaly import Anomaly
from coldaisle.bus import ANOMALIES, EVENTS, Consumer, Message
from coldaisle.clock import Clock
from coldaisle.codec import decode_anomaly, decode_event
from coldaisle.errors import Permanent
from coldaisle.event import Event
from coldaisle.incident import Incident
from pipeline.alerting.alerter import Alerter
from pipeline.checkpoint import Checkpoint
from pipeline.deadletter import DeadLetters

_MOST_MESSAGES = 5000


class AlertRole:
    """Consumer group ``alert``: offsets follow the incidents' transaction."""

    group = "alert"
    topics = (ANOMALIES, EVENTS)

    def __init__(
        self,
        consumer: Consumer,
        alerter: Alerter,
        dead_letters: DeadLetters,
        clock: Clock,
        changed: Callable[[Incident], None] | None = None,
    ) -> None:
        """``changed`` is told of every incident that was written, after it was written."""
        self._consumer = consumer
        self._alerter = alerter
        self._dead_letters = dead_letters
        self._clock = clock
        self._changed = changed
        self._checkpoint = Checkpoint(consumer, [dead_letters])

    def step(self, timeout_seconds: float = 0.5) -> int:
        """Work once; return how many incidents changed. Raises Transient: nothing is committed, call again."""
        messages = self._consumer.poll(_MOST_MESSAGES, timeout_seconds)
        anomalies, events = self._read(messages)
        # What was heard stays with the alerter if the store is away now: its next call writes it.
        self._checkpoint.store(messages)
        incidents = self._alerter.take(anomalies, events, self._clock.now())
        self._checkpoint.commit()
        if self._changed is not None:
            for incident in incidents:
                self._changed(incident)
        return len(incidents)

    def close(self) -> None:
        """Commit what is written and leave the group."""
        self._checkpoint.commit()
        self._consumer.close()

    def _read(self, messages: Sequence[Message]) -> tuple[list[Anomaly], list[Event]]:
        anomalies: list[Anomaly] = []
        events: list[Event] = []
        for message in messages:
            try:
                if message.partition.topic == EVENTS:
                    events.append(decode_event(message.value))
                else:
                    anomalies.append(decode_anomaly(message.value))
            except Permanent as error:
                self._dead_letters.put(message, str(error))
            else:
                self._dead_letters.good()
        return anomalies, events
