"""Scrapes every collector on its own schedule and thread, so that a slow or dead source delays no other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from coldaisle.clock import SECOND, Clock
from coldaisle.errors import ConfigError
from coldaisle.event import Event
from coldaisle.frame import Frame
from coldaisle.selfstats import SelfStats
from coldaisle.series import Layout
from collectors.port import Collector
from collectors.schedule import Schedule
from collectors.scrape import Outcome, attempt, down, scrape

__all__ = ["Runner", "Ship", "Spec", "scrape"]

Ship = Callable[[Frame, list[Event]], None]
"""Takes one scrape. Called by one thread at a time; must return at once (the shipper queues)."""

_log = logging.getLogger(__name__)
_LONGEST_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Spec:
    """A collector with what the runner must know of it."""

    collector: Collector
    node: str
    interval_seconds: float = 15.0
    deadline_seconds: float = 10.0


class Runner:
    """
    Runs collectors until told to stop.

    A scrape that passes its deadline is reported ``collector_up 0`` at once; while its thread hangs, due
    scrapes are skipped, counted and reported the same way, and no second thread is started. When the thread
    comes back its samples are dropped (they are late and were reported as missing) but its events are kept:
    an event is news whenever it arrives.
    """

    def __init__(self, specs: Iterable[Spec], ship: Ship, clock: Clock, stats: SelfStats, seed: int = 0) -> None:
        """Raises ConfigError when two collectors of one node share a name."""
        specs = tuple(specs)
        _refuse_twins(specs)
        self._clock = clock
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        post = _Post(ship, stats)
        self._workers = [
            _Worker(spec, clock, post, stats, f"{seed}:{spec.node}:{spec.collector.name}") for spec in specs
        ]

    def start(self) -> None:
        """Start scraping; a second call does nothing."""
        if self._thread is not None:
            return
        for worker in self._workers:
            worker.start()
        self._thread = threading.Thread(target=self._run, name="collectors", daemon=True)
        self._thread.start()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """
        Stop scraping and close every collector, within ``timeout_seconds``; safe to call twice or before a start.

        A thread that hangs in its source is left behind: it ends with the process, and closes its collector
        if it ever returns.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify_all()
        threads = [self._thread, *[worker.stop() for worker in self._workers]]
        began = self._clock.now()
        for thread in threads:
            if thread is None:
                continue
            # Whoever has ended costs nothing, so one hung thread takes no time from the others.
            thread.join(max(0.0, timeout_seconds - (self._clock.now() - began) / SECOND))
            if thread.is_alive():
                _log.warning("%s did not stop within its time; left behind", thread.name)

    def step(self, now: int) -> int:
        """Start what is due and report what is late at ``now``; return when to look again, Unix ns."""
        return min((worker.step(now) for worker in self._workers), default=now + SECOND)

    def _run(self) -> None:
        while True:
            now = self._clock.now()
            seconds = (self.step(now) - now) / SECOND
            with self._wake:
                if self._stopping:
                    return
                self._wake.wait(min(max(seconds, 0.001), _LONGEST_WAIT_SECONDS))


class _Post:
    """Hands scrapes over one at a time, and survives whoever takes them."""

    def __init__(self, ship: Ship, stats: SelfStats) -> None:
        self._ship, self._stats, self._lock = ship, stats, threading.Lock()

    def send(self, frame: Frame, events: list[Event]) -> None:
        with self._lock:
            try:
                self._ship(frame, events)
            except Exception:
                _log.exception("the frame of %s on %s could not be handed over", frame.collector, frame.node)
                self._stats.add("collector_frames_dropped_total", collector=frame.collector, reason="not taken")


