"""The light forecaster follows seasons where there are any, and its bands hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from coldaisle.clock import HOUR
from coldaisle.expected import LEVELS
from models.forecast.light import WARM_UP, LightForecaster
from models.forecast.measures import SeasonalNaive, judge, naive_scale

Floats = NDArray[np.float64]
HORIZON = 24


def lived(values: Floats, horizon: int = HORIZON) -> LightForecaster:
    """Return one that has seen ``values`` [series, hours]."""
    light, ids = LightForecaster(3600.0, horizon), np.arange(len(values))
    light.admit(ids)
    for hour, column in enumerate(values.T):
        light.learn(ids, np.full(len(ids), hour * HOUR), column)
    return light


def _daily(series: int, hours: int, seed: int) -> Floats:
    random = np.random.default_rng(seed)
    at = np.arange(hours)
    week = 5.0 * (at // 24 % 7 < 5)
    return np.asarray(50 + 10 * np.sin(2 * np.pi * at / 24) + week + random.normal(0, 1, (series, hours)))


def _told(values: Floats, begin: int) -> tuple[Floats, Floats]:
    light, ids = LightForecaster(3600.0, HORIZON), np.arange(len(values))
    light.admit(ids)
    truth, said = [], []
    for hour in range(values.shape[1] - HORIZON):
        light.learn(ids, np.full(len(ids), hour * HOUR), values[:, hour])
        if hour >= begin and hour % 5 == 0:
            said.append(light.predict(ids))
            truth.append(values[:, hour + 1 : hour + 1 + HORIZON])
    return np.concatenate(truth), np.concatenate(said)


def test_a_day_and_a_week_are_learnt_and_beat_the_seasonal_naive_forecast() -> None:
    values, begin = _daily(20, 24 * 7 * 5, 1), 24 * 7 * 4
    truth, said = _told(values, begin)
    scale = np.tile(naive_scale(values[:, :begin], 24), len(truth) // 20)
    light = judge(truth, said, scale)
    naive, rows = SeasonalNaive(values[:, :begin], 24, HORIZON), np.arange(20)
    told = [
        naive.predict(values[:, : hour + 1], rows) for hour in range(begin, values.shape[1] - HORIZON) if hour % 5 == 0
    ]
    seasonal = judge(truth, np.concatenate(told), scale)
    assert light.mase < 0.8 * seasonal.mase
    assert light.quantile_loss < 0.8 * seasonal.quantile_loss
    assert light.coverage_80 == pytest.approx(0.8, abs=0.07)
    assert light.coverage_98 > 0.95


def test_the_bands_keep_their_promise_for_walks_and_for_noise() -> None:
    noise = np.random.default_rng(2).normal(0, 1, (40, 700))
    noise[:20] = np.cumsum(noise[:20], axis=1)
    truth, said = _told(noise, 500)
    walks = np.tile(np.arange(40) < 20, len(truth) // 40)
    for some in (walks, ~walks):
        quality = judge(truth[some], said[some], np.ones(int(some.sum())))
        assert quality.coverage_80 == pytest.approx(0.8, abs=0.07)
        assert quality.coverage_98 > 0.95


@pytest.mark.slow
def test_the_bands_widen_when_life_gets_wilder_and_hold_again() -> None:
    values = np.random.default_rng(3).normal(0, 1, (20, 900)) * np.where(np.arange(900) < 300, 1.0, 4.0)
    truth, said = _told(values, 700)
    assert judge(truth, said, np.ones(len(truth))).coverage_80 == pytest.approx(0.8, abs=0.08)


def test_noise_is_given_no_season() -> None:
    values = np.random.default_rng(4).normal(100, 1, (10, 24 * 25))
    median = lived(values).predict(np.arange(10))[:, :, LEVELS.index(0.5)]
    assert np.std(median) < 0.5


def test_nothing_is_foretold_before_the_warm_up() -> None:
    assert np.isnan(lived(_daily(2, WARM_UP - 1, 5)).predict(np.arange(2))).all()
    assert np.isfinite(lived(_daily(2, WARM_UP, 5)).predict(np.arange(2))).all()


def test_a_change_of_unit_changes_the_forecast_by_no_more_than_that() -> None:
    values = _daily(4, 300, 6)
    plain, other = np.split(lived(np.concatenate([values, values * 1.8 + 32])).predict(np.arange(8)), 2)
    np.testing.assert_allclose(plain * 1.8 + 32, other, rtol=1e-3)


def test_gaps_and_a_bad_neighbour_change_nothing_for_others() -> None:
    values = _daily(3, 200, 7)
    spoilt = values.copy()
    spoilt[1, ::3] = np.nan
    spoilt[1, 100] = 1e30
    clean, other = lived(values).predict(np.arange(3)), lived(spoilt).predict(np.arange(3))
    assert np.array_equal(clean[[0, 2]], other[[0, 2]])
    assert np.isfinite(other).all()


def test_one_wild_reading_does_not_move_the_forecast_for_long() -> None:
    values = np.repeat(_daily(1, 500, 8), 2, axis=0)
    values[1, 400] = 1e9
    clean, spoilt = lived(values).predict(np.arange(2))
    np.testing.assert_allclose(clean, spoilt, atol=15.0)


def test_it_goes_on_after_a_restart_as_if_nothing_had_happened() -> None:
    values = _daily(3, 200, 9)
    before, again = lived(values), LightForecaster(3600.0, HORIZON)
    again.restore(before.state())
    for each in (before, again):
        each.learn(np.arange(3), np.full(3, 200 * HOUR), values[:, 0])
    assert np.array_equal(before.predict(np.arange(3)), again.predict(np.arange(3)))


def test_one_who_was_never_admitted_is_refused() -> None:
    with pytest.raises(IndexError, match="never admitted"):
        LightForecaster(60.0, 10).learn(np.array([9999]), np.array([HOUR]), np.array([1.0]))
