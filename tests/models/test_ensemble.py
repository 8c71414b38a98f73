"""One entity's metrics together: what its rows are held against, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from models.ensemble import WARM_UP, Ensemble
from models.row_findings import Findings

Floats = NDArray[np.float64]

MINUTE = 60 * SECOND
START = 1_700_000_000 * SECOND
ROWS = 900
FAULT = slice(700, 730)


def life(seed: int = 1, rows: int = ROWS, fault: bool = True) -> Floats:
    """Two metrics that follow a load, one that keeps another's time and one that never moves."""
    random = np.random.default_rng(seed)
    load = np.cumsum(random.normal(0.0, 0.2, rows)) + 50.0
    values = np.stack((
        load * 10.0 + random.normal(0.0, 2.0, rows), load + random.normal(0.0, 0.3, rows),
        random.normal(5.0, 1.0, rows), np.full(rows, 4.0),
    ), axis=1)  # fmt: skip
    if fault:
        values[FAULT, 0] += random.normal(120.0, 40.0, len(values[FAULT]))
    return values


def scored(values: Floats, budget: float = 0.2) -> Findings:
    times = START + np.arange(len(values)) * MINUTE
    return Ensemble(values.shape[1], budget).score(times, values)


def test_a_fault_is_found_while_it_lasts_and_its_metric_named() -> None:
    found = scored(life())
    flagged = np.flatnonzero(found.flagged)
    assert len(flagged)
    assert FAULT.start <= flagged[0] < FAULT.start + 10
    assert flagged[-1] < FAULT.stop + 10
    assert (found.ranked[flagged, 0] == 0).all()


def test_there_is_no_opinion_while_warming_up_and_none_of_a_row_without_values() -> None:
    values = life()
    values[500] = np.nan
    found = scored(values)
    assert np.isnan(found.score[:WARM_UP]).all()
    assert np.isnan(found.score[500])
    assert not found.flagged[500]
    assert not np.isnan(found.score[np.r_[WARM_UP:500, 501:ROWS]]).any()


@settings(derandomize=True, max_examples=8, deadline=None)
@given(cut=st.integers(WARM_UP, ROWS - 1), seed=st.integers(0, 3))
def test_no_row_depends_on_a_later_one(cut: int, seed: int) -> None:
    values = life(seed)
    whole, prefix = scored(values), scored(values[:cut])
    for part, full in zip(prefix, whole, strict=True):
        np.testing.assert_array_equal(part, full[:cut])


def test_rows_may_come_in_any_portions_of_whole_blocks() -> None:
    values = life()
    times = START + np.arange(len(values)) * MINUTE
    ensemble = Ensemble(values.shape[1], 0.2)
    parts = [ensemble.score(times[rows], values[rows]) for rows in (slice(0, 250), slice(250, 900))]
    np.testing.assert_array_equal(np.concatenate([part.score for part in parts]), scored(values).score)


@settings(derandomize=True, max_examples=8, deadline=None)
@given(
    scale=st.sampled_from([1e-9, 0.01, 3.0, 1e12]), shift=st.sampled_from([0.0, -40.0, 1e5]), metric=st.integers(0, 3)
)
def test_the_unit_of_a_metric_does_not_matter(scale: float, shift: float, metric: int) -> None:
    values = life(2)
    other = values.copy()
    other[:, metric] = (values[:, metric] + shift) * scale
    one, two = scored(values), scored(other)
    np.testing.assert_allclose(two.score, one.score, atol=1e-4)
    np.testing.assert_array_equal(two.flagged, one.flagged)


@pytest.mark.parametrize("wild", [np.nan, 1e300, -1e300, 0.0])
def test_one_bad_metric_does_not_blind_the_others(wild: float) -> None:
    values = life()
    bad = np.full((len(values), 1), wild)
    bad[::7] = 0.0 if not np.isnan(wild) else np.nan
    found = scored(np.hstack((values, bad)))
    assert found.flagged[FAULT].any()
    assert (found.ranked[found.flagged, 0] == 0).all()


def test_neither_a_passing_usual_value_nor_the_way_back_from_it_is_blamed() -> None:
    values = life()
    tide = 500.0 * np.sin(2.0 * np.pi * np.arange(ROWS) / (FAULT.start * 4 / 5))  # highest when the fault begins
    tide[FAULT.start - 1] = 0.0  # a large step, but to where it often is
    found = scored(np.hstack((values, tide[:, None])))
    flagged = np.flatnonzero(found.flagged[FAULT]) + FAULT.start
    assert len(flagged)
    assert (found.ranked[flagged, 0] == 0).all()


def test_an_anomaly_keeps_the_name_of_what_it_began_with() -> None:
    values = life(fault=False)
    random = np.random.default_rng(3)
    values[FAULT, 0] += random.normal(120.0, 40.0, len(values[FAULT]))
    dragged = slice(FAULT.start + 8, FAULT.stop)
    values[dragged, 2] += random.normal(400.0, 200.0, len(values[dragged]))  # later, and far wilder
    found = scored(values)
    flagged = np.flatnonzero(found.flagged[FAULT]) + FAULT.start
    assert flagged[0] < dragged.start < flagged[-1]
    assert (found.ranked[flagged] == found.ranked[flagged[0]]).all()
    assert (found.ranked[flagged, 0] == 0).all()
    assert found.begins[flagged].tolist() == [True] + [False] * (len(flagged) - 1)


def test_the_same_rows_get_the_same_answer() -> None:
    for one, two in zip(scored(life()), scored(life()), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_gap_in_time_is_no_step() -> None:
    values = life(fault=False)
    values[600:] += 30.0  # everything went on elsewhere while nobody looked
    times = START + np.arange(len(values)) * MINUTE
    times[600:] += 3600 * 24 * SECOND
    ensemble = Ensemble(values.shape[1], 0.2)
    after = ensemble.score(times, values)
    assert np.nanmax(after.score[600:610]) < np.nanmax(scored(values).score[600:610])


def test_a_larger_budget_never_flags_fewer_rows() -> None:
    few, many = scored(life(), 0.05), scored(life(), 5.0)
    assert not (few.flagged & ~many.flagged).any()
    np.testing.assert_array_equal(few.score, many.score)


def test_normal_life_keeps_quiet() -> None:
    assert not scored(life(3, rows=3000, fault=False)).flagged.any()
