"""What the nvml collector tells of healthy, sick, lost and absent GPUs, on our own stand-in for the driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coldaisle.catalogue import CATALOGUE
from coldaisle.config import load
from coldaisle.errors import ConfigError
from coldaisle.selfstats import prometheus_text
from collectors.nvml.config import NvmlConfig
from collectors.scrape import OWN_METRICS
from tests.collectors.golden import golden
from tests.collectors.nvml_stub import build, run

TESTDATA = Path(__file__).parents[2] / "collectors" / "nvml" / "testdata"
FIRST, SECOND = (f"GPU-{number:08x}-0000-0000-0000-000000000000" for number in range(2))

integration = pytest.mark.integration


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture(scope="module")
def old_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("old-nvml"), "-DOLD_DRIVER")


def gpus_in(scrape: dict[str, Any]) -> set[str]:
    return {dict(pairs)["gpu"] for _, pairs, _ in scrape["samples"] if "gpu" in dict(pairs)}


def value(scrape: dict[str, Any], metric: str, gpu: str | None = None) -> float | None:
    found = [v for name, pairs, v in scrape["samples"] if name == metric and (gpu is None or ["gpu", gpu] in pairs)]
    assert len(found) <= 1
    return found[0] if found else None


@integration
@pytest.mark.parametrize(
    "case", sorted(TESTDATA.glob("*.stub.txt")), ids=lambda path: path.name.removesuffix(".stub.txt")
)
def test_a_driver_gives_the_golden_samples(library: Path, tmp_path: Path, case: Path) -> None:
    scrape = run(library, tmp_path, [case.read_text(encoding="utf-8"), 0])["scrapes"][0]
    rows = sorted(
        (name, tuple((key, text) for key, text in pairs), number)
        for name, pairs, number in scrape["samples"]
        if name not in OWN_METRICS
    )
    text = prometheus_text(rows, {})
    assert text == golden(case.with_name(case.name.replace(".stub.txt", ".prom")), text)
    assert {name for name, _, _ in rows} <= CATALOGUE.keys()
    assert all(CATALOGUE[name].low <= number <= CATALOGUE[name].high for name, _, number in rows)


@integration
def test_an_old_driver_leaves_out_what_it_does_not_know_and_says_nothing(old_library: Path, tmp_path: Path) -> None:
    result = run(old_library, tmp_path, ["count 1\n", 0])
    metrics = {name for name, _, _ in result["scrapes"][0]["samples"]}
    assert {"gpu_temperature_margin_celsius", "gpu_throttle_reasons"}.isdisjoint(metrics)
    assert {"gpu_power_watts", "gpu_temperature_celsius"} <= metrics
    assert value(result["scrapes"][0], "collector_errors") == 0
    assert result["unread"] == {}


@integration
def test_a_gpu_that_hangs_is_left_out_and_the_others_go_on(library: Path, tmp_path: Path) -> None:
    result = run(
        library, tmp_path, ["count 2\n", 0, "count 2\n0.hang 30\n", 0, 0],
        gpu_deadline_seconds=0.5, deadline_seconds=5,
    )  # fmt: skip
    well, sick, still = result["scrapes"]
    assert gpus_in(well) == {FIRST, SECOND}
    assert gpus_in(sick) == gpus_in(still) == {SECOND}
    assert sick["up"]
    assert value(sick, "collector_errors") == 1
    assert value(sick, "gpu_count") == 2
    assert 0.4 < (value(sick, "collector_duration_seconds") or 0) < 3
    assert (value(still, "collector_duration_seconds") or 9) < 0.4, "nobody waits for it a second time"
    assert result["unread"] == {"deadline": 1, "still busy": 1}
    assert result["close_seconds"] < 3


@integration
def test_a_lost_gpu_is_one_event_and_its_series_are_missing(library: Path, tmp_path: Path) -> None:
    lost = "count 2\n1.return 15\n"
    result = run(library, tmp_path, ["count 2\n", 0, lost, 0, 0, "count 2\n", 0, lost, 0])
    well, gone, still, back, again = result["scrapes"]
    assert [gpus_in(s) for s in (well, gone, still, back)] == [{FIRST, SECOND}, {FIRST}, {FIRST}, {FIRST, SECOND}]
    assert gone["events"] == [["gpu", "lost", {"gpu": SECOND, "node": "n1"}]]
    assert still["events"] == back["events"] == []
    assert again["events"] == gone["events"], "lost anew is news"
    assert result["unread"] == {"lost": 3}


@integration
def test_a_gpu_that_was_lost_before_we_began_is_told_without_a_name(library: Path, tmp_path: Path) -> None:
    scrape = run(library, tmp_path, ["count 2\n1.return 15\n", 0])["scrapes"][0]
    assert gpus_in(scrape) == {FIRST}
    assert scrape["events"] == [["gpu", "lost", {"node": "n1"}]]


@integration
def test_one_call_that_fails_costs_one_metric(library: Path, tmp_path: Path) -> None:
    result = run(library, tmp_path, ["count 1\n0.power_mw.return 999\n0.temperature.return 4\n0.sm_mhz.return 3\n", 0])
    metrics = {name for name, _, _ in result["scrapes"][0]["samples"]}
    assert {"gpu_power_watts", "gpu_temperature_celsius", "gpu_clock_sm_hertz"}.isdisjoint(metrics)
    assert "gpu_energy_joules_total" in metrics
    assert result["unread"] == {"nvml error": 1, "permission": 1}


@integration
def test_an_xid_is_an_event_of_its_gpu_once(library: Path, tmp_path: Path) -> None:
    result = run(library, tmp_path, ["count 2\n", 0, "count 2\nxid.0 1 79\nxid.1 0 63\n", 1.0, 0.1])
    before, after, later = result["scrapes"]
    assert before["events"] == later["events"] == []
    assert after["events"] == [
        ["xid", "79", {"gpu": SECOND, "node": "n1"}],
        ["xid", "63", {"gpu": FIRST, "node": "n1"}],
    ]


@integration
def test_a_driver_without_event_sets_still_tells_the_rest(library: Path, tmp_path: Path) -> None:
    scrape = run(library, tmp_path, ["count 1\nevents 3\n", 0])["scrapes"][0]
    assert scrape["up"]
    assert gpus_in(scrape) == {FIRST}


@integration
def test_a_node_without_the_driver_is_absent_not_broken(tmp_path: Path) -> None:
    result = run(None, tmp_path, [0, 0])
    for scrape in result["scrapes"]:
        assert scrape["up"]
        assert value(scrape, "collector_errors") == 0
        assert [name for name, _, _ in scrape["samples"]] == list(OWN_METRICS)
    assert result["logged"] == ["no NVIDIA driver on this node (no libnvidia-ml.so.1): nothing to read"]


@integration
def test_where_gpus_are_expected_an_absent_driver_is_a_failure(tmp_path: Path) -> None:
    scrape = run(None, tmp_path, [0], expect_gpus=8)["scrapes"][0]
    assert not scrape["up"]
    assert "the NVIDIA driver does not answer" in scrape["reason"]


@integration
def test_fewer_gpus_than_expected_fail_the_scrape_but_are_told(library: Path, tmp_path: Path) -> None:
    scrape = run(library, tmp_path, ["count 1\n", 0], expect_gpus=8)["scrapes"][0]
    assert not scrape["up"]
    assert scrape["reason"] == "the driver sees 1 GPUs; 8 are expected"
    assert gpus_in(scrape) == {FIRST}


@integration
def test_a_driver_that_is_unloaded_and_loaded_again_is_found_again(library: Path, tmp_path: Path) -> None:
    result = run(library, tmp_path, ["count 1\n", 0, "driver 9\n", 0, 0, "count 2\n", 0])
    assert [scrape["up"] for scrape in result["scrapes"]] == [True, False, False, True]
    assert gpus_in(result["scrapes"][3]) == {FIRST, SECOND}


@integration
def test_a_gpu_that_is_added_is_found(library: Path, tmp_path: Path) -> None:
    result = run(library, tmp_path, ["count 1\n", 0, "count 2\n", 0])
    assert [gpus_in(scrape) for scrape in result["scrapes"]] == [{FIRST}, {FIRST, SECOND}]


def test_the_sample_configuration_is_accepted() -> None:
    sample = TESTDATA.parent / "sample.toml"
    assert load(sample, NvmlConfig).gpu_deadline_seconds == 5


def test_a_deadline_of_one_gpu_that_would_hide_the_others_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "nvml.toml"
    place.write_text("deadline_seconds = 5\ngpu_deadline_seconds = 5\n")
    with pytest.raises(ConfigError, match="one sick GPU would hide the others"):
        load(place, NvmlConfig)
