"""The role ``alert``: findings and events from the bus become incidents in the store, by one process at a time."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic

from coldaisle.anomaly import Anomaly
from coldaisle.bus import ANOMALIES, EVENTS, Consumer, Message, Partition
from coldaisle.clock import SECOND, Clock
from coldaisle.codec import decode_anomaly, decode_event
from coldaisle.errors import Permanent, Transient
from coldaisle.event import Event
from coldaisle.incident import Incident
from pipeline.alerting.alerter import Alerter, Keep
from pipeline.alerting.in_order import TICK, InOrder, Position, tick_from
from pipeline.alerting.state import ROLE
from pipeline.deadletter import DeadLetters

_MOST_MESSAGES = 5000
_LONGEST_SECONDS = 1.5  # of one step; a third of the lease is 2
_LOG = logging.getLogger(__name__)
Changed = Callable[[Incident], None]


@dataclass(frozen=True, slots=True)
class AlertRoleSettings:
    """How one process takes part in the role."""

    holder: str = "the only one"  # of several processes each needs a name of its own
    bus: str = ""  # what the log is called over restarts (the cluster's id); empty = it ends with this process
    commits: bool = True  # tell the bus how far it was read; a reader without a group may not
    lease_seconds: float = 6.0  # how long after a kill another process waits before it takes over
    save_seconds: float = 30.0  # how much of the log is read again at most, where nothing else was written
    settle_seconds: float = 0.25  # how long an empty partition may hide a message that is stamped already


class AlertRole:
    """
    Reads every partition of ``anomalies`` and ``events``; decides only while it holds the role's lease.

    1. Messages are put into an order that the log alone determines (``in_order.py``), and wait for their turn.
    2. Tick by tick the alerter hears them and lets time pass.
    3. What changed is written in one transaction: incidents, notifications, the alerter's state, and how far the
       log has been worked off.

    An error in between drops what is in memory: the next step begins again where the last transaction ended,
    exactly as after a crash. Processing time decides nothing but when an empty log is believed to be empty.
    """

    group = ROLE
    topics = (ANOMALIES, EVENTS)

    def __init__(
        self,
        consumer: Consumer,
        alerter: Alerter,
        dead_letters: DeadLetters,
        clock: Clock,
        changed: Changed | None = None,
        settings: AlertRoleSettings | None = None,
    ) -> None:
        """``changed`` is told of every incident that was written, after it was written."""
        self._consumer = consumer
        self._alerter = alerter
        self._dead_letters = dead_letters
        self._clock = clock
        self._changed = changed
        self._settings = settings or AlertRoleSettings()
        lateness = alerter.settings.lateness_ns
        settle = round(self._settings.settle_seconds * SECOND)
        self._order = InOrder(lateness, settle, self._settings.bus or secrets.token_hex(8))
        alerter.waited(lateness)
        self._wait = round(alerter.settings.group_wait_seconds * SECOND)
        self._loaded = False
        self._term = 0
        self._renew_at = 0
        self._firsts: dict[Partition, int] = {}  # where this process began to read
        self._saved = 0  # the tick of the last transaction
        self._unsaved = False
        self._told_late = 0
        self._pause = threading.Event()
        stats = alerter.stats
        stats.describe("alert_deciding", "gauge", "1 while this process decides, 0 while it stands by.")
        stats.describe("alert_decided_seconds", "gauge", "Until which moment (Unix time) everything is decided.")
        stats.describe("alert_late_messages_total", "counter", "Messages that came after their moment was decided.")

    @property
    def deciding(self) -> bool:
        """Whether this process holds the role; else it stands by."""
        return self._loaded

    def step(self, timeout_seconds: float = 0.5) -> int:
        """
        Work once; return how many incidents changed.

        Raises Transient: nothing is lost, call again. Returns after ``timeout_seconds`` while standing by.
        """
        if not self._hold():
            self._pause.wait(timeout_seconds)
            return 0
        try:
            if not self._loaded:
                self._load()
            messages = self._consumer.poll(_MOST_MESSAGES, timeout_seconds)
            self._read(messages)
            asked = self._clock.now()
            complete = self._order.complete(asked, self._consumer.behind())
            return 0 if complete is None else self._decide(complete)
        except Transient:
            self._drop()
            raise

    def finish(self, wait_ns: int = 0) -> int:
        """Decide about everything that was read, as if the bus were empty and ``wait_ns`` had passed."""
        if not self._loaded:
            return 0
        return self._decide(max(self._order.newest(), self._clock.now()) + TICK + wait_ns)

    def lag(self) -> int:
        """Return how many messages wait to be read."""
        return self._consumer.lag()

    def close(self) -> None:
        """
        Write the state, let go of the role and of the bus.

        Where the log ends with this process, what waits for company is decided now. Raises Transient: then
        whoever comes next reads it again.
        """
        try:
            if self._loaded:
                if not self._settings.bus:
                    self.finish(self._wait)
                self._save()
                self._alerter.store.let_go(ROLE, self._settings.holder)
        finally:
            self._consumer.close()

    # -- who decides ------------------------------------------------------------------------------------------------

    def _hold(self) -> bool:
        now = self._clock.now()
        if self._loaded and now < self._renew_at:
            return True
        lease = self._settings.lease_seconds
        term = self._alerter.store.hold(ROLE, self._settings.holder, now, lease)
        self._renew_at = now + round(lease / 3 * SECOND)
        self._alerter.stats.set("alert_deciding", float(term > 0))
        if self._loaded and term != self._term:
            _LOG.warning("another process has decided in between; what this one knew is read again")
            self._drop()
        self._term = term
        return term > 0

    def _load(self) -> None:
        self._alerter.begin_anew()
        text = self._alerter.resume(self._clock.now())
        self._order.start(_position(text), self._clock.now())
        self._saved, self._unsaved = self._order.decided, False
        # A reader connects when it polls; what that brings is read again.
        for message in self._consumer.poll(1, 0.0):
            self._firsts.setdefault(message.partition, message.offset)
        # Of a partition without a saved offset nothing was worked off: this process reads it from where it began.
        start = {**self._firsts, **self._order.position().next}
        if start:
            held = self._consumer.behind()
            self._consumer.seek({partition: offset for partition, offset in start.items() if partition in held})
        self._loaded = True

    def _drop(self) -> None:
        self._loaded = False

    # -- what is heard and decided ----------------------------------------------------------------------------------

    def _read(self, messages: Sequence[Message]) -> None:
        poison = False
        for message in messages:
            self._firsts.setdefault(message.partition, message.offset)
            what: Anomaly | Event | None = None
            try:
                if message.partition.topic == EVENTS:
                    what = decode_event(message.value)
                else:
                    what = decode_anomaly(message.value)
            except Permanent as error:
                self._dead_letters.put(message, str(error))
                poison = True
            else:
                self._dead_letters.good(1, message.key)
            self._order.put(message, what)
        if poison:
            self._dead_letters.flush()  # before any position beyond it is written
        self._unsaved = self._unsaved or bool(messages)
        if self._order.late > self._told_late:
            self._alerter.stats.add("alert_late_messages_total", float(self._order.late - self._told_late))
            self._told_late = self._order.late

    def _decide(self, complete: int) -> int:
        written, until = 0, monotonic() + _LONGEST_SECONDS
        for tick in self._ticks(complete):
            anomalies, events = self._order.take(tick)
            incidents = self._alerter.take(anomalies, events, tick, self._keep())
            if incidents:
                self._was_saved()
            for incident in incidents:
                written += 1
                if self._changed is not None:
                    self._changed(incident)
            if monotonic() >= until:
                break  # to renew the lease, and to hear whether to stop
        self._alerter.stats.set("alert_decided_seconds", self._order.decided / SECOND)
        if self._unsaved and self._order.decided - self._saved >= self._settings.save_seconds * SECOND:
            self._save()
        return written

    def _ticks(self, complete: int) -> Iterator[int]:
        """Yield the moments up to ``complete`` at which something is heard or time alone changes something."""
        while True:
            moments = (self._order.next_moment(), self._alerter.next_look())
            first = min((one for one in moments if one is not None), default=None)
            if first is None:
                return
            tick = tick_from(max(first, self._order.decided + 1))
            if tick > complete:
                return
            yield tick

    def _keep(self) -> Keep:
        return Keep(self._settings.holder, self._order.position().text())

    def _save(self) -> None:
        self._alerter.save(self._order.decided, self._keep())
        self._was_saved()

    def _was_saved(self) -> None:
        self._saved, self._unsaved = self._order.decided, False
        if self._settings.commits:
            self._consumer.commit(dict(self._order.position().next))


def _position(text: str | None) -> Position | None:
    """What cannot be read counts as nothing: the log is read from where the bus begins."""
    if text is None:
        return None
    try:
        return Position.of(text)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        _LOG.warning("how far the bus was read is unreadable (%s): all that it keeps is read again", error)
        return None
