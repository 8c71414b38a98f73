"""The engine in virtual time: order, duplicates, resets, silence, and what is counted."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from coldaisle.anomaly import Anomaly, Phase
from coldaisle.clock import SECOND
from coldaisle.event import Event
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.severity import Severity
from coldaisle.topology import Topology
from pipeline.rule_examples import FirstLevel, PlainPeers, PlainTails
from pipeline.rulebook import RuleBook, ScoreRule, SilenceRule
from pipeline.scoring import Engine, EngineSettings
from pipeline.watermark import Watermark

START = 1_700_000_040 * SECOND
BOOK = RuleBook(
    [
        ScoreRule(
            name="strange", on="score", metrics=("*",), severity=Severity.TICKET, summary="{entity}", for_seconds=3
        ),
        SilenceRule(name="silent", on="silence", of="node", severity=Severity.PAGE, summary="{entity}"),
    ]
)


def engine(stats: SelfStats | None = None, topology: Topology | None = None) -> Engine:
    return Engine(
        [FirstLevel(), PlainPeers()],
        PlainTails(),
        BOOK,
        topology or Topology(),
        EngineSettings(allowed_lateness_seconds=3, grace_seconds=10),
        stats or SelfStats(),
    )


def heat(gpu: str, node: str = "n1") -> Series:
    return Series("gpu_temperature_celsius", labels(gpu=gpu, node=node))


def frame(second: float, *values: tuple[Series, float]) -> Frame:
    at = START + round(second * SECOND)
    return Frame.of("test", "n1", [Sample(series, at, value) for series, value in values])


def hall(second: int) -> Frame:
    values = [(heat(f"GPU-{i}"), 60.0) for i in range(4)]
    return frame(second, *values, (heat("GPU-h"), 60.0 if second < 5 else 75.0))


def brief(found: list[Anomaly]) -> list[tuple[str, str, str, int]]:
    return [(a.rule, a.entity, a.phase.value, a.started_at) for a in found]


def test_one_hot_gpu_among_its_siblings_is_found_and_explained() -> None:
    scorer, found = engine(), []
    for second in range(20):
        found += scorer.process([hall(second)], START + second * SECOND)
    [finding] = found
    assert finding.phase is Phase.OPENED
    assert finding.entity == "gpu/GPU-h"
    assert finding.started_at == START + 5 * SECOND
    assert finding.explanation.startswith("GPU temperature 75 °C, 15 °C above its 4 siblings (60 °C) since ")
    assert finding.window is not None
    assert set(finding.window.peers) == {f"gpu/GPU-{i}" for i in range(4)}


class Unsure(PlainTails):
    """A calibrator that has seen too little to call anything rarer than one in a hundred."""

    def tail(self, detector: int, family: NDArray[np.int32], score: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(super().tail(detector, family, score), 0.01)


def test_many_spreads_that_last_are_believed_before_anything_can_be_called_rare() -> None:
    found: dict[float, list[Anomaly]] = {}
    for certain in (4.0, 1000.0):
        limits = EngineSettings(allowed_lateness_seconds=3, grace_seconds=10, certain_spreads=certain)
        scorer = Engine([FirstLevel(), PlainPeers()], Unsure(), BOOK, Topology(), limits, SelfStats())
        found[certain] = [
            each for second in range(20) for each in scorer.process([hall(second)], START + second * SECOND)
        ]
    assert [each.entity for each in found[4.0]] == ["gpu/GPU-h"]
    assert found[1000.0] == []


@cache
def in_order() -> list[Anomaly]:
    straight = engine()
    return [each for second in range(30) for each in straight.process([hall(second)], START + 60 * SECOND)]


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.permutations(list(range(3))), st.integers(1, 7))
def test_the_order_of_arrival_within_the_lateness_changes_nothing(order: list[int], cut: int) -> None:
    seconds = list(range(30))
    shuffled = [second for start in range(0, 30, 3) for second in (seconds[start + i] for i in order)]
    mixed, expected = engine(), in_order()
    found: list[Anomaly] = []
    for start in range(0, 30, cut):
        found += mixed.process([hall(second) for second in shuffled[start : start + cut]], START + 60 * SECOND)
    # Batches decide how far the watermark has come, never what is found before it.
    assert brief(found) == brief(expected)[: len(found)]
    assert brief(found) == brief(expected)


def test_a_job_that_starts_withholds_its_members_opinions_for_a_while() -> None:
    scorer, found = engine(), []
    for second in range(12):
        if second == 5:
            event = Event("job", "start", START + 5 * SECOND, labels(job="j1"), "", {"nodes": "n1"})
            scorer.observe([event])
        found += scorer.process([hall(second)], START + second * SECOND)
    assert found == []


def test_everything_dropped_is_counted_with_its_reason() -> None:
    stats = SelfStats()
    scorer = engine(stats)
    counter = Series("gpu_energy_joules_total", labels(gpu="GPU-a", node="n1"))
    hot = heat("GPU-a")
    now = START + 100 * SECOND
    scorer.process([frame(0, (hot, 60.0), (counter, 100.0)), frame(0, (hot, 60.0))], now)
    scorer.process([frame(1, (hot, 999.0), (counter, 50.0)), frame(2, (hot, float("nan")))], now)
    scorer.process([frame(3, (hot, 140737488355328.0)), frame(500, (hot, 61.0))], now)
    scorer.process([frame(20, (hot, 60.0))], now)
    scorer.process([frame(2, (hot, 60.0))], now)
    reasons = (
        "duplicate",
        "out_of_range",
        "unread",
        "vendor_blank",
        "future",
        "late",
        "counter_first",
        "counter_reset",
    )
    assert {reason: stats.get("ingest_dropped_total", reason=reason) for reason in reasons} == dict.fromkeys(
        reasons, 1.0
    )
    assert stats.get("late_samples_total") == 1


def test_a_thousand_nodes_silent_at_once_are_a_thousand_findings_that_close_when_they_return() -> None:
    scorer = engine()
    series = [Series("node_power_watts", labels(node=f"n{i}")) for i in range(1000)]
    alive = Series("node_power_watts", labels(node="alive"))
    found: list[Anomaly] = []
    for second in range(0, 1200, 60):
        values = [(each, 100.0) for each in series] if not 300 < second < 900 else []
        found += scorer.process([frame(second, *values, (alive, 100.0))], START + second * SECOND)
    opened = [each for each in found if each.phase is Phase.OPENED]
    closed = [each for each in found if each.phase is Phase.CLOSED]
    assert len(opened) == len(closed) == 1000
    assert {each.started_at for each in opened} == {START + 300 * SECOND}
    assert {each.id for each in opened} == {each.id for each in closed}


def test_the_view_shows_counters_as_rates_and_keeps_its_names() -> None:
    scorer = engine()
    counter = Series("gpu_energy_joules_total", labels(gpu="GPU-a", node="n1"))
    for second in range(8):
        scorer.process([frame(second, (counter, 700.0 * second))], START + second * SECOND)
    first, second_view = scorer.view(), scorer.view()
    assert first.series == (counter,)
    assert first.entities == ("gpu/GPU-a",)
    assert np.allclose(first.values, [700.0])
    assert first.series is second_view.series


def test_a_fast_clock_does_not_make_everyone_else_late() -> None:
    watermark = Watermark(0)
    watermark.observe(100, now=50)
    assert watermark.value == 50


def test_the_watermark_moves_with_processing_time_while_nothing_comes() -> None:
    watermark = Watermark(10)
    watermark.observe(100, now=1000)
    watermark.advance(1030)
    watermark.advance(1020)
    assert watermark.value == 120


@settings(derandomize=True, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1))
def test_the_watermark_never_goes_back(moves: list[tuple[int, int]]) -> None:
    watermark = Watermark(5)
    reached: list[int] = []
    for timestamp, now in moves:
        watermark.observe(timestamp, now)
        watermark.advance(now)
        assert watermark.value is not None
        reached.append(watermark.value)
    assert reached == sorted(reached)
