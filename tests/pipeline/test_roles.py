"""What the roles do with good messages, with poison, and with a sink that fails."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import cast

import pytest

from coldaisle.anomaly import Phase
from coldaisle.bus import DEADLETTERS, FRAMES, Message, Partition
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import SECOND, ManualClock
from coldaisle.codec import encode_frame
from coldaisle.errors import Backpressure, Permanent, Transient
from coldaisle.event import Event
from coldaisle.frame import Block, Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.severity import Severity
from coldaisle.store import MetricStore
from coldaisle.store.memory_metrics import InMemoryMetricStore
from coldaisle.topology import Topology
from pipeline.checkpoint import Checkpoint, Handover
from pipeline.deadletter import DeadLetters
from pipeline.roles import Reader, Scorer, Storer
from pipeline.rule_examples import PlainTails
from pipeline.rulebook import RuleBook, SilenceRule
from pipeline.scoring import Engine, EngineSettings


class Log:
    """A consumer and producer in one list, which remembers the order of what was asked of it."""

    def __init__(self, values: list[bytes]) -> None:
        self.messages = [Message(Partition(FRAMES, 0), i, b"n1", value, {}, 0) for i, value in enumerate(values)]
        self.asked: list[str] = []
        self.committed: dict[Partition, int] = {}
        self.produced: list[tuple[str, bytes, Mapping[str, str]]] = []
        self.full = False

    def poll(self, max_messages: int, timeout_seconds: float) -> list[Message]:
        taken, self.messages = self.messages[:max_messages], self.messages[max_messages:]
        return taken

    def commit(self, next_offsets: Mapping[Partition, int]) -> None:
        self.asked.append("commit")
        self.committed.update(next_offsets)

    def lag(self) -> int:
        return len(self.messages)

    def behind(self) -> Mapping[Partition, int]:
        return {Partition(FRAMES, 0): self.lag()}

    def seek(self, next_offsets: Mapping[Partition, int]) -> None:
        raise NotImplementedError

    def produce(self, topic: str, key: bytes, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.produced.append((topic, value, headers or {}))

    def flush(self) -> None:
        if self.full:
            raise Transient("the disk is full")
        self.asked.append("flush")

    def close(self) -> None:
        self.asked.append("close")


def frame(value: float, at: int) -> bytes:
    series = Series("node_power_watts", labels(node="n1"))
    return encode_frame(Frame.of("host", "n1", [Sample(series, at * SECOND, value)]))


def scorer(log: Log, stats: SelfStats) -> Scorer:
    engine = Engine([], PlainTails(), RuleBook(), Topology(), EngineSettings(), stats)
    reader = Reader(DeadLetters(log, stats, least=3), stats)
    return Scorer(log, log, engine, reader, ManualClock(100 * SECOND), stats)


def test_offsets_are_committed_after_everything_is_flushed() -> None:
    log = Log([frame(1.0, 90), frame(2.0, 91)])
    scorer(log, SelfStats()).step()
    assert log.asked == ["flush", "flush", "commit"]
    assert log.committed == {Partition(FRAMES, 0): 2}


def test_nothing_is_committed_when_a_sink_is_full_and_everything_once_it_is_not() -> None:
    log = Log([frame(1.0, 90)])
    checkpoint = Checkpoint(log, [log])
    checkpoint.store(log.poll(10, 0))
    log.full = True
    with pytest.raises(Transient, match="full"):
        checkpoint.commit()
    assert log.committed == {}
    log.full = False
    checkpoint.commit()
    assert log.committed == {Partition(FRAMES, 0): 1}
    assert not checkpoint.pending


def test_poison_goes_to_the_dead_letters_with_its_origin_and_reason_and_the_rest_is_scored() -> None:
    log, stats = Log([b"garbage", frame(1.0, 90)]), SelfStats()
    scorer(log, stats).step()
    [(topic, value, headers)] = log.produced
    assert (topic, value, headers["origin"]) == (DEADLETTERS, b"garbage", "frames/0/0")
    assert headers["reason"]
    assert stats.get("dead_letters_total", topic=FRAMES) == 1
    assert stats.total("samples_total") == 1


def test_too_much_poison_stops_the_role_with_a_clear_error() -> None:
    log = Log([b"garbage"] * 9)
    log.messages = [each._replace(key=b"n%d" % (each.offset % 3)) for each in log.messages]
    with pytest.raises(Permanent, match="messages of 'frames' cannot be read; 3 of 3 senders"):
        scorer(log, SelfStats()).step()
    assert log.committed == {}


@pytest.mark.parametrize(("noticed", "findings"), [(True, 0), (False, 1)])
def test_a_machine_that_slept_does_not_call_everybody_silent(noticed: bool, findings: int) -> None:
    clock, stats, log = ManualClock(100 * SECOND), SelfStats(), Log([])
    silent = SilenceRule(name="silent", on="silence", of="node", severity=Severity.PAGE, summary="{entity}")
    engine = Engine([], PlainTails(), RuleBook([silent]), Topology(), EngineSettings(), stats)
    role = Scorer(log, log, engine, Reader(DeadLetters(log, stats), stats), clock, stats)
    if noticed:
        role.notice_sleep(15.0)

    found = []
    for pause in [5] * 12 + [7200] + [5] * 12:
        clock.advance(pause)
        if pause > 5:
            found += role.step()  # wakes before anybody has spoken
        log.messages = [Message(Partition(FRAMES, 0), 0, b"n1", frame(1.0, clock.now() // SECOND), {}, 0)]
        found += role.step()

    assert sum(each.phase is Phase.OPENED for each in found) == findings
    assert stats.get("score_pauses_total") == float(noticed)


class Hesitant(InMemoryMetricStore):
    """Refuses the first write of each batch, and takes the next."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = False

    def write(self, frames: Iterable[Frame | Block]) -> None:
        self.refused = not self.refused
        if self.refused:
            raise Backpressure("not now")
        super().write(frames)


