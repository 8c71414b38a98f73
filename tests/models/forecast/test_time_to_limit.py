"""Time to limit says when, with a probability that comes true as often as it says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from coldaisle.clock import MINUTE, SECOND
from models.forecast.time_to_limit import TimeToLimit

Floats = NDArray[np.float64]


def lived(values: Floats, step_ns: int = 30 * SECOND) -> TimeToLimit:
    """Return one that has seen ``values`` [steps, series]."""
    time_to_limit, ids = TimeToLimit(), np.arange(values.shape[1])
    time_to_limit.admit(ids)
    for step, row in enumerate(values):
        time_to_limit.learn(ids, np.full(len(ids), (step + 1) * step_ns), row)
    return time_to_limit


def test_a_steady_ramp_is_foretold_to_the_minute() -> None:
    random = np.random.default_rng(1)
    steps = np.arange(240)[:, None]
    level = 60.0 + 0.05 * np.maximum(steps - 120, 0)  # 0.1 degC a minute for an hour
    crossing = lived(level + random.normal(0, 0.3, (240, 50))).within(np.arange(50), np.full(50, 68.0), 3600.0)
    assert np.median(crossing.probability) > 0.7
    assert np.median(crossing.seconds_median) == pytest.approx((68.0 - level[-1, 0]) / 0.05 * 30, rel=0.1)
    assert np.all(crossing.seconds_low <= crossing.seconds_median)
    assert np.all(crossing.seconds_median <= crossing.seconds_high)


def test_noise_below_its_limit_raises_no_alarm() -> None:
    noise = np.random.default_rng(2).normal(60.0, 1.0, (300, 200))
    crossing = lived(noise).within(np.arange(200), np.full(200, 64.0), 3600.0)
    assert np.mean(crossing.probability > 0.2) < 0.01
    assert np.all(crossing.probability < 0.8)


def test_what_falls_towards_a_lower_limit_crosses_it_too() -> None:
    charge = 100.0 - 0.2 * np.arange(200)[:, None] + np.random.default_rng(3).normal(0, 0.1, (200, 2))
    crossing = lived(charge).within(np.arange(2), np.array([50.0, 150.0]), 3600.0, np.array([-1, 1], np.int8))
    assert crossing.probability[0] > 0.95
    assert crossing.probability[1] < 0.01
    assert crossing.seconds_median[1] == np.inf


def test_a_level_beyond_its_limit_has_crossed() -> None:
    crossing = lived(np.random.default_rng(4).normal(90.0, 0.5, (100, 1))).within(np.arange(1), np.array([80.0]), 600.0)
    assert crossing.probability[0] == pytest.approx(1.0)
    assert crossing.seconds_high[0] == 0.0


def test_nothing_is_said_before_the_warm_up_or_without_a_limit() -> None:
    few = lived(np.random.default_rng(5).normal(0, 1, (20, 1)))
    assert np.isnan(few.within(np.arange(1), np.array([5.0]), 600.0).probability).all()
    many = lived(np.random.default_rng(5).normal(0, 1, (60, 1)))
    assert np.isnan(many.within(np.arange(1), np.array([np.nan]), 600.0).seconds_high).all()


def _walks(random: np.random.Generator, series: int, steps: int) -> tuple[Floats, Floats, Floats]:
    scale = random.lognormal(0, 1, series)
    path = np.cumsum(scale * random.normal(size=(steps, series)), axis=0)
    return path, path, scale * random.uniform(1, 40, series)


def _ramps(random: np.random.Generator, series: int, steps: int) -> tuple[Floats, Floats, Floats]:
    scale = random.lognormal(0, 1, series)
    since = np.maximum(np.arange(steps)[:, None] - random.integers(50, steps - 100, series), 0)
    level = since * scale * 10 ** random.uniform(-2, 0.3, series)
    return level, level + scale * random.normal(size=level.shape), scale * 10 ** random.uniform(0.7, 2, series)


@pytest.mark.parametrize("kind", [pytest.param(_walks, marks=pytest.mark.slow), _ramps])
def test_within_so_many_minutes_comes_true_as_often_as_said(kind: object) -> None:
    assert callable(kind)
    steps, series, step_seconds = 300, 400, 30.0
    level, seen, limits = kind(np.random.default_rng(6), series, steps)
    time_to_limit, ids = TimeToLimit(), np.arange(series)
    time_to_limit.admit(ids)
    came, said = [], []
    crossed = level >= limits
    for step in range(steps):
        time_to_limit.learn(ids, np.full(series, round((step + 1) * step_seconds * SECOND)), seen[step])
        if step < 60 or step % 20:
            continue
        crossing = time_to_limit.within(ids, limits, 40 * step_seconds)
        first = np.where(crossed[step:].any(axis=0), crossed[step:].argmax(axis=0), steps * 99) * step_seconds
        told = np.isfinite(crossing.seconds_high) & (first > 0) & (step + crossing.seconds_high / step_seconds < steps)
        came.append(first[told] <= crossing.seconds_high[told])
        likely = (crossing.probability > 0.5) & (first > 0) & (step + 40 < steps)
        said.append(np.stack([crossing.probability[likely], first[likely] <= 40 * step_seconds]))
    assert 0.8 < np.mean(np.concatenate(came)) < 0.99
    probability, truth = np.concatenate(said, axis=1)
    assert np.mean(truth) > np.mean(probability) - 0.1


def test_a_change_of_unit_changes_no_answer() -> None:
    values = np.cumsum(np.random.default_rng(7).normal(0.1, 1.0, (150, 20)), axis=0)
    limits = np.full(20, 40.0)
    plain = lived(values).within(np.arange(20), limits, 1800.0)
    other = lived(values * 1.8 + 32.0).within(np.arange(20), limits * 1.8 + 32.0, 1800.0)
    np.testing.assert_allclose(plain.probability, other.probability, atol=1e-4)


def test_a_bad_series_and_missing_values_change_nothing_for_others() -> None:
    values = np.cumsum(np.random.default_rng(8).normal(0.1, 1.0, (120, 3)), axis=0)
    spoilt = values.copy()
    spoilt[:, 1] = np.where(np.arange(120) % 2, np.nan, 1e30)
    limits = np.full(3, 30.0)
    clean, other = (lived(each).within(np.arange(3), limits, 1800.0) for each in (values, spoilt))
    assert clean.probability[[0, 2]].tolist() == other.probability[[0, 2]].tolist()


def test_it_goes_on_after_a_restart_as_if_nothing_had_happened() -> None:
    values = np.cumsum(np.random.default_rng(9).normal(0.1, 1.0, (120, 5)), axis=0)
    before, again = lived(values), TimeToLimit()
    again.restore(before.state())
    ids, limits = np.arange(5), np.full(5, 30.0)
    for each in (before, again):
        each.learn(ids, np.full(5, 121 * 30 * SECOND), values[-1] + 1.0)
    assert np.array_equal(before.within(ids, limits, 900.0), again.within(ids, limits, 900.0), equal_nan=True)


def test_samples_closer_than_a_step_are_averaged() -> None:
    random = np.random.default_rng(10)
    slow = 0.01 * np.arange(1200)[:, None] + random.normal(0, 0.5, (1200, 1))
    crossing = lived(slow, 2 * SECOND).within(np.arange(1), np.array([20.0]), 3600.0)
    assert crossing.probability[0] > 0.9
    assert crossing.seconds_median[0] == pytest.approx(1600.0, rel=0.2)


def test_one_who_was_never_admitted_is_refused() -> None:
    with pytest.raises(IndexError, match="never admitted"):
        TimeToLimit().learn(np.array([9999]), np.array([MINUTE]), np.array([1.0]))
