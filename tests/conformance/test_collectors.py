"""Every collector against the same checks."""

from __future__ import annotations

import _ctypes
import ctypes
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pynvml
import pytest

from coldaisle.catalogue import CATALOGUE, Kind
from coldaisle.clock import SECOND, ManualClock, SystemClock
from coldaisle.config import load, parse
from coldaisle.errors import ConfigError, Transient
from coldaisle.event import Event
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import labels_of
from collectors.host.collector import HostCollector
from collectors.host.config import HostConfig
from collectors.nvml.collector import nvml_collector
from collectors.nvml.config import NvmlConfig
from collectors.port import Collector, Unread
from collectors.prometheus.collector import PrometheusCollector
from collectors.prometheus.config import PrometheusConfig
from collectors.registry import COLLECTORS, config_of, spec_of
from collectors.scrape import OWN_METRICS, scrape
from tests.collectors.machine import make_machine
from tests.collectors.nvml_stub import build

NOW = 1_700_000_000 * SECOND
NODE = "n1"
FOLDER = Path(__file__).parents[2] / "collectors"


@dataclass
class Case:
    """A collector with a live source, and how that source dies."""

    collector: Collector
    kill: Callable[[], None]
    passes_names_on: bool = False  # metrics beyond the catalogue keep their names
    nodes: frozenset[str] = frozenset({NODE})  # whom it speaks of


