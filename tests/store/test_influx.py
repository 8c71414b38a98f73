from __future__ import annotations

import logging
import threading
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from pydantic import ValidationError

from coldaisle.clock import SECOND
from coldaisle.errors import Backpressure, ConfigError, Permanent, Transient
from coldaisle.event import Event
from coldaisle.frame import Block
from coldaisle.selfstats import SelfStats
from coldaisle.series import Layout, Series, labels
from coldaisle.store import influx_writer
from coldaisle.store.influx import InfluxStore
from coldaisle.store.influx_settings import InfluxConfig, InfluxQueueConfig
from tests.store.influx_stand_in import TOKEN, Refusal, StandIn

START = 1_763_780_400 * SECOND
LAYOUT = Layout([Series("m_watts", labels(node="n1"))])
AWAY = Refusal(500, "restarting")


def block(at: int, count: int = 10) -> Block:
    times = START + (at + np.arange(count)) * SECOND
    return Block(LAYOUT, np.zeros(count, np.int64), times, np.arange(count, dtype=np.float64))


def taken(stand_in: StandIn) -> list[int]:
    """Return the seconds of the samples that arrived, each once."""
    return sorted((int(line.rsplit(b" ", 1)[1]) - START) // SECOND for line in stand_in.taken.get("coldaisle", ()))


def queue(folder: Path, max_bytes: int = 1 << 20) -> InfluxQueueConfig:
    return InfluxQueueConfig(folder=folder).model_copy(update={"max_bytes": max_bytes})  # smaller than one may set


def wait_until(stand_in: StandIn, count: int) -> None:
    pause, deadline = threading.Event(), monotonic() + 60
    while len(taken(stand_in)) < count and monotonic() < deadline:
        pause.wait(0.01)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influx_writer, "_RETRY_SECONDS", 0.02)


def test_a_flush_leaves_everything_in_influxdb_and_nothing_on_the_disk(tmp_path: Path) -> None:
    with StandIn() as stand_in:
        store = InfluxStore(stand_in.config(queue=queue(tmp_path), batch_samples=25))
        store.write([block(0), block(10), block(20), block(30), block(40)])
        store.write_events([Event("xid", "79", START, labels(node="n1"))])
        store.flush()
        assert taken(stand_in) == list(range(50))
        assert len(stand_in.taken["coldaisle-events"]) == 1
        assert list(tmp_path.glob("*.queue")) == []
        store.close()


def test_while_influxdb_is_away_writes_go_on_and_are_sent_when_it_is_back(tmp_path: Path, hasty: None) -> None:
    with StandIn(lambda _: AWAY) as stand_in:
        stats = SelfStats()
        store = InfluxStore(stand_in.config(queue=queue(tmp_path)), stats=stats)
        for at in range(0, 100, 10):
            store.write([block(at)])
            store.flush()
        assert taken(stand_in) == []
        assert stats.get("store_queued_total") == 100
        assert stats.get("store_away") == 1
        stand_in.rule = lambda _: None
        wait_until(stand_in, 100)
        assert taken(stand_in) == list(range(100))
        store.close()
        assert stats.get("store_away") == 0
        assert stats.get("store_queue_bytes") == 0


def test_what_lies_on_the_disk_is_sent_by_the_next_process(tmp_path: Path, hasty: None) -> None:
    with StandIn(lambda _: AWAY) as stand_in:
        first = InfluxStore(stand_in.config(queue=queue(tmp_path)))
        first.write([block(0)])
        first.close()
        stand_in.rule = lambda _: None
        stats = SelfStats()
        second = InfluxStore(stand_in.config(queue=queue(tmp_path)), stats=stats)
        wait_until(stand_in, 10)
        empty_at = monotonic() + 60  # while it is not, what is written stands in line behind it, on the disk too
        while stats.get("store_queue_bytes") and monotonic() < empty_at:
            threading.Event().wait(0.01)
        second.write([block(10)])
        second.close()
        assert taken(stand_in) == list(range(20))


def test_a_full_queue_pushes_back_and_what_was_refused_can_be_written_again(tmp_path: Path, hasty: None) -> None:
    with StandIn(lambda _: AWAY) as stand_in:
        store = InfluxStore(stand_in.config(queue=queue(tmp_path, max_bytes=300), batch_samples=10))
        store.write([block(0)])
        store.flush()
        for at in range(10, 170, 10):
            store.write([block(at)])
        with pytest.raises(Backpressure, match="is full"):
            store.flush()
        with pytest.raises(Backpressure, match="is full"):
            store.write([block(170)])
        stand_in.rule = lambda _: None
        wait_until(stand_in, 170)
        store.write([block(170)])
        store.close()
        assert taken(stand_in) == list(range(180))


