"""What reaches the bus, and what happens to the rest while the bus is away."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from coldaisle.bus import EVENTS, FRAMES
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import ManualClock, SystemClock
from coldaisle.codec import decode_event, decode_frame, encode_event, encode_frame
from coldaisle.errors import Backpressure, ConfigError, Permanent, Transient
from coldaisle.event import Event
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from collectors.host.collector import HostCollector
from collectors.host.config import HostConfig
from collectors.scrape import scrape
from collectors.shipper import Shipper, ShipperSettings
from collectors.spool import Spool, Waiting


class FlakyProducer:
    """A bus that can be away, full or picky; what is not flushed is not durable."""

    def __init__(self) -> None:
        self.durable: list[tuple[str, bytes, bytes]] = []
        self.pending: list[tuple[str, bytes, bytes]] = []
        self.error: Exception | None = None
        self.flush_error: Exception | None = None
        self.refuses: bytes | None = None
        self.closes = 0

    def produce(self, topic: str, key: bytes, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        if self.error is not None:
            raise self.error
        if value == self.refuses:
            raise Permanent("too large")
        self.pending.append((topic, key, value))

    def flush(self) -> None:
        if self.flush_error is not None:
            self.pending.clear()
            raise self.flush_error
        self.durable += self.pending
        self.pending.clear()

    def close(self) -> None:
        self.closes += 1

    def values(self) -> list[str]:
        return [value.decode() for _, _, value in self.durable]


class Quay:
    """A shipper in virtual time that encodes a frame as its node."""

    def __init__(self, folder: Path | None = None, **settings: Any) -> None:
        self.clock, self.stats, self.producer = ManualClock(), SelfStats(), FlakyProducer()
        self.shipper = Shipper(
            self.producer,
            lambda frame: frame.node.encode(),
            lambda event: event.code.encode(),
            self.clock,
            self.stats,
            ShipperSettings(spool_dir=folder, **settings),
        )

    def ship(self, *nodes: str) -> None:
        for node in nodes:
            self.shipper.ship(frame(node), [])

    def drain(self) -> None:
        while self.shipper.step():
            continue

    def dropped(self, reason: str) -> float:
        return self.stats.get("shipper_messages_dropped_total", reason=reason)


def frame(node: str) -> Frame:
    return Frame.of("host", node, [Sample(Series("node_load_average", labels(node=node)), 1, 1.0)])


def test_frames_and_events_go_to_their_topics_keyed_by_node() -> None:
    quay = Quay()
    quay.shipper.ship(
        frame("n1"), [Event("xid", "79", 1, labels(node="n2")), Event("power", "lost", 1, labels(pdu="p1"))]
    )
    quay.drain()
    assert quay.producer.durable == [(FRAMES, b"n1", b"n1"), (EVENTS, b"n2", b"79"), (EVENTS, b"n1", b"lost")]


def test_while_the_bus_is_away_messages_wait_on_disk_and_go_out_afterwards(tmp_path: Path) -> None:
    quay = Quay(tmp_path)
    quay.producer.error = Transient("no broker")
    quay.ship("a", "b")
    quay.drain()
    quay.ship("c")
    assert quay.producer.durable == []
    quay.producer.error = None
    assert quay.shipper.step() is False, "it waits before it tries again"
    quay.clock.advance(60)
    quay.drain()
    assert sorted(quay.producer.values()) == ["a", "b", "c"]
    assert quay.stats.get("shipper_spool_bytes") == 0
    assert list(tmp_path.iterdir()) == []


def test_after_a_long_outage_catching_up_never_delays_what_is_new(tmp_path: Path) -> None:
    quay = Quay(tmp_path, batch_messages=4)
    quay.producer.error = Transient("no broker")
    quay.ship(*[f"old{number}" for number in range(20)])
    quay.drain()
    quay.producer.error = None
    quay.clock.advance(600)
    quay.shipper.step()
    assert quay.producer.values() == ["old0", "old1", "old2", "old3"], "nothing new waits"
    quay.ship("new0", "new1")
    quay.shipper.step()
    assert quay.producer.values()[4:6] == ["new0", "new1"]
    assert quay.producer.values()[6:] == ["old4", "old5"], "as many old ones follow as there were new ones"
    quay.drain()
    assert quay.producer.values()[8:] == [f"old{number}" for number in range(6, 20)]


def test_after_a_short_outage_everything_goes_out_in_order(tmp_path: Path) -> None:
    quay = Quay(tmp_path, batch_messages=4)
    quay.producer.error = Transient("no broker")
    quay.ship(*[f"old{number}" for number in range(6)])
    quay.drain()
    quay.producer.error = None
    quay.clock.advance(30)
    quay.ship("while away")
    quay.shipper.step()
    quay.ship("new0", "new1")
    assert quay.producer.values() == ["old0", "old1", "old2", "old3"]
    quay.drain()
    assert quay.producer.values()[4:] == ["old4", "old5", "while away", "new0", "new1"]


def test_while_the_bus_is_away_every_message_is_on_disk_when_shipping_returns(tmp_path: Path) -> None:
    killed = Quay(tmp_path)
    killed.producer.error = Transient("no broker")
    killed.ship("a")
    killed.drain()
    killed.ship("b", "c")
    following = Quay(tmp_path)
    following.drain()
    assert following.producer.values() == ["a", "b", "c"]


def test_its_state_says_in_words_how_sending_goes(tmp_path: Path) -> None:
    quay = Quay(tmp_path, spool_bytes=16_000)
    assert str(quay.shipper.state()) == "the bus takes messages"
    quay.producer.error = Transient("no broker")
    quay.ship(*["x" * 500] * 50)
    quay.drain()
    quay.clock.advance(90)
    state = quay.shipper.state()
    assert state.dropped_messages == quay.dropped("spool full") > 0
    assert state.oldest_seconds == 90
    assert str(state).startswith("the bus is away: no broker; ")
    assert "bytes wait on disk (9" in str(state)
    assert "% of its room), the oldest for 90 s; " in str(state)
    assert quay.stats.get("shipper_bus_away") == 1


def test_each_frame_says_which_process_sent_it() -> None:
    clock, stats, producer = ManualClock(), SelfStats(), FlakyProducer()
    for _ in range(2):
        shipper = Shipper(producer, encode_frame, encode_event, clock, stats)
        shipper.ship(frame("n1"), [])
        shipper.ship(frame("n1"), [])
        shipper.step()
    senders = [decode_frame(value).sender for _, _, value in producer.durable]
    assert senders[0] == senders[1] != senders[2] == senders[3]


def test_what_the_bus_did_not_confirm_is_sent_again(tmp_path: Path) -> None:
    quay = Quay(tmp_path)
    quay.producer.flush_error = Transient("leader lost")
    quay.ship("a", "b")
    quay.drain()
    quay.producer.flush_error = None
    quay.clock.advance(60)
    quay.drain()
    assert quay.producer.values() == ["a", "b"]


def test_a_full_bus_says_how_long_to_wait(tmp_path: Path) -> None:
    quay = Quay(tmp_path)
    quay.producer.error = Backpressure("full", retry_after_seconds=3.0)
    quay.ship("a")
    quay.drain()
    quay.producer.error = None
    quay.clock.advance(2.9)
    assert not quay.shipper.step()
    assert quay.producer.values() == []
    quay.clock.advance(0.2)
    quay.drain()
    assert quay.producer.values() == ["a"]


def test_without_a_spool_the_queue_is_bounded_and_the_oldest_go_first() -> None:
    quay = Quay(queue_messages=2)
    quay.producer.error = Transient("no broker")
    quay.ship("a", "b", "c")
    quay.drain()
    quay.producer.error = None
    quay.clock.advance(60)
    quay.drain()
    assert quay.producer.values() == ["b", "c"]
    assert quay.dropped("queue full") == 1


def test_a_message_that_the_bus_never_takes_is_dropped_and_counted(tmp_path: Path) -> None:
    quay = Quay(tmp_path)
    quay.producer.refuses = b"huge"
    quay.ship("a", "huge", "b")
    quay.drain()
    assert quay.producer.values() == ["a", "b"]
    assert quay.dropped("refused") == 1


def test_what_waits_when_the_process_ends_is_sent_by_the_next_one(tmp_path: Path) -> None:
    first = Quay(tmp_path)
    first.producer.error = Transient("no broker")
    first.ship("a")
    first.shipper.step()
    first.ship("b")
    first.shipper.stop()
    first.shipper.stop()
    assert first.producer.closes == 1
    second = Quay(tmp_path)
    second.drain()
    assert second.producer.values() == ["a", "b"]


def test_what_hangs_in_the_bus_when_the_process_ends_is_kept(tmp_path: Path) -> None:
    quay = Quay(tmp_path)
    entered, release = threading.Event(), threading.Event()

    def hang() -> None:
        entered.set()
        release.wait(10)

    quay.producer.flush = hang  # type: ignore[method-assign]
    quay.shipper.start()
    quay.ship("a", "b")
    assert entered.wait(10)
    quay.shipper.stop(timeout_seconds=0.05)
    following = Quay(tmp_path)
    following.drain()
    release.set()
    assert following.producer.values()[:1] == ["a"]
    assert sorted(following.producer.values()) == ["a", "b"]


def test_frames_of_a_real_collector_cross_the_memory_bus() -> None:
    clock, stats = SystemClock(), SelfStats()
    bus = MemoryBus(clock, stats)
    shipper = Shipper(bus.producer(), encode_frame, encode_event, clock, stats)
    sent, _ = scrape(HostCollector(HostConfig(), "n1"), "n1", clock)
    consumer = bus.consumer((FRAMES, EVENTS), "store")
    shipper.ship(sent, [Event("xid", "79", clock.now(), labels(node="n1", gpu="GPU-1"))])
    shipper.stop()
    got = {message.partition.topic: message.value for message in consumer.poll(10, 1.0)}
    assert decode_frame(got[FRAMES]).samples() == sent.samples()
    assert decode_event(got[EVENTS]).code == "79"
    bus.close()


def test_stopping_sends_what_waits() -> None:
    quay = Quay()
    quay.shipper.start()
    quay.ship("a", "b")
    quay.shipper.stop()
    assert quay.producer.values() == ["a", "b"]


def test_a_full_spool_drops_its_oldest_and_counts_them(tmp_path: Path) -> None:
    stats = SelfStats()
    spool = Spool(tmp_path, 16 * 100, stats)
    for number in range(100):
        spool.append(Waiting("frames", b"n1", f"{number:060d}".encode()))
    assert spool.held_bytes <= 16 * 100
    kept: list[int] = []
    while (found := spool.take(7)) is not None:
        kept += [int(message.value) for message in found.messages]
        spool.confirm(found)
    assert kept == list(range(kept[0], 100)), "the newest stay, in order"
    assert stats.get("shipper_messages_dropped_total", reason="spool full") == kept[0] > 0


@pytest.mark.parametrize("cut", range(1, 23))
def test_a_torn_tail_costs_only_the_torn_message(tmp_path: Path, cut: int) -> None:
    stats = SelfStats()
    spool = Spool(tmp_path, 1 << 20, stats)
    for text in (b"one", b"two"):
        spool.append(Waiting("frames", b"n1", text))
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-cut])
    found = Spool(tmp_path, 1 << 20, stats).take(10)
    assert found is not None
    assert [message.value for message in found.messages] == [b"one"]
    assert stats.get("shipper_messages_dropped_total", reason="spool torn") == 1


def test_a_spool_that_cannot_be_kept_is_refused_by_name(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("not a folder")
    with pytest.raises(ConfigError, match="the spool cannot be kept there"):
        Spool(place, 1000, SelfStats())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_loses_the_message_counts_it_and_goes_on(tmp_path: Path) -> None:
    stats = SelfStats()
    spool = Spool(tmp_path, 1 << 20, stats)
    (tmp_path / "000000000001.spool").symlink_to("/dev/full")
    spool.append(Waiting("frames", b"n1", b"lost"))
    spool.append(Waiting("frames", b"n1", b"kept"))
    assert stats.get("shipper_messages_dropped_total", reason="spool unwritable") == 1
    (tmp_path / "000000000001.spool").unlink()
    found = spool.take(10)
    assert found is not None
    assert [message.value for message in found.messages] == [b"kept"]
