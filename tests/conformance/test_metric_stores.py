"""Every metric store must pass every check. A new store only adds itself to STORES."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from coldaisle.clock import HOUR, SECOND, ManualClock
from coldaisle.event import Event
from coldaisle.frame import Block, Frame
from coldaisle.matcher import parse
from coldaisle.series import Layout, Series, labels
from coldaisle.store import MetricStore
from coldaisle.store.influx import InfluxStore
from coldaisle.store.memory_metrics import InMemoryMetricStore
from coldaisle.store.parquet import ParquetStore
from tests.integration.influx_server import InfluxProcess, config_of

START = 1_763_780_400 * SECOND + 123_456_789  # nanoseconds must survive


def influx(folder: Path, request: pytest.FixtureRequest) -> MetricStore:
    """Buckets of its own on the one real server of this file."""
    server: InfluxProcess = request.getfixturevalue("influx_server")
    config = config_of(server, next(BUCKETS), folder)
    server.make_bucket(config.bucket)
    server.make_bucket(config.event_bucket)
    return InfluxStore(config)


def memory(_: Path, __: pytest.FixtureRequest) -> MetricStore:
    return InMemoryMetricStore()


def parquet(folder: Path, _: pytest.FixtureRequest) -> MetricStore:
    return ParquetStore(folder, ManualClock(START))


ON_INFLUX = (pytest.mark.integration, pytest.mark.influxdb, pytest.mark.xdist_group("influxdb"))
STORES = [memory, parquet, pytest.param(influx, marks=ON_INFLUX)]
BUCKETS = (f"hall{number}" for number in count())


@pytest.fixture(params=STORES, ids=lambda make: make.__name__)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MetricStore]:
    made: MetricStore = request.param(tmp_path / "store", request)
    yield made
    made.close()


@pytest.fixture(params=[False, True], ids=["waiting", "flushed"])
def settle(request: pytest.FixtureRequest) -> Callable[[MetricStore], None]:
    """What is written must be found before a flush and after it."""
    return (lambda store: store.flush()) if request.param else (lambda store: None)


def frame(node: str, times: list[int], values: list[float], metric: str = "gpu_power_watts") -> Frame:
    series = Series(metric, labels(gpu=f"GPU-{node}", node=node))
    return Frame("nvml", node, Layout([series] * len(times)), np.array(times), np.array(values))


Settle = Callable[[MetricStore], None]


def test_what_was_written_is_found_to_the_nanosecond(store: MetricStore, settle: Settle) -> None:
    store.write([frame("n1", [START, START + 1], [1.5, float("nan")])])
    settle(store)
    (line,) = store.query("gpu_power_watts", (), START, START + 1)
    assert line.series == Series("gpu_power_watts", labels(gpu="GPU-n1", node="n1"))
    assert line.timestamps.tolist() == [START, START + 1]
    assert line.values[0] == 1.5
    assert np.isnan(line.values[1])


def test_the_same_sample_twice_is_one(store: MetricStore) -> None:
    for value in (1.0, 1.0):
        store.write([frame("n1", [START], [value])])
        store.flush()
    store.write([frame("n1", [START], [1.0])])
    (line,) = store.query("gpu_power_watts", (), START, START)
    assert line.values.tolist() == [1.0]


def test_lines_come_sorted_by_series_and_time_whatever_the_order_written(store: MetricStore, settle: Settle) -> None:
    store.write([frame("n2", [START], [2.0]), frame("n1", [START + SECOND], [1.1])])
    store.flush()
    store.write([frame("n1", [START], [1.0])])
    settle(store)
    lines = store.query("gpu_power_watts", (), START, START + HOUR)
    assert [line.series.label("node") for line in lines] == ["n1", "n2"]
    assert lines[0].values.tolist() == [1.0, 1.1]


def test_matchers_and_the_span_choose(store: MetricStore, settle: Settle) -> None:
    store.write([frame(f"n{i}", [START + i * HOUR], [float(i)]) for i in range(4)])
    settle(store)
    found = store.query("gpu_power_watts", parse('node=~"n[123]", gpu!="GPU-n2"'), START, START + 2 * HOUR)
    assert [line.values.tolist() for line in found] == [[1.0]]
    assert store.query("nothing_watts", (), START, START + HOUR) == []


def test_a_block_of_many_nodes_is_taken(store: MetricStore, settle: Settle) -> None:
    layout = Layout(Series("node_power_watts", labels(node=f"n{i}")) for i in range(3))
    store.write([Block(layout, np.array([2, 0]), np.array([START, START]), np.array([2.0, 0.5]))])
    settle(store)
    found = store.query("node_power_watts", (), START, START)
    assert [(line.series.label("node"), line.values.tolist()) for line in found] == [("n0", [0.5]), ("n2", [2.0])]
    assert store.series("node_power_watts") == [layout.series[0], layout.series[2]]


def test_a_series_without_a_node_gets_that_of_its_frame(store: MetricStore, settle: Settle) -> None:
    layout = Layout([Series("m_watts", labels(sensor="a"))])
    store.write([Frame("c", node, layout, np.array([START]), np.array([1.0])) for node in ("n1", "n2")])
    settle(store)
    assert store.series("m_watts") == [Series("m_watts", labels(node=n, sensor="a")) for n in ("n1", "n2")]


def test_a_long_line_is_thinned_and_keeps_its_extremes(store: MetricStore, settle: Settle) -> None:
    values = np.sin(np.arange(5_000) / 50.0)
    values[1234], values[4321] = 99.0, -99.0
    times = START + np.arange(5_000) * SECOND
    store.write([frame("n1", times.tolist(), values.tolist())])
    settle(store)
    (line,) = store.query("gpu_power_watts", (), START, int(times[-1]), max_points=100)
    assert 50 < len(line.timestamps) <= 100
    assert (line.values.min(), line.values.max()) == (-99.0, 99.0)
    assert np.all(np.diff(line.timestamps) > 0)


def test_no_more_lines_than_asked_for(store: MetricStore, settle: Settle) -> None:
    store.write([frame(f"n{i}", [START], [1.0]) for i in range(9)])
    settle(store)
    assert len(store.query("gpu_power_watts", (), START, START, max_series=4)) == 4
    assert len(store.series("gpu_power_watts", limit=3)) == 3


def test_metrics_and_series_are_listed(store: MetricStore, settle: Settle) -> None:
    store.write([frame("n1", [START], [1.0], metric) for metric in ("b_watts", "a_watts")])
    settle(store)
    assert store.metrics() == ["a_watts", "b_watts"]
    assert store.series("a_watts", parse('node="n1"')) == [Series("a_watts", labels(gpu="GPU-n1", node="n1"))]
    assert store.series("a_watts", parse('node="n2"')) == []


def test_events_come_newest_first_and_once(store: MetricStore, settle: Settle) -> None:
    first = Event("xid", "79", START, labels(node="n1"), "GPU has fallen off the bus.", {"pci": "0000:1b:00"})
    second = Event("link", "down", START + HOUR, labels(node="n2"))
    store.write_events([first, second])
    settle(store)
    store.write_events([first])
    assert store.events(START, START + HOUR) == [second, first]
    assert store.events(START, START + HOUR, parse('node="n1"')) == [first]
    assert store.events(START, START + HOUR, limit=1) == [second]
    assert store.events(START + 1, START + 2) == []


def test_retention_deletes_the_old_and_keeps_the_new(store: MetricStore) -> None:
    store.write([frame("n1", [START, START + 3 * HOUR], [1.0, 2.0]), frame("old", [START], [3.0])])
    store.flush()
    assert store.retain(START + 2 * HOUR) == 2
    lines = store.query("gpu_power_watts", (), 0, START + 4 * HOUR)
    assert [line.values.tolist() for line in lines] == [[2.0]]
    assert [series.label("node") for series in store.series("gpu_power_watts")] == ["n1"]


def test_closing_twice_is_safe(store: MetricStore) -> None:
    store.write([frame("n1", [START], [1.0])])
    store.close()
    store.close()
    assert isinstance(store, ParquetStore | InMemoryMetricStore | InfluxStore)
