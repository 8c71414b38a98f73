"""What `coldaisle bench` says, on fleets small enough for a test."""

from __future__ import annotations

import json

import pytest

from cli import bench, bench_scoring
from cli.bench_fleet import SERIES_PER_NODE, START, Fleet
from cli.main import main
from coldaisle.clock import SECOND
from coldaisle.codec import decode_frame

TINY = bench.Sizes(2, 1, 1, 2, 2)


def test_every_node_of_the_fleet_is_scraped_once_an_interval_unless_the_scrape_is_lost() -> None:
    fleet = Fleet(200)
    frames = [decode_frame(message) for second in range(10) for message in fleet.messages(second)]
    nodes = {frame.node for frame in frames}
    assert len(nodes) == len(frames)
    assert 195 <= len(frames) <= 200
    assert {len(frame) for frame in frames} == {SERIES_PER_NODE}
    assert all(START <= frame.timestamps[0] < START + 10 * SECOND for frame in frames)


def test_a_fleet_of_one_seed_is_always_the_same() -> None:
    assert Fleet(5, seed=3).messages(4) == Fleet(5, seed=3).messages(4)


@pytest.mark.slow
def test_the_figures_are_positive_and_a_budget_says_whether_it_is_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "QUICK", TINY)
    monkeypatch.setattr(bench_scoring, "WARM_UP_SCRAPES", 2)
    assert main(["bench", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rates = {key: value for key, value in found.items() if key.endswith("_samples_per_second")}
    assert {"decode_samples_per_second", "scoring_samples_per_second", "parquet_write_samples_per_second"} <= set(rates)
    assert min(rates.values()) > 0
    assert found["machine"]["cores"] >= 1
    assert found["bytes_per_series_as_shipped"] > found["bytes_per_series"] > 0
    assert set(found["budgets_met"]) >= {"scoring_samples_per_second", "bytes_per_series", "scoring_growth_ratio"}


def test_the_table_tells_a_limit_from_a_goal() -> None:
    figures = [
        bench.Figure("a_samples_per_second", "a goal", 2e6, 1e6),
        bench.Figure("b", "a limit", 2000.0, 1024.0, at_most=True),
        bench.Figure("c", "a mere figure", 0.5),
    ]
    text = bench.table(figures, bench.machine())
    assert [line.split()[-1] for line in text.splitlines()[-3:]] == ["yes", "NO", "0.50"]
