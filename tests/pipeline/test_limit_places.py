"""Rules keep arrays only for series that they speak of, and none of them takes over what another left behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from coldaisle.anomaly import Anomaly, Phase
from coldaisle.clock import SECOND
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.topology import Topology
from pipeline.evidence import Evidence
from pipeline.findings import Findings
from pipeline.ingest import Ingest, Samples
from pipeline.limits import Limits
from pipeline.rounds import Rounds
from pipeline.rulebook import MetricRule
from pipeline.series_table import SeriesTable

LINK, LIMIT, PLAIN = "nic_link_speed_bits_per_second", "gpu_temperature_slowdown_celsius", "node_load_average"
RULES: tuple[dict[str, Any], ...] = (
    {"name": "slower", "metric": LINK, "below_peak_ratio": 0.5, "clear_seconds": 0.0},
    {"name": "hot", "metric": "gpu_temperature_celsius", "above_metric": LIMIT, "clear_seconds": 0.0},
)


class Room:
    """Limits on a table of their own."""

    def __init__(self) -> None:
        self.table = SeriesTable(Topology())
        self.rounds = Rounds(self.table, Ingest(self.table, SelfStats()))
        evidence, self.findings = Evidence(self.table, 5.0), Findings()
        self.evidence = evidence
        told = {"on": "metric", "severity": "page", "summary": "x"}
        rules = [MetricRule.model_validate(told | rule) for rule in RULES]
        self.limits = Limits(self.table, self.rounds, evidence, self.findings, rules)
        self.at = 0

    def hear(self, series: Sequence[Series], *values: float) -> list[Anomaly]:
        """Take one sample of each series."""
        self.at += SECOND
        ids = self.table.ids_of(series)
        fresh = self.table.take_fresh()
        for part in (self.rounds, self.evidence, self.limits):
            part.reset(fresh)
        samples = Samples(ids, np.full(len(ids), self.at), np.array(values))
        return [one for round_ in self.rounds.of(samples) for one in self.limits.check(round_)]

    def forget(self, *series: Series) -> list[Anomaly]:
        """Let series go as the watch does."""
        ids = np.array([self.table.find(one) for one in series])
        found = self.limits.gone(ids, self.at)
        self.table.free(ids.tolist())
        return found


def link(name: str) -> Series:
    return Series(LINK, labels(node="n1", nic=name))


def phases(found: list[Anomaly]) -> list[tuple[str, str, Phase]]:
    return [(one.rule, one.entity, one.phase) for one in found]


def test_a_series_that_no_rule_speaks_of_has_no_place_in_any_rules_arrays() -> None:
    room = Room()
    plain = [Series(PLAIN, labels(node=f"n{number}")) for number in range(5000)]
    room.hear([*plain, link("a")], *range(5000), 100.0)
    kept = room.limits.state()
    assert sum(value.nbytes for value in kept.values() if isinstance(value, np.ndarray)) < 100
    assert phases(room.hear([link("a")], 40.0)) == [("slower", "nic/n1:a", Phase.OPENED)]


def test_a_rule_finds_its_metric_among_tens_of_thousands_of_names() -> None:
    room = Room()
    plain = [Series(f"metric_{number}", labels(node="n1")) for number in range(33_000)]
    room.hear([*plain, link("a")], *range(33_000), 100.0)
    assert phases(room.hear([link("a")], 40.0)) == [("slower", "nic/n1:a", Phase.OPENED)]


def test_who_is_given_the_place_of_one_that_went_begins_anew() -> None:
    room = Room()
    room.hear([link("a"), link("b")], 400.0, 100.0)
    assert phases(room.hear([link("a")], 100.0)) == [("slower", "nic/n1:a", Phase.OPENED)]
    assert phases(room.forget(link("a"))) == [("slower", "nic/n1:a", Phase.CLOSED)]
    # The next one gets the id of the old and its place, but not its peak, nor its broken limit.
    assert room.hear([link("c"), link("b")], 100.0, 100.0) == []
    assert phases(room.hear([link("c"), link("b")], 40.0, 90.0)) == [("slower", "nic/n1:c", Phase.OPENED)]


def test_an_id_that_comes_back_under_another_metric_leaves_the_rules_of_the_first() -> None:
    room = Room()
    room.hear([link("a"), link("b")], 400.0, 100.0)
    room.forget(link("a"))
    gpu = labels(node="n1", gpu="GPU-1")
    hot = [Series("gpu_temperature_celsius", gpu), Series(LIMIT, gpu)]
    assert room.hear(hot, 80.0, 90.0) == []
    assert phases(room.hear(hot, 95.0, 90.0)) == [("hot", "gpu/GPU-1", Phase.OPENED)]
    assert phases(room.hear([*hot, link("b")], 85.0, 90.0, 100.0)) == [("hot", "gpu/GPU-1", Phase.CLOSED)]


def test_a_snapshot_knows_peaks_and_broken_limits_whatever_places_they_had() -> None:
    room, after = Room(), Room()
    room.hear([link("a"), link("b"), link("c")], 400.0, 100.0, 100.0)
    room.forget(link("a"))
    room.hear([link("d"), link("b")], 300.0, 40.0)
    for name in ("table", "findings", "rounds", "limits"):
        getattr(after, name).restore(getattr(room, name).state())
    after.at = room.at
    several = [link("b"), link("c"), link("d")]
    after.evidence.reset(np.arange(after.table.size))
    expected = phases(room.hear(several, 100.0, 60.0, 140.0))
    assert phases(after.hear(several, 100.0, 60.0, 140.0)) == expected
    assert expected == [("slower", "nic/n1:d", Phase.OPENED), ("slower", "nic/n1:b", Phase.CLOSED)]