@contextmanager
def host(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    proc, sys, root = make_machine(folder)
    collector = HostCollector(HostConfig(proc=proc, sys=sys, root=root), NODE)
    yield Case(collector, lambda: shutil.rmtree(proc))


@contextmanager
def prometheus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    page = (FOLDER / "prometheus" / "testdata" / "dcgm-exporter.txt").read_text(encoding="utf-8")
    dead: list[bool] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if dead:
            raise httpx.ConnectError("connection refused")
        return httpx.Response(200, text=page + "node_load1 2\nup 1\n")

    config = PrometheusConfig(url="http://target/metrics")
    collector = PrometheusCollector(config, NODE, SelfStats(), httpx.MockTransport(answer))
    yield Case(collector, lambda: dead.append(True), True, frozenset({NODE, "gpu-n017"}))


@contextmanager
def nvml(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    # Loaded before nvidia-ml-py looks for the same name, and unloaded after it, so that no other test sees it.
    preloaded = ctypes.CDLL(str(build(folder) / "libnvidia-ml.so.1"), mode=ctypes.RTLD_GLOBAL)
    stub = folder / "stub.txt"
    stub.write_text("count 2\nxid.0 1 79\n", encoding="utf-8")
    monkeypatch.setenv("NVML_STUB", str(stub))
    collector = nvml_collector(NvmlConfig(gpu_deadline_seconds=5), NODE, SystemClock(), SelfStats())

    def kill() -> None:
        stub.write_text("driver 9\n", encoding="utf-8")

    try:
        yield Case(collector, kill)
    finally:
        collector.close()
        for library in (preloaded, pynvml.nvmlLib):
            if library is not None:
                _ctypes.dlclose(library._handle)
        pynvml.nvmlLib = None
        pynvml._nvmlGetFunctionPointer_cache.clear()


CASES = {"host": host, "nvml": nvml, "prometheus": prometheus}
PARAMETERS = [pytest.param(name, marks=pytest.mark.integration if name == "nvml" else ()) for name in sorted(CASES)]


@pytest.fixture(params=PARAMETERS)
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Case]:
    with CASES[request.param](tmp_path, monkeypatch) as made:
        yield made


def read(case: Case, times: int = 1) -> list[Sample | Event | Unread]:
    return [item for _ in range(times) for item in case.collector.collect(NOW)]


def frame_of(case: Case) -> Frame:
    return scrape(case.collector, NODE, ManualClock(NOW))[0]


def test_every_registered_collector_is_checked_here() -> None:
    assert set(CASES) == set(COLLECTORS)


def test_it_reads_something_and_misses_nothing(case: Case) -> None:
    items = read(case)
    assert sum(isinstance(item, Sample) for item in items) > 10
    assert [item for item in items if isinstance(item, Unread)] == []


def test_its_metrics_are_in_the_catalogue_or_passed_on_as_they_came(case: Case) -> None:
    unknown = {item.series.metric for item in read(case) if isinstance(item, Sample)} - CATALOGUE.keys()
    assert case.passes_names_on or not unknown


def test_its_values_are_such_as_the_catalogue_expects(case: Case) -> None:
    for item in read(case, 2):
        if isinstance(item, Sample) and item.series.metric in CATALOGUE:
            metric = CATALOGUE[item.series.metric]
            assert metric.low <= item.value <= metric.high, item


def test_its_counters_and_only_they_end_in_total(case: Case) -> None:
    for item in read(case):
        if isinstance(item, Sample) and item.series.metric in CATALOGUE:
            counter = CATALOGUE[item.series.metric].kind is Kind.COUNTER
            assert item.series.metric.endswith("_total") == counter, item.series


def test_every_series_and_every_event_names_its_node(case: Case) -> None:
    for item in read(case):
        if isinstance(item, Sample):
            assert item.series.label("node") in case.nodes
        elif isinstance(item, Event):
            assert item.label("node") in case.nodes


def test_its_labels_are_canonical_and_none_is_empty(case: Case) -> None:
    for item in read(case):
        if isinstance(item, Sample):
            assert item.series.labels == labels_of(item.series.labels)
            assert all(name and value for name, value in item.series.labels)


def test_its_samples_carry_the_time_of_the_scrape_where_the_source_has_none(case: Case) -> None:
    assert {item.timestamp for item in read(case) if isinstance(item, Sample)} == {NOW}


def test_no_series_comes_twice_in_a_scrape(case: Case) -> None:
    series = [item.series for item in read(case) if isinstance(item, Sample)]
    assert len(series) == len(set(series))


def test_its_layout_settles(case: Case) -> None:
    frame_of(case)  # shares of time need a scrape before
    assert frame_of(case).layout == frame_of(case).layout


def test_its_frame_says_that_it_is_up(case: Case) -> None:
    found = {s.series.metric: s for s in frame_of(case).samples() if s.series.metric in OWN_METRICS}
    assert found.keys() == set(OWN_METRICS)
    assert found["collector_up"].value == 1.0
    assert dict(found["collector_up"].series.labels) == {"collector": case.collector.name, "node": NODE}


def test_a_dead_source_is_transient_and_a_frame_all_the_same(case: Case) -> None:
    read(case)
    case.kill()
    with pytest.raises(Transient):
        read(case)
    (up,) = (s.value for s in frame_of(case).samples() if s.series.metric == "collector_up")
    assert up == 0.0


def test_closing_twice_or_before_a_scrape_is_harmless(case: Case) -> None:
    case.collector.close()
    case.collector.close()


def test_closing_after_a_scrape_is_harmless_twice(case: Case) -> None:
    read(case)
    case.collector.close()
    case.collector.close()


@pytest.mark.parametrize("word", sorted(COLLECTORS))
def test_its_folder_has_a_sample_that_its_configuration_accepts_and_a_page_that_names_every_key(word: str) -> None:
    config = load(FOLDER / word / "sample.toml", COLLECTORS[word].config)
    page = (FOLDER / word / "README.md").read_text(encoding="utf-8")
    assert [key for key in type(config).model_fields if f"`{key}`" not in page] == []


@pytest.mark.parametrize("word", sorted(COLLECTORS))
def test_it_can_be_built_from_its_section(word: str) -> None:
    section = {"url": "http://127.0.0.1:9/metrics"} if word == "prometheus" else {}
    config = config_of(word, {**section, "interval_seconds": 30, "name": "mine"}, "up.toml")
    spec = spec_of(word, config, SystemClock(), SelfStats(), NODE)
    assert (spec.collector.name, spec.node, spec.interval_seconds) == ("mine", NODE, 30)
    spec.collector.close()


@pytest.mark.parametrize("word", sorted(COLLECTORS))
def test_a_misspelt_key_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="interval_second"):
        parse({"url": "http://x/", "interval_second": 1}, COLLECTORS[word].config, "up.toml")


def test_an_unknown_collector_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="there is no collector 'hots'; there are host, nvml, prometheus"):
        config_of("hots", {}, "up.toml")