def test_without_a_queue_the_bus_keeps_what_influxdb_does_not_take(hasty: None) -> None:
    with StandIn(lambda _: AWAY) as stand_in:
        store = InfluxStore(stand_in.config(batch_samples=10))
        store.write([block(0)])
        with pytest.raises(Transient, match="500"):
            store.flush()
        for at in range(10, 160, 10):
            store.write([block(at)])
        with pytest.raises(Backpressure, match="16 batches wait for InfluxDB"):
            store.write([block(160)])
        stand_in.rule = lambda _: None
        wait_until(stand_in, 160)
        store.flush()
        assert taken(stand_in) == list(range(160))
        store.close()


def test_a_server_that_hangs_holds_a_writer_for_a_moment_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influx_writer, "_PATIENCE_SECONDS", 0.05)
    goes_on = threading.Event()

    def hangs(_: list[bytes]) -> None:
        goes_on.wait(20)

    with StandIn(hangs) as stand_in:
        store = InfluxStore(stand_in.config(queue=queue(tmp_path), batch_samples=10))
        for at in range(0, 300, 10):
            store.write([block(at)])
        store.flush()
        assert taken(stand_in) == []
        assert list(tmp_path.glob("*.queue")) != []
        goes_on.set()
        wait_until(stand_in, 300)
        assert taken(stand_in) == list(range(300))
        store.close()


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_a_person_must_mend_is_said_at_the_next_flush_and_nothing_is_called_durable(
    tmp_path: Path, hasty: None, status: int
) -> None:
    with StandIn(lambda _: Refusal(status, "no")) as stand_in:
        store = InfluxStore(stand_in.config(queue=queue(tmp_path)))
        store.write([block(0)])
        with pytest.raises(ConfigError, match="InfluxDB says: no") as caught:
            store.flush()
        assert TOKEN not in str(caught.value)
        assert list(tmp_path.glob("*.queue")) == []
        stand_in.rule = lambda _: None
        wait_until(stand_in, 10)
        store.close()
        assert taken(stand_in) == list(range(10))


def test_infinity_is_dropped_and_counted() -> None:
    with StandIn() as stand_in:
        stats = SelfStats()
        store = InfluxStore(stand_in.config(), stats=stats)
        layout = Layout([Series("m_watts", ())] * 3)
        store.write([Block(layout, np.arange(3), START + np.arange(3), np.array([np.inf, -np.inf, 1.0]))])
        store.flush()
        store.close()
        assert stats.get("store_samples_dropped_total", reason="infinite") == 2
        assert len(stand_in.taken["coldaisle"]) == 1


def test_a_defect_in_the_callback_loses_nothing_and_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(line: bytes, reason: str) -> None:
        raise ZeroDivisionError

    with StandIn(lambda _: Refusal(400, "bad dropped=10")) as stand_in, caplog.at_level(logging.ERROR):
        store = InfluxStore(stand_in.config(queue=queue(tmp_path)), reject=broken)
        store.write([block(0)])
        with pytest.raises(Permanent, match="ZeroDivisionError"):
            store.flush()
        stand_in.rule = lambda _: None
        wait_until(stand_in, 10)
        store.close()
        assert taken(stand_in) == list(range(10))


def test_a_store_that_is_open_for_reading_or_closed_takes_nothing() -> None:
    with StandIn() as stand_in:
        reader = InfluxStore(stand_in.config(), read_only=True)
        with pytest.raises(Permanent, match="open for reading only"):
            reader.write([block(0)])
        reader.close()
        store = InfluxStore(stand_in.config())
        store.close()
        with pytest.raises(Permanent, match="closed"):
            store.write_events([])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"url": "influx:8086"}, "write it as http://host:8086"),
        ({"url": "http://me:secret@host:8086"}, "a password does not belong"),
        ({"bucket": 'a"b'}, "printable letters"),
        ({"raw_days": 30, "minute_days": 7}, "minute_days must not be shorter than raw_days"),
        ({"minute_days": 0, "hour_days": 365}, "hour_days must not be shorter than minute_days"),
    ],
)
def test_settings_that_cannot_work_are_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words) as caught:
        InfluxConfig.model_validate({"url": "http://h:8086", "org": "o", "token": TOKEN} | given)
    assert TOKEN not in str(caught.value)
