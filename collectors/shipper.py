"""Brings frames and events to the bus, and keeps them on disk while the bus is away."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from typing import NamedTuple

from coldaisle.bus import EVENTS, FRAMES, Producer
from coldaisle.clock import SECOND, Clock
from coldaisle.errors import Backpressure, Permanent, Transient
from coldaisle.event import Event
from coldaisle.frame import Frame
from coldaisle.selfstats import SelfStats
from collectors.spool import Spool, Taken, Waiting

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
    order_seconds: float = 60.0  # what waits no longer than this goes out in order, before what is new
    sender: str = field(default_factory=lambda: token_hex(8))  # of this process, so that two of one name are told apart


class ShipperState(NamedTuple):
    """How sending goes, for people."""

    away: str  # why the bus refuses; empty while it takes messages
    queue_messages: int
    spool_bytes: int
    spool_capacity_bytes: int
    oldest_seconds: float | None  # how long the oldest message on disk has waited; None: nothing waits there
    dropped_messages: float

    def __str__(self) -> str:
        said = [f"the bus is away: {self.away}" if self.away else "the bus takes messages"]
        if self.queue_messages:
            said.append(f"{self.queue_messages:,} wait in memory")
        if self.spool_bytes:
            part = 100 * self.spool_bytes / max(1, self.spool_capacity_bytes)
            since = "" if self.oldest_seconds is None else f", the oldest for {self.oldest_seconds:,.0f} s"
            said.append(f"{self.spool_bytes:,} bytes wait on disk ({part:.0f} % of its room){since}")
        if self.dropped_messages:
            said.append(f"{self.dropped_messages:,.0f} were dropped")
        return "; ".join(said)


class Shipper:
    """
    Queue in memory, then the bus; the disk while the bus refuses.

    What waited no longer than ``order_seconds`` goes out first, in order and at full speed: samples of a node
    must not overtake each other, or the older ones come too late to be scored. After a longer outage live
    messages go first, and as long as they flow each round also sends as many old ones, so that catching up
    never delays what is new. Delivery is at least once: a message leaves the queue or the spool only after the
    bus says it is durable. While the bus is away every message is on disk before :meth:`ship` returns.
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
        self._away_until = 0
        self._away = ""
        self._backoff_seconds = 0.0
        self._stopping = self._closed = False
        self._thread: threading.Thread | None = None
        stats.describe("shipper_spool_oldest_seconds", "gauge", "How long the oldest message on disk has waited.")
        stats.describe("shipper_spool_bytes", "gauge", "What waits on disk for the bus.")
        stats.describe("shipper_bus_away", "gauge", "1 while the bus takes no messages.")
        stats.describe("shipper_messages_dropped_total", "counter", "Messages lost on the way to the bus, by reason.")

    def ship(self, frame: Frame, events: list[Event]) -> None:
        """Take one scrape; returns at once, from any thread. What the bus gets is keyed by node."""
        now = self._clock.now()
        if not frame.sender:
            frame = replace(frame, sender=self._settings.sender)
        messages = [Waiting(FRAMES, frame.node.encode(), self._encode_frame(frame), now)]
        for event in events:
            node = event.label("node") or frame.node
            messages.append(Waiting(EVENTS, node.encode(), self._encode_event(event), now))
        with self._wake:
            if self._away and self._spool is not None and not self._live and not self._in_flight:
                for message in messages:
                    self._spool.append(message)
                return
            self._live.extend(messages)
            while len(self._live) > self._settings.queue_messages:
                self._keep(self._live.popleft(), "queue full")
            self._stats.set("shipper_queue_messages", float(len(self._live)))
            self._wake.notify_all()

    def state(self) -> ShipperState:
        """Return how sending goes; from any thread."""
        with self._wake:
            spool = self._spool
            return ShipperState(
                away=self._away,
                queue_messages=len(self._live),
                spool_bytes=0 if spool is None else spool.held_bytes,
                spool_capacity_bytes=0 if spool is None else spool.max_bytes,
                oldest_seconds=self._waited_seconds(),
                dropped_messages=self._stats.total("shipper_messages_dropped_total"),
            )

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
            old, live, in_order = self._next()
        waiting = [] if old is None else old.messages
        try:
            for message in (*waiting, *live) if in_order else (*live, *waiting):
                self._produce(message)
            if live or waiting:
                self._producer.flush()
        except Transient as error:
            self._refused(error, live)
            return False
        self._arrived(len(live), old)
        return bool(self._live or self._spool)

    def _next(self) -> tuple[Taken | None, list[Waiting], bool]:
        """Choose what to send: messages from disk, live ones, and whether those from disk go first. Under the lock."""
        batch = self._settings.batch_messages
        waited = self._waited_seconds()
        in_order = waited is not None and waited <= self._settings.order_seconds
        self._stats.set("shipper_spool_oldest_seconds", waited or 0.0)
        room = min(len(self._live), batch)
        old = None if self._spool is None else self._spool.take(batch if in_order or not room else room)
        if old is not None and in_order:
            # A live message may follow only when nothing older is left behind.
            room = min(room, batch - len(old.messages)) if old.last else 0
        self._in_flight = [self._live.popleft() for _ in range(room)]
        return old, self._in_flight, in_order

    def _waited_seconds(self) -> float | None:
        oldest = None if self._spool is None else self._spool.oldest_at()
        return None if oldest is None else max(0, self._clock.now() - oldest) / SECOND

    def _produce(self, message: Waiting) -> None:
        try:
            self._producer.produce(message.topic, message.key, message.value)
        except Permanent as error:
            _log.error("the bus refuses a message of %d bytes for %s: %s", len(message.value), message.topic, error)
            self._stats.add("shipper_messages_dropped_total", reason="refused")

    def _arrived(self, live: int, old: Taken | None) -> None:
        if self._away:
            _log.info("the bus takes messages again")
            self._stats.set("shipper_bus_away", 0.0)
        self._stats.add("shipper_messages_sent_total", live, source="live")
        if old is not None:
            self._stats.add("shipper_messages_sent_total", len(old.messages), source="spool")
        with self._wake:
            self._away, self._backoff_seconds = "", 0.0
            self._in_flight = []
            if old is not None and self._spool is not None:
                self._spool.confirm(old)
            self._stats.set("shipper_queue_messages", float(len(self._live)))

    def _refused(self, error: Transient, live: list[Waiting]) -> None:
        """Keep everything of this round: nothing says how much of it became durable."""
        if not self._away:
            _log.warning("the bus is away: %s; messages wait", error)
            self._stats.set("shipper_bus_away", 1.0)
        self._backoff_seconds = min(max(1.0, 2 * self._backoff_seconds), self._settings.longest_backoff_seconds)
        if isinstance(error, Backpressure):
            self._backoff_seconds = min(error.retry_after_seconds, self._settings.longest_backoff_seconds)
        self._away_until = self._clock.now() + round(self._backoff_seconds * SECOND)
        self._stats.add("shipper_refusals_total")
        with self._wake:
            self._away = str(error) or type(error).__name__
            self._in_flight = []
            self._live.extendleft(reversed(live))
            if self._spool is not None:
                while self._live:
                    self._keep(self._live.popleft(), "")
                self._spool.unload()

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
                waited = self._waited_seconds()
                if not more:
                    self._wake.wait(_IDLE_SECONDS)
                elif waited is not None and waited > self._settings.order_seconds and not self._live:
                    # Catching up on what is too old to be scored leaves the processor to others between two rounds.
                    self._wake.wait(0.01)
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