class _Worker:
    """One collector, its schedule and its thread."""

    def __init__(self, spec: Spec, clock: Clock, post: _Post, stats: SelfStats, seed: str) -> None:
        self._spec, self._clock, self._post, self._stats = spec, clock, post, stats
        self._schedule = Schedule(spec.interval_seconds, clock.now(), seed)
        self._change = threading.Condition()
        self._busy_since: int | None = None
        self._given_up = False  # the running scrape was already reported as failed
        self._stopping = False
        self._closed = False
        self._up: bool | None = None
        self._permanent = False
        self._layout: Layout | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        name = f"collector {self._spec.collector.name} on {self._spec.node}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> threading.Thread | None:
        """Tell the thread to end; return it, to be joined."""
        with self._change:
            self._stopping = True
            self._change.notify_all()
            unborn = self._thread is None and not self._closed
            self._closed = self._closed or unborn
        if unborn:
            self._spec.collector.close()
        return self._thread

    def step(self, now: int) -> int:
        """Start a scrape that is due, give up one that is late; return when to look again."""
        late = skipped = False
        with self._change:
            self._schedule.agree(now)
            deadline = self._deadline(now)
            if deadline is not None and now >= deadline and not self._given_up:
                self._given_up = late = True
            if now >= self._schedule.due:
                missed = self._schedule.passed(now)
                if missed:
                    self._skip(missed, "overslept")
                if self._busy_since is None:
                    self._busy_since, self._given_up = now, False
                    self._change.notify_all()
                else:
                    skipped = not late
            deadline = None if self._given_up else self._deadline(now)
            look_again = self._schedule.due if deadline is None else min(self._schedule.due, deadline)
        if late:
            self._report_down(now, f"no answer within {self._spec.deadline_seconds:g} s")
        if skipped:
            self._skip(1, "still running")
            self._report_down(now, "the scrape before has not come back")
        return look_again

    def _deadline(self, now: int) -> int | None:
        if self._busy_since is None:
            return None
        # A clock that was set back must not make a hung scrape look young for ever.
        self._busy_since = min(self._busy_since, now)
        return self._busy_since + round(self._spec.deadline_seconds * SECOND)

    def _skip(self, count: int, reason: str) -> None:
        self._stats.add("collector_scrapes_skipped_total", count, collector=self._spec.collector.name, reason=reason)

    def _report_down(self, now: int, reason: str) -> None:
        spec = self._spec
        self._note(False, reason)
        self._stats.add("collector_deadlines_missed_total", collector=spec.collector.name)
        self._post.send(down(spec.collector.name, spec.node, now, spec.deadline_seconds), [])

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._stopping or self._busy_since is not None)
                if self._stopping:
                    break
            outcome = self._attempt()
            with self._change:
                given_up = self._given_up
                self._busy_since, self._given_up = None, False
                self._change.notify_all()
            self._deliver(outcome, given_up)
        with self._change:
            self._closed = True
        self._spec.collector.close()

    def _attempt(self) -> Outcome:
        spec = self._spec
        name, start = spec.collector.name, self._clock.now()
        if self._permanent:
            return Outcome(down(name, spec.node, start, 0.0, None), [], False, "", True)
        try:
            return attempt(spec.collector, spec.node, self._clock, self._stats, self._layout)
        except Exception as error:
            # The boundary of the thread: a mistake in one collector must not end it.
            if self._up is not False:
                _log.exception("collector %s on %s has a mistake", name, spec.node)
            self._stats.add("collector_scrapes_failed_total", collector=name)
            return Outcome(down(name, spec.node, start, 0.0), [], False, f"{type(error).__name__}: {error}")

    def _deliver(self, outcome: Outcome, given_up: bool) -> None:
        name = self._spec.collector.name
        self._permanent = outcome.permanent
        if given_up:
            self._stats.add("collector_samples_dropped_total", len(outcome.frame), collector=name, reason="late")
            if outcome.events:
                late = down(name, self._spec.node, self._clock.now(), self._spec.deadline_seconds)
                self._post.send(late, outcome.events)
            return
        if outcome.up:
            self._layout = outcome.frame.layout
        self._note(outcome.up, outcome.reason)
        self._post.send(outcome.frame, outcome.events)

    def _note(self, up: bool, reason: str) -> None:
        """Log a change of state, once."""
        if up == self._up:
            return
        name, node = self._spec.collector.name, self._spec.node
        if not up:
            _log.warning("collector %s on %s is down: %s", name, node, reason)
        elif self._up is False:
            _log.info("collector %s on %s is up again", name, node)
        if up and reason:
            _log.info("collector %s on %s could not read all: %s", name, node, reason)
        self._up = up


def _refuse_twins(specs: Iterable[Spec]) -> None:
    seen: set[tuple[str, str]] = set()
    for spec in specs:
        who = (spec.collector.name, spec.node)
        if who in seen:
            raise ConfigError(f"two collectors of node {who[1]} are called {who[0]!r}: give one of them another `name`")
        seen.add(who)