def test_what_a_store_refuses_once_is_stored_at_the_next_step_and_committed_only_then() -> None:
    log, store, clock, stats = Log([frame(1.0, SECOND), frame(2.0, 2 * SECOND)]), Hesitant(), ManualClock(), SelfStats()
    storer = Storer(log, store, Reader(DeadLetters(log, stats), stats), clock, flush_seconds=0.0)
    with pytest.raises(Backpressure):
        storer.step()
    storer.close()
    assert log.committed == {}
    assert storer.step() == 2
    assert log.committed == {Partition(FRAMES, 0): 2}
    ((_, _, values),) = store.query(store.metrics()[0], (), 0, 2**62)
    assert values.tolist() == [1.0, 2.0]


class Shelf:
    """A metric store that counts what it is given."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, int]] = []

    def write(self, frames: Iterable[Frame | Block]) -> None:
        self.kept += [(each.node, int(each.timestamps[0])) for each in frames if isinstance(each, Frame)]

    def write_events(self, events: Iterable[Event]) -> None:
        assert not list(events)

    def flush(self) -> None:
        """Everything is kept."""


def storer(bus: MemoryBus, shelf: Shelf, clock: ManualClock) -> Storer:
    handover, stats = Handover(), SelfStats()
    consumer = bus.consumer(Storer.topics, Storer.group, handover)
    reader = Reader(DeadLetters(bus.producer(), stats), stats)
    return Storer(consumer, cast("MetricStore", shelf), reader, clock, 5.0, handover)


def test_members_of_store_that_come_and_go_commit_what_they_hold_and_nothing_else() -> None:
    clock, shelf = ManualClock(100 * SECOND), Shelf()
    bus = MemoryBus(clock, SelfStats(), partitions=4)
    producer = bus.producer()
    members = [storer(bus, shelf, clock)]
    told = 0
    for second in range(60):
        for node in range(8):
            series = Series("node_power_watts", labels(node=f"n{node}"))
            frame = Frame.of("host", f"n{node}", [Sample(series, second * SECOND, 1.0)])
            producer.produce(FRAMES, frame.node.encode(), encode_frame(frame))
            told += 1
        if second in (10, 20):
            members.append(storer(bus, shelf, clock))
        if second == 41:
            members.pop(0).close()
        clock.advance(1.0)
        for member in members:
            member.step(0.0)
    clock.advance(6.0)
    for member in members:
        member.step(0.0)
    assert len(set(shelf.kept)) == told
    assert bus.consumer(("frames",), "store").lag() == 0, "what was stored was not committed"


def test_a_dead_letter_that_the_bus_refuses_loses_none_of_its_neighbours() -> None:
    clock, shelf, stats = ManualClock(100 * SECOND), Shelf(), SelfStats()
    log = Log([frame(1.0, 90), b"garbage", frame(2.0, 91)])
    letters = DeadLetters(log, stats, least=3)
    put, away = letters.put, [True]

    def refuse(message: Message, reason: str) -> None:
        if away.pop() if away else False:
            raise Transient("the bus is away")
        put(message, reason)

    letters.put = refuse  # type: ignore[method-assign]
    role = Storer(log, cast("MetricStore", shelf), Reader(letters, stats), clock, 0.0)
    with pytest.raises(Transient):
        role.step()
    role.step()
    assert [at for _, at in shelf.kept] == [90 * SECOND, 91 * SECOND]
    assert log.committed == {Partition(FRAMES, 0): 3}
