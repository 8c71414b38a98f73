from __future__ import annotations

import numpy as np
import pytest

from coldaisle.clock import SECOND
from coldaisle.series import Series, labels
from coldaisle.state import collect_state, restore_state
from coldaisle.topology import Topology
from pipeline.entities import FRESH_SECONDS, Cells, Entities
from pipeline.series_table import SeriesTable

NOW = 1_700_000_000 * SECOND
DETECTORS = ("level", "peers")
METRICS = ("gpu_power_watts", "gpu_temperature_celsius", "gpu_clock_sm_hertz")


def gpu(metric: str, name: str, **more: str) -> Series:
    return Series(metric, labels(node="n1", gpu=name, **more))


class Rows:
    def __init__(self, *series: Series, heard: tuple[str, ...] = ("peers",)) -> None:
        self.table = SeriesTable(Topology())
        self.entities = Entities(self.table, DETECTORS, heard)
        self.ids = self.table.ids_of(series)
        self.entities.reset(self.ids)

    def note(self, spreads: list[float], detector: int = 1, at: int = NOW) -> None:
        values = np.array(spreads)
        self.entities.note(detector, self.ids, 100.0 + values, values, at)

    def cells(self) -> Cells:
        (only,) = self.entities.kinds_of(self.ids)
        return only

    def values(self, at: int = NOW) -> list[list[float]]:
        cells = self.cells()
        told: list[list[float]] = self.entities.rows(cells, np.arange(len(cells.entities)), at).values.tolist()
        return told


def three(*names: str) -> list[Series]:
    return [gpu(metric, name) for name in names for metric in METRICS]


def test_an_entity_is_a_row_and_a_metric_with_its_judge_a_column() -> None:
    rows = Rows(*three("b", "a"))
    rows.note([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    assert rows.cells().features == (
        "gpu_clock_sm_hertz/peers",
        "gpu_power_watts/peers",
        "gpu_temperature_celsius/peers",
    )
    assert rows.values() == [[6.0, 4.0, 5.0], [3.0, 1.0, 2.0]]  # by the entities' names


def test_of_several_sensors_the_one_furthest_away_stands_for_the_entity() -> None:
    sensors = [Series("node_fan_speed_rpm", labels(node="n1", sensor=f"Fan {number}")) for number in range(3)]
    others = [Series(name, labels(node="n1")) for name in ("node_power_watts", "node_load_average")]
    rows = Rows(*sensors, *others)
    rows.note([2.0, -7.0, np.nan, 1.0, np.nan])
    fan, load, power = 0, 1, 2
    told = rows.values()[0]
    assert [told[fan], told[power]] == [-7.0, 1.0]
    assert np.isnan(told[load])
    number, detector, value = rows.entities.behind(rows.cells(), 0, fan)
    assert (number, detector, value) == (int(rows.ids[1]), 1, 93.0)


def test_what_several_detectors_think_stands_side_by_side() -> None:
    rows = Rows(*three("a"), heard=("level", "peers"))
    rows.note([1.0, 2.0, 3.0])
    rows.note([7.0, 8.0, 9.0], detector=0)
    assert rows.cells().features[:2] == ("gpu_clock_sm_hertz/level", "gpu_clock_sm_hertz/peers")
    assert rows.values() == [[9.0, 3.0, 7.0, 1.0, 8.0, 2.0]]


def test_an_old_opinion_and_one_withdrawn_are_unknown() -> None:
    rows = Rows(*three("a"))
    rows.note([1.0, 2.0, 3.0])
    assert not np.isnan(rows.values(NOW + FRESH_SECONDS * SECOND)).any()
    assert np.isnan(rows.values(NOW + (FRESH_SECONDS + 1) * SECOND)).all()
    rows.note([1.0, np.nan, 3.0])
    assert np.isnan(rows.values()[0]).tolist() == [False, False, True]


def test_what_should_stand_still_and_what_counts_errors_take_no_part() -> None:
    other = [gpu("gpu_ecc_corrected_errors_total", "a"), Series("node_inlet_temperature_celsius", labels(node="n1"))]
    rows = Rows(*three("a"), *other)
    assert [cells.kind for cells in rows.entities.kinds_of(rows.ids)] == ["gpu"]
    assert len(rows.cells().features) == 3


def test_two_metrics_are_too_few_for_a_row() -> None:
    assert Rows(*three("a")[:2]).entities.kinds_of(np.array([0])) == []


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5), (5, 3, 1, 0, 2, 4)])
def test_the_order_in_which_series_came_does_not_matter(order: tuple[int, ...]) -> None:
    series = three("a", "b")
    rows = Rows(*(series[number] for number in order))
    rows.note([float(number) for number in order])
    assert rows.values() == [[2.0, 0.0, 1.0], [5.0, 3.0, 4.0]]


def test_series_that_come_and_go_are_laid_out_anew() -> None:
    rows = Rows(*three("a", "b"))
    rows.note([1.0] * 6)
    more = rows.table.ids_of([gpu("gpu_utilization_ratio", "a")])
    rows.entities.reset(more)
    assert np.isnan(rows.values()).tolist() == [[False, False, False, True]] * 2
    rows.table.free(rows.ids[:3].tolist())
    rows.entities.changed()
    assert len(rows.cells().entities) == 2  # a still has its utilisation
    rows.table.free(more.tolist())
    rows.entities.changed()
    assert rows.values() == [[1.0, 1.0, 1.0]]


def test_rows_are_the_same_after_a_snapshot() -> None:
    rows = Rows(*three("a", "b"))
    rows.note([1.0, 2.0, np.nan, 4.0, 5.0, 6.0])
    kept = collect_state({"table": rows.table, "entities": rows.entities})
    after = Rows()
    restore_state({"table": after.table, "entities": after.entities}, kept)
    after.ids = rows.ids
    np.testing.assert_array_equal(after.values(), rows.values())
    assert after.cells().features == rows.cells().features
