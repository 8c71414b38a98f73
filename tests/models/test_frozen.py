"""When the same value has come for too long."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.frozen import MOST_ROWS, YOUNG_ROWS, Frozen

Floats = NDArray[np.float64]


def noise(rows: int) -> Floats:
    return np.random.default_rng(1).normal(0.0, 1.0, rows)


def said(frozen: Frozen, values: Floats) -> Floats:
    return frozen.see(values[:, None])[0][:, 0]


def test_noise_that_stands_still_is_rare_after_a_few_rows() -> None:
    frozen = Frozen(1)
    assert not said(frozen, noise(200)).any()
    decades = said(frozen, np.full(8, 0.5))
    assert not decades[:2].any()
    assert (np.diff(decades[1:]) > 2).all()  # 200 rows without a repeat: each is one in 200


def test_the_longest_run_so_far_is_nothing_new() -> None:
    frozen = Frozen(1)
    rests = np.concatenate([[row, *np.zeros(40)] for row in range(1, 10)])
    assert not said(frozen, rests).any()
    assert not said(frozen, np.zeros(30)).any()
    assert 0 < said(frozen, np.zeros(30)).max() < 1.0  # most values repeat, so that 20 more say little


def test_a_missing_value_neither_ends_a_run_nor_makes_it_longer() -> None:
    values = np.concatenate([noise(100), np.full(20, 7.0)])
    gaps = np.insert(values, 110, np.nan)
    whole, with_gap = Frozen(1), Frozen(1)
    for part in (slice(0, 100), slice(100, None)):
        expected, seen = said(whole, values[part]), said(with_gap, gaps[part])
    assert seen[10] == 0.0
    np.testing.assert_array_equal(np.delete(seen, 10), expected)


def test_what_stays_for_long_is_a_new_life_and_the_next_time_is_told_again() -> None:
    frozen = Frozen(1)
    said(frozen, noise(200))
    decades = said(frozen, np.full(2 * MOST_ROWS, 1.0))
    assert decades[2:MOST_ROWS].all()
    assert not decades[MOST_ROWS + 5 :].any()
    said(frozen, noise(50))
    assert said(frozen, np.full(20, 2.0))[-1] > 6


def test_a_constant_from_the_beginning_says_nothing_while_young() -> None:
    assert not said(Frozen(1), np.zeros(YOUNG_ROWS)).any()


def test_metrics_are_looked_at_each_for_itself() -> None:
    random = np.random.default_rng(2)
    table = np.round(random.normal(0.0, 1.0, (600, 3)) * [100.0, 1.0, 0.1], 1)
    table[300:340, 0] = 5.0
    table[random.random(table.shape) < 0.05] = np.nan
    together, alone = Frozen(3), [Frozen(1) for _ in range(3)]
    for start in range(0, len(table), 70):
        rows = table[start : start + 70]
        decades, runs = together.see(rows)
        one_by_one = [one.see(rows[:, metric, None]) for metric, one in enumerate(alone)]
        np.testing.assert_array_equal(decades, np.hstack([each for each, _ in one_by_one]))
        np.testing.assert_array_equal(runs, np.hstack([each for _, each in one_by_one]))


def test_only_what_changes_often_and_repeats_itself_seldom_is_restless() -> None:
    frozen = Frozen(3)
    moves = noise(2500)
    table = np.stack((moves, np.where(np.arange(2500) % 4 == 0, moves, 0.0), np.ones(2500)), axis=1)
    frozen.see(table[:1000])
    assert not frozen.restless().any()  # too little is known yet
    frozen.see(table[1000:])
    assert frozen.restless().tolist() == [True, False, False]
