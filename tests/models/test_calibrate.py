"""Probabilities of scores: right where there are data, careful where there are few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldaisle.detector import surprise
from coldaisle.errors import ConfigError, Permanent
from models.budget import combined, fleet_threshold, threshold
from models.calibrate import LEAST, TailCalibrator


def taught(scores: np.ndarray, calls: int = 20) -> TailCalibrator:
    calibrator = TailCalibrator(1, 1)
    for part in np.array_split(scores, calls):
        calibrator.learn(0, np.zeros(len(part), np.int32), part, np.ones(len(part)))
    return calibrator


def tail(calibrator: TailCalibrator, scores: list[float]) -> np.ndarray:
    return calibrator.tail(0, np.zeros(len(scores), np.int32), np.array(scores))


def test_a_family_that_has_not_lived_cannot_tell() -> None:
    assert np.isnan(tail(TailCalibrator(1, 1), [1.0, 50.0])).all()
    assert np.isnan(tail(taught(np.ones(40)), [5.0])).all()


def test_no_score_has_no_probability() -> None:
    assert np.isnan(tail(taught(np.random.default_rng(1).normal(size=5000)), [np.nan])[0])


def test_gaussian_scores_get_about_gaussian_probabilities() -> None:
    calibrator = taught(np.random.default_rng(1).normal(size=100_000))
    assert tail(calibrator, [1.0, -2.0, 3.0]) == pytest.approx([0.317, 0.0455, 0.0027], rel=0.25)
    far = tail(calibrator, [6.0, 12.0])
    assert far[0] < 1e-5
    assert far[1] < 1e-8


def test_a_heavy_tail_stays_likely() -> None:
    heavy = np.random.default_rng(1).standard_t(3, size=100_000)
    light = np.random.default_rng(1).normal(size=100_000)
    assert tail(taught(heavy), [20.0])[0] > 1e3 * tail(taught(light), [20.0])[0]


def test_few_data_give_large_probabilities() -> None:
    scores = np.random.default_rng(1).normal(size=100_000)
    assert tail(taught(scores[:150]), [8.0])[0] > 10 * tail(taught(scores), [8.0])[0]


@settings(derandomize=True, max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["normal", "cauchy", "constant", "quantised"]))
def test_a_higher_score_never_has_a_higher_probability(seed: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    scores = {
        "normal": random.normal(size=2000), "cauchy": random.standard_cauchy(2000),
        "constant": np.full(2000, 1.5), "quantised": random.integers(0, 4, 2000).astype(float),
    }[kind]  # fmt: skip
    asked = np.sort(np.abs(random.standard_cauchy(200) * 10))
    probability = tail(taught(scores), asked.tolist())
    assert (np.diff(probability) <= 0).all()
    assert (probability >= LEAST).all()
    assert (probability <= 1).all()


def test_scores_of_weight_zero_teach_nothing() -> None:
    calibrator = taught(np.random.default_rng(1).normal(size=5000))
    before = tail(calibrator, [4.0])
    for _ in range(70):
        calibrator.learn(0, np.zeros(100, np.int32), np.full(100, 50.0), np.zeros(100))
    assert tail(calibrator, [4.0]) == pytest.approx(before, rel=0.05)


def test_families_and_detectors_do_not_mix_and_grow_as_they_come() -> None:
    random = np.random.default_rng(1)
    calibrator = TailCalibrator(2, 1)
    for _ in range(40):
        calibrator.learn(1, np.full(500, 9, np.int32), random.normal(size=500), np.ones(500))
    assert np.isfinite(calibrator.tail(1, np.array([9], np.int32), np.array([2.0]))).all()
    assert np.isnan(calibrator.tail(0, np.array([9], np.int32), np.array([2.0]))).all()
    assert np.isnan(calibrator.tail(1, np.array([3, 4000], np.int32), np.array([2.0, 2.0]))).all()


def test_a_restored_calibrator_says_the_same() -> None:
    original = taught(np.random.default_rng(1).normal(size=5000))
    copy = TailCalibrator(1, 1)
    copy.restore(original.state())
    np.testing.assert_array_equal(tail(copy, [0.1, 3.0, 9.0]), tail(original, [0.1, 3.0, 9.0]))
    with pytest.raises(Permanent, match=r"counts: has shape .*; expected 2 x any x"):
        TailCalibrator(2, 1).restore(original.state())


def test_the_anomaly_score_counts_sixteen_decades() -> None:
    scores = surprise(np.array([1.0, 1e-8, 1e-16, 0.0, np.nan]))
    np.testing.assert_allclose(scores, [0.0, 0.5, 1.0, 1.0, np.nan])


def test_a_budget_is_shared_by_all_tests() -> None:
    assert threshold(1.0, 1e6) == 1e-6
    assert threshold(10.0, 1.0) == 1.0
    assert fleet_threshold(1.0, 10_000, 100_000, 1.0) == pytest.approx(10.0 / (100_000 * 86_400))
    assert fleet_threshold(1.0, 8, 80, 1.0, detectors=2) == pytest.approx(1.0 / (160 * 86_400))
    assert combined(1e-4, 3) == pytest.approx(3e-4)
    assert combined(0.9, 3) == 1.0


@pytest.mark.parametrize(("budget", "tests"), [(0.0, 10.0), (-1.0, 10.0), (float("nan"), 10.0), (1.0, 0.0)])
def test_a_budget_that_means_nothing_is_refused(budget: float, tests: float) -> None:
    with pytest.raises(ConfigError):
        threshold(budget, tests)
