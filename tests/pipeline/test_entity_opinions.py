from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from coldaisle.anomaly import Anomaly, Phase
from coldaisle.clock import SECOND
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.snapshot import Snapshot, collect_state, restore_state
from coldaisle.state import Stateful
from coldaisle.topology import Topology
from models.calibrate import TailCalibrator
from models.forest_nursery import Forests
from models.peers import Peers, PeersSettings
from pipeline.court import Bar, Bench, bench_of
from pipeline.engine_settings import EngineSettings
from pipeline.rounds import Round
from pipeline.rules import load
from pipeline.watch import ground_of

RULES = load(Path(__file__).resolve().parents[2] / "config" / "rules")
SETTINGS = EngineSettings(alert_budget_per_1000_gpus_per_day=1000.0)
START = 1_800_000_000
STEP_SECONDS = 30
GPUS = 24
USUAL = {
    "gpu_power_watts": (650.0, 5.0),
    "gpu_fan_speed_ratio": (0.5, 0.005),
    "gpu_memory_used_bytes": (7e10, 7e8),
    "gpu_memory_utilization_ratio": (0.6, 0.005),
    "gpu_pcie_transmit_bytes_per_second": (1e9, 1e7),
}
"""Mean and spread of each metric."""


class Hall:
    """Siblings of one job, judged by peers and a forest."""

    def __init__(self, kept: bytes | None = None) -> None:
        ground = ground_of(Topology(), SETTINGS)
        together = Forests(), TailCalibrator(1, 1)
        peers = (Peers(PeersSettings(warm_up=10)),)
        bar = Bar(peers, TailCalibrator(1, 8), RULES, SETTINGS, SelfStats(), together)
        self.ground = ground
        self.bench: Bench = bench_of(bar, *ground)
        self.found: list[Anomaly] = []
        if kept is None:
            self._begin()
        else:
            restore_state(self.parts(), Snapshot.from_bytes(kept, "court", 1).parts)

    def kept(self) -> bytes:
        return Snapshot("court", 1, 0, {}, collect_state(self.parts())).to_bytes()

    def _begin(self) -> None:
        series = [
            Series(metric, labels(node="n1", gpu=f"GPU-{number:02}")) for number in range(GPUS) for metric in USUAL
        ]
        table = self.ground.table
        ids = table.ids_of(series)
        table.take_fresh()
        self.ground.evidence.reset(ids)
        self.bench.reset(ids)
        table.group[ids] = np.tile(np.arange(len(USUAL)), GPUS)
        self.bench.admit(ids)
        self.bench.set_budget(GPUS, len(ids))

    def live(self, first: int, last: int, shifts: Mapping[str, float] | None = None) -> list[Anomaly]:
        """Live some ticks; ``shifts`` are in spreads, of GPU-07's metrics."""
        found: list[Anomaly] = []
        table = self.ground.table
        ids = np.arange(table.size)
        mean, spread = (np.tile([each[i] for each in USUAL.values()], GPUS) for i in range(2))
        away = np.zeros(len(ids))
        for metric, by in (shifts or {}).items():
            away[7 * len(USUAL) + list(USUAL).index(metric)] = by
        for tick in range(first, last):
            noise = np.random.default_rng(tick).normal(size=len(ids))
            end = (START + tick * STEP_SECONDS) * SECOND
            times, unknown = np.full(len(ids), end), np.full(len(ids), np.nan)
            values = mean + spread * (noise + away)
            gaps = np.full(len(ids), STEP_SECONDS * SECOND)
            self.ground.evidence.note(end, ids, values)
            found += self.bench.hear(end, Round(ids, times, values, unknown, gaps))
        self.found += found
        return found

    def parts(self) -> dict[str, Stateful]:
        ground = self.ground
        return {
            "table": ground.table, "evidence": ground.evidence, "findings": ground.findings, **self.bench.parts()
        }  # fmt: skip


