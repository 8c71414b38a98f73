"""The bands of a forecast say when a limit is crossed."""

from __future__ import annotations

import numpy as np
import pytest

from models.forecast.path_crossing import crossing_of_paths

SPREAD = np.array([-2.326, -1.2816, 0.0, 1.2816, 2.326])
RISING = (70.0 + 0.5 * np.arange(1, 41))[None, :, None] + SPREAD  # 70 to 90 degC in 40 steps, give or take 1


def test_a_rising_path_crosses_when_its_bands_do() -> None:
    crossing = crossing_of_paths(RISING, np.array([80.0]), 60.0)
    assert crossing.probability[0] > 0.999
    assert crossing.seconds_median[0] == pytest.approx(20 * 60.0, abs=60.0)
    assert crossing.seconds_low[0] == pytest.approx((20 - 2 * 1.2816) * 60.0, abs=90.0)
    assert crossing.seconds_high[0] == pytest.approx((20 + 2 * 1.2816) * 60.0, abs=90.0)


def test_a_limit_far_away_is_hardly_reached() -> None:
    crossing = crossing_of_paths(RISING, np.array([100.0]), 60.0)
    assert crossing.probability[0] < 1e-6
    assert crossing.seconds_low[0] == np.inf


def test_a_falling_path_crosses_a_lower_limit() -> None:
    crossing = crossing_of_paths(-RISING, np.array([-80.0]), 60.0, np.array([-1], np.int8))
    assert crossing.seconds_median[0] == pytest.approx(20 * 60.0, abs=60.0)


def test_where_there_is_no_forecast_or_no_limit_nothing_is_said() -> None:
    paths = np.concatenate([RISING, np.full_like(RISING, np.nan)])
    crossing = crossing_of_paths(paths, np.array([np.nan, 80.0]), 60.0)
    assert all(np.isnan(each).all() for each in crossing)


def test_a_band_without_width_far_from_its_limit_says_never_or_surely() -> None:
    flat = np.full((2, 10, 5), 1e12)
    crossing = crossing_of_paths(flat, np.array([2e12, 1e11]), 60.0)
    assert crossing.probability.tolist() == pytest.approx([0.0, 1.0])
