"""Whatever fails and whoever is killed: nothing that was put aside is lost, and no node's messages change places."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldaisle.clock import SECOND, ManualClock
from coldaisle.errors import Backpressure, ConfigError, Transient
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from collectors.shipper import Shipper, ShipperSettings
from collectors.spool import Spool, Waiting

NODES = ("n1", "n2", "n3")


class MoodyBus:
    """A bus that fails at random, before, within and after a batch; what it took before it failed stays taken."""

    def __init__(self, chance: random.Random, trouble: float) -> None:
        self.durable: list[bytes] = []
        self.trouble = trouble
        self._chance = chance
        self._pending: list[bytes] = []

    def produce(self, topic: str, key: bytes, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._perhaps_fail(0.1)
        self._pending.append(value)

    def flush(self) -> None:
        taken = self._chance.randint(0, len(self._pending))
        whole, self._pending = self._pending, []
        self.durable += whole[:taken]
        self._perhaps_fail(1.0)
        self.durable += whole[taken:]

    def close(self) -> None: ...

    def _perhaps_fail(self, share: float) -> None:
        if self._chance.random() < self.trouble * share:
            self._pending = []
            if self._chance.random() < 0.5:
                raise Backpressure("full", retry_after_seconds=1.0)
            raise Transient("no broker")


def shipper_of(folder: Path, bus: MoodyBus, clock: ManualClock, stats: SelfStats) -> Shipper:
    return Shipper(
        bus,
        lambda frame: f"{frame.node} {frame.values[0]:.0f}".encode(),
        lambda event: b"",
        clock,
        stats,
        ShipperSettings(folder, batch_messages=3, order_seconds=3600.0, spool_bytes=2000 * 16),
    )


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.0, 0.9))
def test_nothing_is_lost_and_each_nodes_order_is_kept(
    tmp_path_factory: pytest.TempPathFactory, seed: int, trouble: float
) -> None:
    chance, clock, stats = random.Random(seed), ManualClock(), SelfStats()
    folder = tmp_path_factory.mktemp("spool")
    bus = MoodyBus(chance, trouble)
    shipper = shipper_of(folder, bus, clock, stats)
    sent = 0
    for _ in range(60):
        act = chance.random()
        if act < 0.5:
            for _ in range(chance.randint(1, 5)):
                sent += 1
                node = chance.choice(NODES)
                sample = Sample(Series("node_load_average", labels(node=node)), 1, float(sent))
                shipper.ship(Frame.of("host", node, [sample]), [])
        elif act < 0.85:
            shipper.step()
        elif act < 0.95:
            clock.advance(chance.random() * 5)
        else:
            # An orderly stop, or SIGKILL: only what was still in memory, because the bus took everything, may go.
            if chance.random() < 0.5 or shipper.state().queue_messages:
                shipper.stop()
            shipper = shipper_of(folder, bus, clock, stats)
    bus.trouble = 0.0
    clock.advance(60)
    while shipper.step():
        continue

    arrived = [(node, int(number)) for node, number in (value.decode().split() for value in bus.durable)]
    assert {number for _, number in arrived} == set(range(1, sent + 1))
    for node in NODES:
        first_times = list(dict.fromkeys(number for have, number in arrived if have == node))
        assert first_times == sorted(first_times)
    assert stats.total("shipper_messages_dropped_total") == 0
    assert list(folder.iterdir()) == []


def test_a_backlog_of_an_outage_is_gone_in_a_few_rounds_in_order(tmp_path: Path) -> None:
    clock, stats = ManualClock(), SelfStats()
    bus = MoodyBus(random.Random(1), trouble=1.0)
    shipper = Shipper(
        bus, lambda frame: b"%d" % frame.timestamps[0], lambda event: b"", clock, stats, ShipperSettings(tmp_path)
    )
    while clock.now() < 30 * SECOND or shipper.state().oldest_seconds is None:
        for node in range(20):
            shipper.ship(Frame.of("host", f"n{node}", [Sample(Series("m", ()), clock.now(), 1.0)]), [])
        shipper.step()
        clock.advance(1)
    bus.trouble = 0.0
    bus.durable.clear()
    clock.advance(29)
    rounds = 1
    while shipper.step():
        rounds += 1
    times = [int(value) for value in bus.durable]
    assert len(times) == 600
    assert times == sorted(times)
    assert rounds <= 4


def test_what_a_newer_version_spooled_is_refused_by_name_and_kept(tmp_path: Path) -> None:
    Spool(tmp_path, 1 << 20, SelfStats()).append(Waiting("frames", b"n1", b"x", 1))
    (segment,) = tmp_path.iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"CDSPOOL2", b"CDSPOOL3"))
    with pytest.raises(ConfigError, match=r"a newer Coldaisle wrote it .format 3; this one knows 2.; start"):
        Spool(tmp_path, 1 << 20, SelfStats())
    assert segment.exists()
