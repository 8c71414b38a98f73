"""What is found in a single metric, and that it is found without looking ahead."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from models.one_metric import WARM_UP, OneMetric
from models.row_findings import Findings
from models.row_views import Prediction

Floats = NDArray[np.float64]
ROWS = 1200


def play(values: Floats, interval_seconds: int = 60, budget: float = 0.2) -> Findings:
    times = np.arange(len(values)) * interval_seconds * SECOND
    return OneMetric(budget).score(times, values[:, None])


def noise(spread: float, rows: int = ROWS, seed: int = 3) -> Floats:
    return np.random.default_rng(seed).normal(0.0, spread, rows)


def wave(period: int, rows: int = ROWS) -> Floats:
    return np.asarray(np.sin(2.0 * np.pi * np.arange(rows) / period), np.float64)


def stands_out(found: Findings, first: int, last: int, after: int = 40) -> bool:
    """Return whether the strangest row lies in the span, or just after it, where windows still hold it."""
    score = np.nan_to_num(found.score)
    score[:200] = 0.0
    return bool(first <= int(np.argmax(score)) <= last + after)


def test_it_says_nothing_before_its_warm_up_and_something_soon_after() -> None:
    found = play(noise(1.0, 200))
    assert np.isnan(found.score[:WARM_UP]).all()
    assert np.isfinite(found.score[WARM_UP:]).all()


def test_no_row_looks_at_a_later_one() -> None:
    values = wave(50) + noise(0.1)
    whole, part = play(values), play(values[:555])
    np.testing.assert_array_equal(whole.score[:555], part.score)
    np.testing.assert_array_equal(whole.flagged[:555], part.flagged)


def test_rows_may_come_a_few_at_a_time() -> None:
    values = (wave(50, 600) + noise(0.1, 600))[:, None]
    times = np.arange(600) * 60 * SECOND
    whole, bit = OneMetric(0.2).score(times, values), OneMetric(0.2)
    parts = [bit.score(times[start : start + 32], values[start : start + 32]) for start in range(0, 600, 32)]
    np.testing.assert_array_equal(whole.score, np.concatenate([part.score for part in parts]))


def test_a_spike_is_found_in_a_wave_of_unknown_period() -> None:
    values = wave(73) + noise(0.1)
    values[1000] += 1.5
    found = play(values)
    assert stands_out(found, 1000, 1000)
    assert found.flagged[1000]


@pytest.mark.parametrize(
    "kind", ["level shift", "flat line", "another pattern", "larger swings", "quicker swings", "rougher"]
)
def test_a_planted_change_stands_out(kind: str) -> None:
    values = wave(50) + noise(0.05)
    first, last = 900, 1000
    span = slice(first, last)
    values[span] = {
        "level shift": values[span] + 1.5,
        "flat line": np.full(100, values[first]),
        "another pattern": -values[span],
        "larger swings": 2.0 * values[span],
        "quicker swings": wave(31, 100) + noise(0.05, 100),
        "rougher": values[span] + noise(0.5, 100),
    }[kind]
    assert stands_out(play(values), first, last)


def test_a_trend_is_no_anomaly() -> None:
    assert play(np.arange(ROWS) * 0.01 + noise(0.5)).flagged.sum() == 0


@pytest.mark.slow
def test_noise_keeps_to_the_budget() -> None:
    false = [
        np.diff(play(noise(1.0, 3000, seed)).flagged.astype(np.int8), prepend=0).clip(0).sum() for seed in range(4)
    ]
    assert sum(false) <= 2 * 0.2 * 3 * 3000 / 1440


def test_a_change_of_unit_changes_no_score() -> None:
    values = wave(50) + noise(0.1)
    celsius, fahrenheit = play(values), play(values * 1.8 + 32.0)
    np.testing.assert_allclose(fahrenheit.score, celsius.score, atol=2e-3)


def test_missing_values_never_score_and_hide_nothing() -> None:
    values = wave(50) + noise(0.1)
    gone = np.random.default_rng(0).random(ROWS) < 0.1
    gone[1000] = False
    values[gone] = np.nan
    values[1000] += 2.0
    found = play(values)
    assert np.isnan(found.score[gone]).all()
    assert not found.flagged[gone].any()
    assert found.flagged[1000]


@pytest.mark.parametrize(
    "values",
    [np.full(300, 5.0), np.full(300, np.nan), np.zeros(0), np.zeros(1), np.full(300, 1e300), np.arange(50.0)],
    ids=["constant", "nothing", "empty", "one row", "huge", "short"],
)
def test_dull_files_break_nothing(values: Floats) -> None:
    found = play(values)
    assert len(found.score) == len(values)
    assert not found.flagged.any()


def test_what_was_expected_of_a_shifted_row_is_where_it_stood_before() -> None:
    values = 500.0 + noise(20.0)
    values[900:930] += 400.0
    found = play(values)
    assert found.flagged[905:930].all()
    assert found.expected[905:930] == pytest.approx(500.0, abs=30.0)


def test_irregular_times_with_gaps_are_steps_like_others() -> None:
    values = wave(50) + noise(0.1)
    values[1000] += 2.0
    steps = np.random.default_rng(2).integers(30, 90, ROWS)
    steps[400] = 86_400
    found = OneMetric(0.2).score(np.cumsum(steps) * SECOND, values[:, None])
    assert found.flagged[1000]
    assert found.flagged[64:1000].sum() == 0


def test_a_constant_that_changes_is_found() -> None:
    values = np.full(400, 5.0)
    values[300:310] = 6.0
    assert stands_out(play(values), 300, 310)


def test_equal_and_backward_times_break_nothing() -> None:
    values = noise(1.0, 300)[:, None]
    assert np.isfinite(OneMetric(0.2).score(np.zeros(300, np.int64), values).score[WARM_UP:]).all()


def test_pulses_that_come_often_are_predicted_whole() -> None:
    pulses = (np.arange(ROWS) % 50 < 10) + noise(0.02)
    known = ROWS // 50 * 50 - 50 + 5  # in the midst of a pulse
    seen = Prediction().see(pulses[: known + 1], known, 50)
    assert seen.expected[0] == pytest.approx(1.0, abs=0.15)


def test_when_only_windows_remember_an_anomaly_its_rows_are_no_longer_flagged() -> None:
    values = noise(1.0)
    fault = slice(900, 920)
    values[fault] += 12.0
    found = play(values)
    flagged = np.flatnonzero(found.flagged)
    assert flagged[0] == fault.start
    echo = flagged[flagged >= fault.stop]
    beyond = np.flatnonzero(found.tail[fault.stop : fault.stop + 100] < found.tail[flagged].max()) + fault.stop
    skipped = np.setdiff1d(beyond, echo)
    assert len(skipped)
    assert np.abs(values[skipped]).max() < np.abs(values[echo]).max()


def pulses(days: int = 12, period: int = 144) -> Floats:
    """Return a job that runs at the same time of every day."""
    phase = np.arange(days * period) % period
    return np.where((phase >= 54) & (phase < 108), 80.0, 20.0) + noise(1.5, days * period)


def test_a_job_that_does_not_run_is_found_while_it_does_not() -> None:
    values = pulses()
    day = slice(9 * 144 + 54, 9 * 144 + 108)
    values[day] = 20.0 + noise(1.5, 54, seed=8)
    found = play(values, interval_seconds=600)
    assert stands_out(found, day.start, day.stop, after=8)
    assert found.flagged[day].any()
    assert found.expected[day.start + 20] == pytest.approx(80.0, abs=5.0)


def test_a_week_end_is_stranger_on_its_first_day_than_on_its_next() -> None:
    values = pulses(days=21)
    quiet = np.repeat(np.isin(np.arange(21) % 7, (5, 6)), 144)
    values[quiet] = 20.0 + noise(1.5, int(quiet.sum()), seed=8)
    score = np.nan_to_num(play(values, interval_seconds=600).score).reshape(21, 144).max(axis=1)
    assert max(score[[12, 13, 19, 20]]) < score[5]


@pytest.mark.parametrize("digits", [1, 6])
def test_a_sensor_that_stands_still_within_its_range_is_found(digits: int) -> None:
    values = np.round(wave(150, 2400) * 8.0 + 50.0 + noise(2.0, 2400), digits)
    values[1700:1760] = values[1700]
    values[2100:2160] = values[2100]
    found = play(values, interval_seconds=300)
    for start in (1700, 2100):
        assert found.flagged[start + 25 : start + 60].all()
        assert found.still[start + 40] == 41
    assert np.count_nonzero(found.flagged[:1700]) <= 2
