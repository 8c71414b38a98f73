"""Brings frames and events to the bus, and keeps them on disk while the bus is away."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coldaisle.bus import EVENTS, FRAMES, Producer
from coldaisle.clock import SECOND, Clock
from coldaisle.errors import Backpressure, Permanent, Transient
from coldaisle.event import Event
from coldaisle.frame import Frame
from coldaisle.selfstats import SelfStats
from collectors.spool import Spool, Waiting

_log = logging.getLogger(__name__)
_IDLE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ShipperSettings:
    """How much may wait, and where. ``spool_dir`` None: what does not fit in memory is lost, counted."""

    spool_dir: Path | None = None
    spool_bytes: int = 1 << 30
    queue_messages: int = 10_000
    batch_messages: int = 256
    longest_backoff_seconds: float = 30.0


class Shipper:
    """
    Queue in memory, then the bus; the disk while the bus refuses.

    Live messages go first; as long as they flow, each round also sends as many old ones from the spool, so
    that catching up never delays what is new. Delivery is at least once: a message leaves the queue or the
    spool only after the bus says it is durable.
    """

    def __init__(
        self,
        producer: Producer,
        encode_frame: Callable[[Frame], bytes],
        encode_event: Callable[[Event], bytes],
        clock: Clock,
        stats: SelfStats,
        settings: ShipperSettings | None = None,
    ) -> None:
        """Raises ConfigError when the spool's folder cannot be written."""
        self._producer, self._clock, self._stats = producer, clock, stats
        self._encode_frame, self._encode_event = encode_frame, encode_event
        self._settings = settings or ShipperSettings()
        folder = self._settings.spool_dir
        self._spool = None if folder is None else Spool(folder, self._settings.spool_bytes, stats)
        self._live: deque[Waiting] = deque()
        self._in_flight: list[Waiting] = []  # live ones that the bus has not confirmed
        self._wake = threading.Condition()
        self._old: deque[Waiting] = deque()  # of the segment that is being sent
        self._segment: Path | None = None
        self._away_until = 0
        self._backoff_seconds = 0.0
        self._stopping = self._closed = False
        self._thread: threading.Thread | None = None

    def ship(self, frame: Frame, events: list[Event]) -> None:
        """Take one scrape; returns at once, from any thread. What the bus gets is keyed by node."""
        messages = [Waiting(FRAMES, frame.node.encode(), self._encode_frame(frame))]
        for event in events:
            node = event.label("node") or frame.node
            messages.append(Waiting(EVENTS, node.encode(), self._encode_event(event)))
        with self._wake:
            self._live.extend(messages)
            while len(self._live) > self._settings.queue_messages:
                self._keep(self._live.popleft(), "queue full")
            self._stats.set("shipper_queue_messages", float(len(self._live)))
            self._wake.notify_all()

    def start(self) -> None:
        """Start sending; a second call does nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="shipper", daemon=True)
            self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """Send what waits, spool what cannot be sent, let go of the bus; safe to call twice or before a start."""
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_seconds)
            if self._thread.is_alive():
                # It hangs in the bus. What it holds may have arrived or not: twice does no harm, never does.
                _log.warning("the bus did not answer within %g s of stopping", timeout_seconds)
                with self._wake:
                    self._live.extendleft(reversed(self._in_flight))
                    self._in_flight = []
        elif not self._closed:
            self._finish()
        self._keep_all("stopped")

    def step(self) -> bool:
        """Send one round; return whether more can be sent at once."""
        if self._clock.now() < self._away_until:
            return False
        with self._wake:
            count = min(len(self._live), self._settings.batch_messages)
            self._in_flight = live = [self._live.popleft() for _ in range(count)]
        old = self._next_old(max(1, self._settings.batch_messages if not live else count))
        sent = 0
        try:
            for message in (*live, *old):
                self._produce(message)
                sent += 1
            if live or old:
                self._producer.flush()
        except Transient as error:
            self._refused(error, live, old)
            return False
        self._arrived(len(live), len(old))
        return bool(self._live or self._old or self._spool)

    def _produce(self, message: Waiting) -> None:
        try:
            self._producer.produce(message.topic, message.key, message.value)
        except Permanent as error:
            _log.error("the bus refuses a message of %d bytes for %s: %s", len(message.value), message.topic, error)
            self._stats.add("shipper_messages_dropped_total", reason="refused")

    def _next_old(self, count: int) -> list[Waiting]:
        if self._spool is None:
            return []
        with self._wake:
            if not self._old and self._segment is None:
                found = self._spool.oldest()
                if found is not None:
                    self._segment, messages = found
                    self._old.extend(messages)
            return [self._old.popleft() for _ in range(min(count, len(self._old)))]

    def _arrived(self, live: int, old: int) -> None:
        if self._backoff_seconds:
            _log.info("the bus takes messages again")
        self._backoff_seconds = 0.0
        self._stats.add("shipper_messages_sent_total", live, source="live")
        if old:
            self._stats.add("shipper_messages_sent_total", old, source="spool")
        with self._wake:
            self._in_flight = []
            if self._segment is not None and not self._old and self._spool is not None:
                self._spool.done(self._segment)
                self._segment = None
            self._stats.set("shipper_queue_messages", float(len(self._live)))

    def _refused(self, error: Transient, live: list[Waiting], old: list[Waiting]) -> None:
        """Keep everything of this round: nothing says how much of it became durable."""
        if not self._backoff_seconds:
            _log.warning("the bus is away: %s; messages wait", error)
        self._backoff_seconds = min(max(1.0, 2 * self._backoff_seconds), self._settings.longest_backoff_seconds)
        if isinstance(error, Backpressure):
            self._backoff_seconds = min(error.retry_after_seconds, self._settings.longest_backoff_seconds)
        self._away_until = self._clock.now() + round(self._backoff_seconds * SECOND)
        self._stats.add("shipper_refusals_total")
        with self._wake:
            self._in_flight = []
            self._old.extendleft(reversed(old))
            if self._spool is None:
                self._live.extendleft(reversed(live))
            else:
                for message in live:
                    self._keep(message, "")
                while self._live:
                    self._keep(self._live.popleft(), "")

    def _keep(self, message: Waiting, reason: str) -> None:
        if self._spool is not None:
            self._spool.append(message)
        else:
            self._stats.add("shipper_messages_dropped_total", reason=reason)

    def _keep_all(self, reason: str) -> None:
        with self._wake:
            while self._live:
                self._keep(self._live.popleft(), reason)
            if self._spool is not None:
                self._spool.seal()

    def _run(self) -> None:
        while True:
            more = self.step()
            with self._wake:
                if self._stopping:
                    break
                if not more or not self._live:
                    # Catching up leaves the processor to others between two rounds.
                    self._wake.wait(0.01 if more else _IDLE_SECONDS)
        self._finish()

    def _finish(self) -> None:
        while self._live and self.step():
            continue
        self._keep_all("stopped")
        self._closed = True
        try:
            self._producer.close()
        except Transient as error:
            _log.warning("the bus did not close in order: %s", error)
