"""The measures of forecasts say what their definitions say."""

from __future__ import annotations

import numpy as np
import pytest

from coldaisle.expected import LEVELS
from models.forecast.measures import SeasonalNaive, judge, naive_scale, weighted_quantile_loss


def test_the_seasonal_naive_forecast_has_a_mase_of_one_in_its_own_past() -> None:
    values = np.random.default_rng(1).normal(0, 1, (1, 5000))
    naive = SeasonalNaive(values, 24, 24)
    origins = range(24, 4900, 24)
    told = np.concatenate([naive.predict(values[:, :at], np.zeros(1, np.int64)) for at in origins])
    truth = np.concatenate([values[:, at : at + 24] for at in origins])
    quality = judge(truth, told, np.repeat(naive_scale(values, 24), len(truth)))
    assert quality.mase == pytest.approx(1.0, abs=0.05)
    assert quality.coverage_80 == pytest.approx(0.8, abs=0.02)
    assert quality.coverage_98 == pytest.approx(0.98, abs=0.01)


def test_a_perfect_forecast_loses_nothing() -> None:
    truth = np.arange(1.0, 11.0)
    assert weighted_quantile_loss(truth, np.repeat(truth[:, None], len(LEVELS), axis=1)) == 0.0


def test_the_quantile_loss_of_a_known_miss() -> None:
    # 2 * q * miss for a truth above all quantiles, mean over levels, over the truth.
    assert weighted_quantile_loss(np.array([10.0]), np.full((1, 5), 9.0)) == pytest.approx(2 * np.mean(LEVELS) / 10)


def test_what_was_not_seen_is_not_judged() -> None:
    quality = judge(np.full((2, 3), np.nan), np.zeros((2, 3, 5)), np.ones(2))
    assert np.isnan(quality).all()
