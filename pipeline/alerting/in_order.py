"""Puts what the bus delivers into one order that does not depend on when, or how often, it was delivered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from coldaisle.anomaly import Anomaly, Phase
from coldaisle.bus import Message, Partition
from coldaisle.clock import SECOND
from coldaisle.event import Event

TICK = SECOND // 4
"""Decisions are made at multiples of this (ns), so that two runs over the same log decide at the same moments."""

_PHASES = {Phase.OPENED: 0, Phase.UPDATED: 1, Phase.CLOSED: 2}
Offsets = dict[Partition, int]


class _Entry(NamedTuple):
    moment: int
    key: tuple[int, int, str, int]
    partition: Partition
    offset: int
    what: Anomaly | Event


class Position(NamedTuple):
    """How far a log has been worked off: everything before ``next``, and single messages after it."""

    bus: str
    decided: int  # the last tick, ns
    next: Mapping[Partition, int]
    beyond: Mapping[Partition, frozenset[int]]

    def text(self) -> str:
        """Return it as one JSON object."""
        document = {
            "bus": self.bus,
            "decided": self.decided,
            "next": {_name(one): offset for one, offset in sorted(self.next.items())},
            "beyond": {_name(one): sorted(offsets) for one, offsets in sorted(self.beyond.items()) if offsets},
        }
        return json.dumps(document, separators=(",", ":"))

    @classmethod
    def of(cls, text: str) -> Position:
        """Read what ``text`` wrote. Raises ValueError, KeyError, TypeError."""
        document = json.loads(text)
        return cls(
            str(document["bus"]),
            int(document["decided"]),
            {_partition(name): int(offset) for name, offset in document["next"].items()},
            {_partition(name): frozenset(map(int, offsets)) for name, offsets in document["beyond"].items()},
        )


class InOrder:
    """
    Messages that wait for their turn; owned by one role, one thread.

    A message's *moment* is its event time, but not more than ``lateness`` before its append time and not after it.
    Its turn comes when every partition is known to hold nothing of an earlier moment: it has been read beyond,
    or it is empty and ``settle`` (ns) has passed, which covers the clocks' difference and what the broker has
    stamped but does not show yet. Both times are in the log, so reading it again gives the same order, and two
    partitions whose messages arrive the other way round give it too. What comes for a moment that was decided
    already is taken at the next one and counted in ``late``.
    """

    def __init__(self, lateness: int, settle: int, bus: str) -> None:
        self._lateness = lateness
        self._settle = settle
        self._bus = bus
        self._waiting: list[_Entry] = []
        self._sorted = True
        self._floor: Offsets = {}  # what lies before was worked off when this began
        self._read: Offsets = {}  # one after the newest message read
        self._unfinished: dict[Partition, set[int]] = {}
        self._beyond: dict[Partition, set[int]] = {}  # worked off, though something before it is not
        self._newest: dict[Partition, int] = {}  # its append time
        self.decided = 0
        self.late = 0

    def start(self, position: Position | None, now: int) -> None:
        """Forget everything and begin at ``position``; one of another bus says only what is decided, up to ``now``."""
        self._waiting, self._sorted = [], True
        self._newest = {}
        here = position if position is not None and position.bus == self._bus else None
        self.decided = 0 if position is None else position.decided if here else min(position.decided, now)
        self._floor = {} if here is None else dict(here.next)
        self._read, self._unfinished = dict(self._floor), {}
        self._beyond = {} if here is None else {one: set(offsets) for one, offsets in here.beyond.items()}

    def put(self, message: Message, what: Anomaly | Event | None) -> None:
        """Take a message in; None = it says nothing, but it was read."""
        partition, offset = message.partition, message.offset
        self._newest[partition] = max(message.timestamp, self._newest.get(partition, 0))
        self._read[partition] = max(offset + 1, self._read.get(partition, 0))
        done = self._beyond.setdefault(partition, set())
        if offset < self._floor.get(partition, 0) or offset in done:
            return  # worked off before the crash
        if what is None:
            done.add(offset)
            return
        self._unfinished.setdefault(partition, set()).add(offset)
        at, key = _key(what)
        moment = min(message.timestamp, max(at, message.timestamp - self._lateness))
        if moment <= self.decided:
            moment = self.decided + 1
            self.late += 1
        self._waiting.append(_Entry(moment, key, partition, offset, what))
        self._sorted = False

    def complete(self, asked: int, behind: Mapping[Partition, int]) -> int | None:
        """
        Return until which moment everything is known, None where some partition says nothing.

        ``asked`` is the time just before the bus was asked how far ``behind`` its reader is.
        """
        if not behind:
            return None
        until: list[int] = []
        for partition, waiting in behind.items():
            newest = self._newest.get(partition)
            if waiting == 0:
                until.append(max(asked - self._settle, 0 if newest is None else newest - 1))
            elif newest is None:
                return None
            else:
                until.append(newest - 1)
        return min(until) - self._lateness

    def next_moment(self) -> int | None:
        """Return the moment of the first message that waits, None where none does."""
        self._sort()
        return self._waiting[0].moment if self._waiting else None

    def take(self, tick: int) -> tuple[list[Anomaly], list[Event]]:
        """Hand out everything up to ``tick``, in order; from then on it counts as worked off."""
        self._sort()
        count = next((at for at, one in enumerate(self._waiting) if one.moment > tick), len(self._waiting))
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        for one in taken:
            self._unfinished[one.partition].discard(one.offset)
            self._beyond[one.partition].add(one.offset)
        self.decided = tick
        anomalies = [one.what for one in taken if isinstance(one.what, Anomaly)]
        return anomalies, [one.what for one in taken if isinstance(one.what, Event)]

    def position(self) -> Position:
        """Return how far the log has been worked off."""
        # Offsets may have gaps (what was compacted or has expired), so nothing is counted through.
        next_ = {one: min(self._unfinished.get(one) or {read}) for one, read in self._read.items()}
        for partition, offsets in self._beyond.items():
            first = next_.get(partition, 0)
            if offsets and min(offsets) < first:
                self._beyond[partition] = {offset for offset in offsets if offset >= first}
        beyond = {partition: frozenset(offsets) for partition, offsets in self._beyond.items() if offsets}
        return Position(self._bus, self.decided, next_, beyond)

    def newest(self) -> int:
        """Return the last moment that waits, or the last one decided."""
        self._sort()
        return self._waiting[-1].moment if self._waiting else self.decided

    def _sort(self) -> None:
        if not self._sorted:
            self._waiting.sort(key=lambda one: (one.moment, one.key, one.partition, one.offset))
            self._sorted = True


def tick_from(moment: int) -> int:
    """Return the first tick that is not before ``moment``."""
    return -(-moment // TICK) * TICK


def _key(what: Anomaly | Event) -> tuple[int, tuple[int, int, str, int]]:
    """Return its event time, and a key that follows from its content alone."""
    if isinstance(what, Event):
        return what.timestamp, (0, 0, f"{what.kind}\x1f{what.code}\x1f{what.labels}\x1f{what.text}", what.timestamp)
    return what.updated_at, (1, _PHASES[what.phase], what.id, what.updated_at)


def _name(partition: Partition) -> str:
    return f"{partition.topic}/{partition.number}"


def _partition(name: str) -> Partition:
    topic, _, number = name.rpartition("/")
    return Partition(topic, int(number))
