"""A trained forecaster is shown each series on its own steps, asked at an even pace, and believed a minute later."""

from __future__ import annotations

import numpy as np
import pytest

from coldaisle.clock import MINUTE
from coldaisle.errors import ConfigError
from models.forecast.paths import LONGER, ForecastPaths, step_of
from models.forecast.served import Paths
from tests.models.forecast.foreteller import Foreteller, card

START = 30_000_000 * MINUTE  # a multiple of an hour
ROWS = np.array([0, 2])
LIMITS, SIDES = np.array([50.0, np.nan]), np.array([1, 1], np.int8)


def climbs(history: Paths, _last: int) -> Paths:
    """One degree a step from the last value on."""
    return np.asarray(history[:, -1:] + np.arange(1, 61, dtype=np.float32))


def shown(paths: ForecastPaths, minutes: range, value: float = 20.0) -> None:
    for minute in minutes:
        values = np.array([value, float(minute)])
        paths.move(START + minute * MINUTE, ROWS, values, LIMITS, SIDES)


def begun(encoder: int = 30, horizon: int = 60, step_seconds: float = 60.0) -> tuple[ForecastPaths, Foreteller]:
    foreteller = Foreteller(card(("a",), encoder, horizon, step_seconds), climbs)
    paths = ForecastPaths(foreteller)
    paths.admit(ROWS)
    return paths, foreteller


def test_it_is_asked_every_five_minutes_about_what_was_seen_in_order_and_only_once_enough_was() -> None:
    paths, foreteller = begun()
    shown(paths, range(1, 46))
    assert [len(history) for history, _, _ in foreteller.asked] == [2] * 7  # from minute 15, half of the past, on
    history, longer, last = foreteller.asked[-1]
    assert history.shape == (2, 30)
    assert history[1].tolist() == list(range(16, 46))
    assert last == START + 44 * MINUTE  # the step of the minute that ends at 45
    assert longer.shape == (2, LONGER + 10)
    assert np.unique(longer[1][np.isfinite(longer[1])])[:4].tolist() == [1.0, 4.0, 7.0, 10.0]  # every third step


def test_an_answer_is_believed_with_the_next_minute_and_its_time_runs_down() -> None:
    paths, _ = begun()
    shown(paths, range(1, 16))
    assert np.isnan(paths.foretold(START + 15 * MINUTE, ROWS).probability).all()
    shown(paths, range(16, 17))
    told = paths.foretold(START + 16 * MINUTE, ROWS)
    assert told.probability[0] > 0.99
    assert np.isnan(told.probability[1])  # there is no limit for it
    assert told.median_seconds[0] == pytest.approx(29 * 60.0, abs=61.0)
    assert told.high_seconds[0] == 59 * 60.0
    assert told.band[0, 1] == pytest.approx(80.0)
    later = paths.foretold(START + 20 * MINUTE, ROWS)
    assert later.median_seconds[0] == told.median_seconds[0] - 240.0
    assert np.isnan(paths.foretold(START + 30 * MINUTE, ROWS).probability).all()  # too old


def test_steps_of_five_minutes_take_the_last_value_of_each() -> None:
    paths, foreteller = begun(encoder=6, horizon=12, step_seconds=300.0)
    shown(paths, range(1, 41))
    history, _, last = foreteller.asked[-1]
    assert history[1].tolist() == [15.0, 20.0, 25.0, 30.0, 35.0, 40.0]
    assert last == START + 35 * MINUTE


def test_what_was_not_heard_is_a_gap_and_what_was_silent_for_long_is_not_asked_about() -> None:
    paths, foreteller = begun()
    shown(paths, range(1, 41))
    for minute in range(41, 46):
        heard = np.array([20.0, np.nan])
        paths.move(START + minute * MINUTE, ROWS, heard, LIMITS, SIDES)
    assert [len(history) for history, _, _ in foreteller.asked[-2:]] == [2, 1]
    shown(paths, range(46, 51))
    assert np.isnan(foreteller.asked[-1][0][1]).sum() == 5
    shown(paths, range(500, 506))
    assert len(foreteller.asked) == 8  # nothing was seen lately


def test_a_path_far_from_its_limit_is_known_not_to_reach_it() -> None:
    paths, _ = begun()
    for minute in range(1, 17):
        paths.move(START + minute * MINUTE, ROWS, np.array([20.0, 200.0]), np.array([90.0, 100.0]), -SIDES)
    told = paths.foretold(START + 16 * MINUTE, ROWS)
    assert told.probability.tolist() == [1.0, 0.0]  # below 90 already; 200 and rising is far from below 100


def test_a_row_that_was_forgotten_meanwhile_gets_no_answer_of_who_had_it_before() -> None:
    paths, _ = begun()
    shown(paths, range(1, 16))
    paths.forget(ROWS[:1])
    shown(paths, range(16, 17))
    assert np.isnan(paths.foretold(START + 16 * MINUTE, ROWS).probability[0])


def test_who_takes_over_from_a_snapshot_puts_the_question_under_way_again_and_says_the_same() -> None:
    (first, asked), (second, again) = begun(), begun()
    shown(first, range(1, 31))
    second.restore(first.state())
    assert len(again.asked) == 1
    for one, other in zip(asked.asked[-1], again.asked[0], strict=True):
        np.testing.assert_array_equal(one, other)
    for paths in (first, second):
        shown(paths, range(31, 52))
    told, same = (paths.foretold(START + 51 * MINUTE, ROWS) for paths in (first, second))
    for one, other in zip(told, same, strict=True):
        np.testing.assert_array_equal(one, other)
    assert told.probability[0] > 0.99


def test_steps_that_are_no_whole_minutes_are_refused_with_the_remedy() -> None:
    for seconds in (2.0, 90.0):
        with pytest.raises(ConfigError, match=r"by the minute; train one with .*--step 1m"):
            step_of(card(("a",), step_seconds=seconds))