STRANGE = {
    "gpu_power_watts": -9.5,
    "gpu_fan_speed_ratio": 10.0,
    "gpu_memory_utilization_ratio": -8.0,
    "gpu_pcie_transmit_bytes_per_second": -9.0,
}
CALM, ODD = 320, 350


@pytest.fixture(scope="module")
def calm() -> bytes:
    """More than two and a half hours of normal life, in which a forest has been grown."""
    hall = Hall()
    assert hall.live(0, CALM) == []
    return hall.kept()


def lived(calm: bytes, shifts: Mapping[str, float]) -> Hall:
    hall = Hall(calm)
    hall.live(CALM, ODD, shifts)
    return hall


def test_metrics_that_are_strange_together_are_one_finding_that_names_them_with_sides(calm: bytes) -> None:
    hall = lived(calm, STRANGE)
    (opened,) = hall.found
    assert (opened.rule, opened.entity, opened.phase) == ("strange_together", "gpu/GPU-07", Phase.OPENED)
    assert (opened.detector, opened.version) == ("isolation_forest", "grown-1")
    assert opened.updated_at - opened.started_at >= 300 * SECOND
    named = {each.metric: each.share for each in opened.contributions}
    assert set(named) <= set(STRANGE)
    assert len(named) >= 2
    assert sum(named.values()) == pytest.approx(1.0)
    assert opened.series is not None
    assert opened.series.metric in named
    assert ("GPU fan speed" in opened.explanation) == ("gpu_fan_speed_ratio" in named)
    assert "below" in opened.explanation
    assert "what its siblings show" in opened.explanation
    assert len(opened.peers) == GPUS - 1
    assert opened.window is not None


def test_it_closes_when_they_go_together_again(calm: bytes) -> None:
    hall = lived(calm, STRANGE)
    (closed,) = hall.live(ODD, ODD + 40)
    assert closed.phase is Phase.CLOSED
    assert closed.id == hall.found[0].id
    assert len(hall.ground.findings) == 0


def test_one_strange_metric_alone_is_left_to_its_own_rule(calm: bytes) -> None:
    assert lived(calm, {"gpu_fan_speed_ratio": 40.0}).found == []


def test_nothing_is_found_before_there_is_a_forest() -> None:
    hall = Hall()
    assert hall.live(0, 60) == []
    assert hall.live(60, 90, STRANGE) == []


def test_what_a_single_metric_has_told_is_not_told_again(calm: bytes) -> None:
    hall = lived(calm, {**STRANGE, "gpu_power_watts": -40.0})
    assert {each.rule for each in hall.found} == {"gpu_power_unlike_siblings"}


@pytest.mark.parametrize("stop", [CALM + 5])
def test_a_snapshot_is_gone_on_from_exactly(calm: bytes, stop: int) -> None:
    def live(hall: Hall, first: int, last: int) -> None:
        hall.live(first, min(last, ODD), STRANGE)
        hall.live(max(first, ODD), last)

    whole, before = Hall(calm), Hall(calm)
    live(whole, CALM, ODD + 30)
    live(before, CALM, stop)
    after = Hall(before.kept())
    live(after, stop, ODD + 30)
    assert before.found + after.found == whole.found
    assert [each.phase for each in whole.found] == [Phase.OPENED, Phase.CLOSED]
    assert after.kept() == whole.kept()


def test_findings_end_with_the_series_they_are_about(calm: bytes) -> None:
    hall = lived(calm, STRANGE)
    table = hall.ground.table
    mine = np.flatnonzero([table.entity_name(number) == "gpu/GPU-07" for number in range(table.size)])
    some, rest = mine[:2], mine[2:]
    at = (START + ODD * STEP_SECONDS) * SECOND
    assert hall.bench.gone(some, at) == []
    table.free(some.tolist())
    (closed,) = hall.bench.gone(rest, at)
    assert closed.phase is Phase.CLOSED
