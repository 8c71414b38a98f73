"""The roles that read the bus: one stores, one scores."""

from __future__ import annotations

from coldaisle.anomaly import Anomaly
from coldaisle.bus import ANOMALIES, EVENTS, FRAMES, Consumer, Message, Producer
from coldaisle.clock import SECOND, Clock
from coldaisle.codec import encode_anomaly
from coldaisle.event import Event
from coldaisle.frame import Block, Frame
from coldaisle.selfstats import SelfStats
from coldaisle.store import MetricStore
from pipeline.checkpoint import Checkpoint, Handover
from pipeline.reader import Reader
from pipeline.scoring import Engine

__all__ = ["Reader", "Scorer", "Storer"]

_MOST_MESSAGES = 2000
_SITE = b"site"


class Storer:
    """Consumer group ``store``: frames and events to the metric store; offsets follow a flush of the store."""

    group = "store"
    topics = (FRAMES, EVENTS)

    def __init__(
        self, consumer: Consumer, store: MetricStore, reader: Reader, clock: Clock, flush_seconds: float = 5.0,
        handover: Handover | None = None,
    ) -> None:  # fmt: skip
        """``handover`` is the watcher with which ``consumer`` joined its group, where there may be other members."""
        self._consumer = consumer
        self._store = store
        self._reader = reader
        self._clock = clock
        self._flush_ns = round(flush_seconds * SECOND)
        self._checkpoint = Checkpoint(consumer, [store, reader.dead_letters])
        if handover is not None:
            handover.serve(self._checkpoint)
        self._flushed = clock.now()
        self._unread: list[Message] = []
        self._held: tuple[list[Message], list[Frame | Block], list[Event]] | None = None

    def step(self, timeout_seconds: float = 0.5) -> int:
        """Work once; return how many messages were read. Raises Transient: call again later, nothing is lost."""
        if self._held is None:
            # Kept until it is read: a dead letter that the bus does not take now must not lose its neighbours.
            self._unread = self._unread or self._consumer.poll(_MOST_MESSAGES, timeout_seconds)
            self._held = (self._unread, *self._reader.read(self._unread))
            self._unread = []
        # What the store refuses is kept for the next step: the consumer has passed it, and would not bring it again.
        messages, frames, events = self._held
        if frames:
            self._store.write(frames)
            self._held = (messages, [], events)
        if events:
            self._store.write_events(events)
        self._held = None
        self._checkpoint.store(messages)
        now = self._clock.now()
        if self._checkpoint.pending and now - self._flushed >= self._flush_ns:
            self._checkpoint.commit()
            self._flushed = now
        return len(messages)

    def close(self) -> None:
        """Flush, commit and leave the group."""
        self._checkpoint.commit()
        self._consumer.close()


class Scorer:
    """Consumer group ``score``: frames through the engine, findings to the topic ``anomalies``."""

    group = "score"
    topics = (FRAMES, EVENTS)

    def __init__(
        self, consumer: Consumer, producer: Producer, engine: Engine, reader: Reader, clock: Clock, stats: SelfStats
    ) -> None:
        self._consumer = consumer
        self._producer = producer
        self._engine = engine
        self._reader = reader
        self._clock = clock
        self._stats = stats
        self._checkpoint = Checkpoint(consumer, [producer, reader.dead_letters])
        self._asleep_ns: int | None = None
        self._stepped_at = clock.now()
        stats.describe("score_pauses_total", "counter", "Times that this process did not run for a while.")

    def notice_sleep(self, seconds: float) -> None:
        """
        From now on take a longer time than ``seconds`` between two steps as this process's own absence.

        For real clocks only: a laptop that was closed or a process that was stopped wakes to a clock that has
        jumped, and would call everything silent that it did not hear.
        """
        self._asleep_ns = round(seconds * SECOND)

    def step(self, timeout_seconds: float = 0.5) -> list[Anomaly]:
        """Work once; return the findings announced. Raises Transient: call again after a pause."""
        messages = self._consumer.poll(_MOST_MESSAGES, timeout_seconds)
        frames, events = self._reader.read(messages)
        now = self._clock.now()
        away, self._stepped_at = now - self._stepped_at, now
        if self._asleep_ns is not None and away > self._asleep_ns:
            self._engine.resume(now, away)
            self._stats.add("score_pauses_total")
        if events:
            self._engine.observe(events)
        found = self._engine.process(frames, now) if frames else self._engine.advance(now)
        for anomaly in found:
            self._producer.produce(ANOMALIES, _SITE, encode_anomaly(anomaly))
            self._stats.add("findings_total", phase=anomaly.phase.value, detector=anomaly.detector)
        self._checkpoint.store(messages)
        self._checkpoint.commit()
        return found

    def close(self) -> None:
        """Commit what is done and leave the group."""
        self._checkpoint.commit()
        self._consumer.close()
