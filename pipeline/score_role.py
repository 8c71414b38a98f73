"""The role ``score`` on many partitions: both stages, each with its snapshots, exact after a crash."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar, NamedTuple

from coldaisle.anomaly import Anomaly
from coldaisle.bus import ANOMALIES, COHORTS, EVENTS, FRAMES, Bus, Message, Partition, partition_of
from coldaisle.clock import SECOND, Clock
from coldaisle.codec import ARROW, HeadCache, encode_anomaly, encode_frame
from coldaisle.errors import Transient
from coldaisle.frame import Frame
from coldaisle.snapshot import Snapshot
from coldaisle.store.snapshots import SnapshotStore
from pipeline.deadletter import DeadLetters
from pipeline.roles import Reader
from pipeline.shards import VERSION, CourtShard, Shard, WatchShard, Workshop, name_of, restore, snapshot_of

_LOG = logging.getLogger(__name__)
_MOST_MESSAGES = 2000
_PATIENCE_SECONDS = 0.1
_SITE = b"site"
_END = "end"
_UNTIL = "until"
_ORIGIN = "origin"
_IDLE = "idle"


class Pace(NamedTuple):
    """How often state is saved, and how long an empty partition is waited for."""

    snapshot_seconds: float = 15.0
    idle_seconds: float = 10.0


class _Out(NamedTuple):
    topic: str
    key: bytes
    value: bytes
    headers: Mapping[str, str]


class _Saving(NamedTuple):
    """A snapshot on its way to the store."""

    partition: Partition
    offset: int
    done: Future[int]


class ScoreRole:
    """
    Consumer group ``score``: frames through watches, what is to be compared through ``cohorts`` to courts.

    Each partition has a shard with its own state. A snapshot belongs to the offsets before it; it is saved
    only after everything that followed from them is durable on the bus, and offsets are committed after it. A
    member that gains a partition restores its newest snapshot and reads the rest again; what that produces
    twice carries the same ids and is recognised. Time is that of the samples and of the bus; only a partition
    in which nothing waits is moved on by the clock.
    """

    group = "score"
    court_group = "score-cohorts"
    """A group of its own: with one for both topics, what was summoned would wait behind a backlog of frames."""
    topics = (FRAMES, COHORTS)
    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {group: (FRAMES,), court_group: (COHORTS,)}

    def __init__(
        self, bus: Bus, workshop: Workshop, snapshots: SnapshotStore, clock: Clock, pace: Pace = Pace()  # noqa: B008
    ) -> None:  # fmt: skip
        """Join the group. Raises Transient while the bus is away, Permanent where a topic is missing."""
        self._workshop = workshop
        self._snapshots = snapshots
        self._clock = clock
        self._pace = pace
        self._stats = stats = workshop.stats
        self._keys = _keys(workshop.courts)
        self._shards: dict[Partition, WatchShard | CourtShard] = {}
        self._saved_at: dict[Partition, int] = {}
        self._saving: _Saving | None = None
        self._saver = ThreadPoolExecutor(1, "snapshots")
        self._unsent: deque[_Out] = deque()
        self._heads = HeadCache()
        self._rewind = False
        self._follow = False  # the events are to be read again from where the watch that knows least is
        self._fresh = False  # not all events of before have been heard
        self._away = False
        self._producer = bus.producer()
        self._dead_letters = DeadLetters(bus.producer(), stats, by=self.group)
        self._reader = Reader(self._dead_letters, stats)
        self._events = bus.reader((EVENTS,))
        self._event_parts = [Partition(EVENTS, number) for number in range(bus.partitions(EVENTS))]
        self._consumers = {
            COHORTS: bus.consumer((COHORTS,), self.court_group, self),
            FRAMES: bus.consumer((FRAMES,), self.group, self),
        }
        stats.describe("shards", "gauge", "Partitions that this process scores, by stage.")
        stats.describe("snapshots_saved_total", "counter", "Snapshots of state that were saved.")
        stats.describe("snapshot_bytes", "gauge", "Size of the newest snapshot, by shard.")
        stats.describe(
            "score_rewinds_total", "counter", "Times that state went back to its snapshot: the bus lost output."
        )

    def step(self, timeout_seconds: float = 0.5) -> list[Anomaly]:
        """Work once; return the findings announced. Raises Transient: call again after a pause, nothing is lost."""
        if self._rewind:
            self._go_back()
        self._send()
        messages = self._consumers[COHORTS].poll(_MOST_MESSAGES, 0.0)
        now = self._clock.now()
        try:
            # While courts have work nobody waits for frames, and never for long: their summons come back soon.
            patience = 0.0 if messages else min(timeout_seconds, _PATIENCE_SECONDS)
            messages += self._consumers[FRAMES].poll(_MOST_MESSAGES, patience)
            self._hear_events()
            found = self._take(messages, now)
        except Transient:
            # The consumers stand behind these messages already; only the snapshots know what was before.
            self._rewind = True
            raise
        found += self._let_time_pass(now)
        for shard in self._courts():
            found += shard.room.move()
        for anomaly in found:
            self._unsent.append(_Out(ANOMALIES, _SITE, encode_anomaly(anomaly), {}))
            self._stats.add("findings_total", phase=anomaly.phase.value, detector=anomaly.detector)
        self._send()
        self._save_what_is_due(now)
        self._tell()
        return found

    def lag(self) -> int:
        """Return how many messages wait to be read."""
        return sum(each.lag() for each in self._consumers.values())

    def behind(self) -> Mapping[Partition, int]:
        """Return how many messages wait in each partition it holds. Raises Transient while the bus is away."""
        return {part: left for each in self._consumers.values() for part, left in each.behind().items()}

    def close(self) -> None:
        """Save everything, commit and leave the group."""
        for consumer in self._consumers.values():
            consumer.close()  # asks to save what is held
        self._saver.shutdown()
        self._events.close()
        self._producer.close()

    # What the bus tells of partitions (coldaisle.bus.Watcher)

    def gained(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        """Restore the state of partitions; return where to go on."""
        now = self._clock.now()
        for number, partition in enumerate(sorted(partitions)):
            self._shards[partition] = self._load(partition)
            # Shards take turns, so that no step saves them all.
            share = number / max(1, len(partitions))
            self._saved_at[partition] = now - round(share * self._pace.snapshot_seconds * SECOND)
        self._follow = True
        return {partition: self._shards[partition].offset for partition in partitions}

    def losing(self, partitions: frozenset[Partition]) -> None:
        """Send, save and commit what is held of partitions, then drop it."""
        held = [partition for partition in sorted(partitions) if partition in self._shards]
        try:
            if not self._rewind and held:
                self._send()
                self._flush()
                self._settle()
                for partition in held:
                    self._save(partition, self._clock.now())
                    self._settle()
        except Transient as error:
            # Whoever comes next goes on from the snapshot before; nothing is lost, some work is done again.
            _LOG.warning("what was not saved of %d partitions will be read again: %s", len(held), error)
        self.lost(partitions)

    def lost(self, partitions: frozenset[Partition]) -> None:
        """Drop partitions that somebody else holds."""
        for partition in partitions:
            self._shards.pop(partition, None)
            self._saved_at.pop(partition, None)

    # Reading

    def _take(self, messages: list[Message], now: int) -> list[Anomaly]:
        by_partition: dict[Partition, list[Message]] = {}
        for message in messages:
            by_partition.setdefault(message.partition, []).append(message)
        found: list[Anomaly] = []
        for partition, those in by_partition.items():
            shard = self._shards.get(partition)
            if isinstance(shard, WatchShard):
                frames, _ = self._reader.read(those)
                shard.heard_at = now
                arrived_at = max(message.timestamp for message in those)
                found += shard.take(frames, those[-1].offset + 1, arrived_at)
                self._summon(shard)
            elif isinstance(shard, CourtShard):
                self._bring(shard, those)
        return found

    def _bring(self, shard: CourtShard, messages: list[Message]) -> None:
        """Take what the watches sent."""
        for message in messages:
            headers = message.headers
            try:
                if message.value:
                    frames, _ = self._reader.read([message])
                    for frame in frames:
                        if isinstance(frame, Frame):
                            shard.room.take(frame, int(headers[_END]))
                if _UNTIL in headers:
                    idle = headers.get(_IDLE) == "1"
                    shard.room.reach(int(headers[_ORIGIN]), None if idle else int(headers[_UNTIL]))
            except (KeyError, ValueError) as error:
                self._dead_letters.put(message, f"cohorts: header {error} is missing or is no number")
            shard.offset = message.offset + 1

    def _let_time_pass(self, now: int) -> list[Anomaly]:
        """Move partitions on in which nothing waits and to which nothing came for a while."""
        try:
            behind = self._consumers[FRAMES].behind()
        except Transient:
            # Nobody can tell silence from a bus that is away.
            self._away = True
            return []
        idle_ns = round(self._pace.idle_seconds * SECOND)
        found: list[Anomaly] = []
        for shard in self._watches():
            if self._away:
                shard.heard_at = now
                shard.watch.resume(now, 0)
            elif not behind.get(shard.partition, 0) and now - shard.heard_at >= idle_ns:
                found += shard.watch.advance(now)
                self._summon(shard)
        self._away = False
        return found

    def _hear_events(self) -> None:
        """Bring every watch the jobs that start and end; one that is new first hears all of before."""
        watches = self._watches()
        if self._follow and watches:
            # From where the watch that knows least of them is.
            self._events.poll(1, 0.0)  # a reader connects when it first polls
            self._events.seek({part: min(each.events_from(part) for each in watches) for part in self._event_parts})
            self._follow, self._fresh = False, True
        while True:
            messages = self._events.poll(_MOST_MESSAGES, 0.2 if self._fresh else 0.0)
            by_partition: dict[Partition, list[Message]] = {}
            for message in messages:
                by_partition.setdefault(message.partition, []).append(message)
            for partition, those in by_partition.items():
                events = self._reader.events(those)
                for shard in self._watches():
                    shard.observe(partition, those[-1].offset + 1, events)
            if not self._fresh:
                return
            if not messages and not any(self._events.behind().values()):
                self._fresh = False
                return

    # Writing

    def _summon(self, shard: WatchShard) -> None:
        """Put before the courts what a watch has ready, and tell them until when that is everything."""
        summons = shard.take_summons()
        closed, origin = shard.watch.closed, str(shard.partition.number)
        last = {each.partition: number for number, each in enumerate(summons)}
        for number, (partition, end, frame) in enumerate(summons):
            headers = {"content-type": ARROW, _ORIGIN: origin, _END: str(end)}
            if last[partition] == number:
                headers[_UNTIL] = str(closed)
                shard.told[partition] = closed
            self._unsent.append(_Out(COHORTS, self._keys[partition], encode_frame(frame, self._heads), headers))
        for partition, key in enumerate(self._keys):
            # Courts that got nothing must know too, but a word a second is enough.
            if closed // SECOND > shard.told.get(partition, -SECOND) // SECOND:
                headers = {_ORIGIN: origin, _UNTIL: str(closed)}
                if not closed:
                    headers[_IDLE] = "1"
                shard.told[partition] = closed
                self._unsent.append(_Out(COHORTS, key, b"", headers))

    def _send(self) -> None:
        """Produce what waits. Raises Transient; what is left waits for the next call."""
        while self._unsent:
            out = self._unsent[0]
            self._producer.produce(out.topic, out.key, out.value, out.headers)
            self._unsent.popleft()

    def _flush(self) -> None:
        """Return when everything sent is durable. Raises Transient: then state goes back to its snapshots."""
        try:
            self._producer.flush()
            self._dead_letters.flush()
        except Transient:
            self._rewind = True
            raise

    # State

    def _load(self, partition: Partition) -> WatchShard | CourtShard:
        """Return a shard from its newest snapshot, or one that has read nothing yet."""
        kind = "watch" if partition.topic == FRAMES else "court"

        def read(data: bytes) -> WatchShard | CourtShard:
            shard = self._new(partition)
            restore(shard, Snapshot.from_bytes(data, kind, VERSION))
            return shard

        shard = self._snapshots.load(name_of(partition), read)
        if shard is None:
            shard = self._new(partition)
            _LOG.info("%s/%d: no snapshot; reading from the oldest message that is kept", *partition)
        if isinstance(shard, WatchShard):
            shard.heard_at = self._clock.now()
            shard.watch.resume(shard.heard_at, 0)
        return shard

    def _new(self, partition: Partition) -> WatchShard | CourtShard:
        made = WatchShard if partition.topic == FRAMES else CourtShard
        return made(partition.number, self._workshop)

    def _save_what_is_due(self, now: int) -> None:
        """Start to save one shard whose snapshot is old, and finish the one before it."""
        if self._saving is not None:
            if not self._saving.done.done():
                return
            self._settle()
        due = now - round(self._pace.snapshot_seconds * SECOND)
        partition = min(self._saved_at, key=self._saved_at.__getitem__, default=None)
        if partition is None or self._saved_at[partition] > due:
            return
        self._flush()
        self._save(partition, now)

    def _save(self, partition: Partition, now: int) -> None:
        shard: Shard = self._shards[partition]
        snapshot = snapshot_of(shard, now)
        self._saved_at[partition] = now

        def write() -> int:
            data = snapshot.to_bytes()
            self._snapshots.save(name_of(partition), data)
            return len(data)

        self._saving = _Saving(partition, shard.offset, self._saver.submit(write))

    def _settle(self) -> None:
        """Wait for the snapshot that is being saved, then commit its offset. Raises Transient: it was not saved."""
        saving, self._saving = self._saving, None
        if saving is None:
            return
        size = saving.done.result()
        self._stats.add("snapshots_saved_total")
        self._stats.set("snapshot_bytes", float(size), shard=name_of(saving.partition))
        if saving.partition in self._shards:
            self._consumers[saving.partition.topic].commit({saving.partition: saving.offset})

    def _go_back(self) -> None:
        """Forget what was done since the snapshots: some of what followed from it was not kept by the bus."""
        self.behind()  # no use before the bus is back
        self._stats.add("score_rewinds_total")
        _LOG.warning("the bus did not keep all output; going back to the last snapshots")
        self._unsent.clear()
        if self._saving is not None:
            self._saving.done.exception()
            self._saving = None
        for partition in sorted(self._shards):
            self._shards[partition] = self._load(partition)
        for topic, consumer in self._consumers.items():
            consumer.seek({each: shard.offset for each, shard in self._shards.items() if each.topic == topic})
        self._follow = True
        self._rewind = False

    def _watches(self) -> list[WatchShard]:
        return [shard for shard in self._shards.values() if isinstance(shard, WatchShard)]

    def _courts(self) -> list[CourtShard]:
        return [shard for shard in self._shards.values() if isinstance(shard, CourtShard)]

    def _tell(self) -> None:
        watches, courts = self._watches(), self._courts()
        self._stats.set("shards", float(len(watches)), stage="watch")
        self._stats.set("shards", float(len(courts)), stage="court")
        self._stats.set("series", float(sum(shard.series for shard in watches)))
        opened = sum(shard.open_findings for shard in watches) + sum(shard.room.open_findings for shard in courts)
        self._stats.set("findings_open", float(opened))


def _keys(partitions: int) -> tuple[bytes, ...]:
    """Return a key for each partition of ``cohorts`` that leads to it."""
    found: dict[int, bytes] = {}
    number = 0
    while len(found) < partitions:
        key = str(number).encode()
        found.setdefault(partition_of(key, partitions), key)
        number += 1
    return tuple(found[partition] for partition in range(partitions))
