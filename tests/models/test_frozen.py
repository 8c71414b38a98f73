"""When the same value has come for too long."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.frozen import MOST_ROWS, YOUNG_ROWS, Frozen

Floats = NDArray[np.float64]


def noise(rows: int) -> Floats:
    return np.random.default_rng(1).normal(0.0, 1.0, rows)


def said(frozen: Frozen, values: Floats) -> Floats:
    return frozen.see(values)[0]


def test_noise_that_stands_still_is_rare_after_a_few_rows() -> None:
    frozen = Frozen()
    assert not said(frozen, noise(200)).any()
    decades = said(frozen, np.full(8, 0.5))
    assert not decades[:2].any()
    assert (np.diff(decades[1:]) > 2).all()  # 200 rows without a repeat: each is one in 200


def test_the_longest_run_so_far_is_nothing_new() -> None:
    frozen = Frozen()
    rests = np.concatenate([[row, *np.zeros(40)] for row in range(1, 10)])
    assert not said(frozen, rests).any()
    assert not said(frozen, np.zeros(30)).any()
    assert 0 < said(frozen, np.zeros(30)).max() < 1.0  # most values repeat, so that 20 more say little


def test_a_missing_value_neither_ends_a_run_nor_makes_it_longer() -> None:
    values = np.concatenate([noise(100), np.full(20, 7.0)])
    gaps = np.insert(values, 110, np.nan)
    whole, with_gap = Frozen(), Frozen()
    for part in (slice(0, 100), slice(100, None)):
        expected, seen = said(whole, values[part]), said(with_gap, gaps[part])
    assert seen[10] == 0.0
    np.testing.assert_array_equal(np.delete(seen, 10), expected)


def test_what_stays_for_long_is_a_new_life_and_the_next_time_is_told_again() -> None:
    frozen = Frozen()
    said(frozen, noise(200))
    decades = said(frozen, np.full(2 * MOST_ROWS, 1.0))
    assert decades[2:MOST_ROWS].all()
    assert not decades[MOST_ROWS + 5 :].any()
    said(frozen, noise(50))
    assert said(frozen, np.full(20, 2.0))[-1] > 6


def test_a_constant_from_the_beginning_says_nothing_while_young() -> None:
    assert not said(Frozen(), np.zeros(YOUNG_ROWS)).any()
