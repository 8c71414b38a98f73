"""Rows for the series that a detector hears, and for no others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.series_columns import SeriesColumns

FRESH = {"value": np.float64(0), "slot": np.int32(-1)}
IDS = st.lists(st.integers(0, 300), unique=True, max_size=12).map(lambda ids: np.array(sorted(ids), np.int64))


def test_one_series_in_a_million_costs_little_more_than_the_number_of_its_row() -> None:
    columns = SeriesColumns(FRESH)
    columns.admit(np.array([1_000_000]))
    columns["value"][columns.where(np.array([1_000_000]))] = 7.0
    assert len(columns["value"]) <= 256
    assert sum(array.nbytes for array in columns.state().values()) < 100


def test_rows_that_follow_one_another_are_read_as_a_slice() -> None:
    columns = SeriesColumns(FRESH)
    columns.admit(np.array([3, 10, 17]))
    assert columns.where(np.array([3, 10, 17])) == slice(0, 3)


def test_who_was_never_admitted_or_is_forgotten_is_refused() -> None:
    columns = SeriesColumns(FRESH)
    columns.admit(np.array([3, 4]))
    columns.forget(np.array([4]))
    for number in (4, 5, 100_000):
        with pytest.raises(IndexError):
            columns.where(np.array([3, number]))


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["admit", "forget", "clear", "write"]), IDS), max_size=20))
def test_each_series_keeps_what_was_written_for_it_and_a_new_one_finds_nothing(
    story: list[tuple[str, np.ndarray]],
) -> None:
    columns, written = SeriesColumns(FRESH), 0.0
    known: dict[int, float] = {}
    for what, ids in story:
        if what == "admit":
            columns.admit(ids)
            known |= {number: known.get(number, 0.0) for number in ids.tolist()}
        elif what == "forget":
            columns.forget(ids)
            known = {number: value for number, value in known.items() if number not in ids}
        elif what == "clear":
            columns.clear(ids)
            known |= {number: 0.0 for number in ids.tolist() if number in known}
        else:
            mine = np.array([number for number in ids.tolist() if number in known], np.int64)
            written += 1.0
            columns["value"][columns.where(mine)] = written
            known |= dict.fromkeys(mine.tolist(), written)
    after = SeriesColumns(FRESH)
    after.restore(columns.state())
    ids = np.array(sorted(known), np.int64)
    for each in (columns, after):
        assert each["value"][each.where(ids)].tolist() == [known[number] for number in ids.tolist()]
        assert len(np.unique(np.arange(10_000)[each.where(ids)])) == len(ids)
