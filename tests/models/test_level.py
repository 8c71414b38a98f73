"""What the level detector calls unusual, and for how long."""

from __future__ import annotations

import numpy as np

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Traits
from models.level import NEVER_CHANGED, Level

ONE = np.array([0])


def level(**options: float) -> Level:
    detector = Level(**options)  # type: ignore[arg-type]
    detector.admit(ONE, Traits(np.zeros(1, np.int8), np.zeros(1, np.int32), np.full(1, -1, np.int32)))
    return detector


def play(detector: Level, values: np.ndarray, start: int = 0, interval_seconds: int = 60) -> np.ndarray:
    scores = []
    for tick, value in enumerate(values):
        batch = Batch(ONE, np.array([(start + tick) * interval_seconds * SECOND]), np.array([float(value)]))
        scores.append(detector.score(batch).score[0])
        detector.learn(batch, np.ones(1))
    return np.array(scores)


def noise(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 1.0, count)


def test_it_says_nothing_before_its_warm_up() -> None:
    scores = play(level(warm_up=10), noise(12))
    assert np.isnan(scores[:10]).all()
    assert np.isfinite(scores[10:]).all()


def test_it_waits_for_the_time_as_well_as_for_the_samples() -> None:
    scores = play(level(warm_up=2, warm_up_seconds=600.0), noise(20))
    assert np.isnan(scores[:10]).all()
    assert np.isfinite(scores[10:]).all()


def test_a_score_counts_standard_deviations() -> None:
    scores = play(level(), noise(1200))
    assert 0.9 < np.std(scores[200:]) < 1.15


def test_it_is_not_poisoned_by_its_own_anomaly() -> None:
    detector = level()
    play(detector, noise(500))
    scores = play(detector, np.full(30, 20.0), start=500)
    assert scores[0] > 15.0
    assert scores[-1] > 10.0


def test_a_lasting_change_becomes_normal_after_the_time_set() -> None:
    detector = level(half_life_seconds=86_400.0, relearn_seconds=3600.0)
    play(detector, noise(1000))
    scores = play(detector, 50.0 + noise(400, seed=2), start=1000)
    assert scores[55] > 8.0
    assert np.abs(scores[200:]).max() < 6.0


def test_a_constant_series_that_changes_is_notable_but_bounded() -> None:
    detector = level()
    play(detector, np.full(500, 7.0))
    scores = play(detector, np.array([1e9, 1e9, 1e9]), start=500)
    assert scores[0] == NEVER_CHANGED
    assert scores[2] > NEVER_CHANGED / 2


def test_a_quantised_sensor_may_flicker_by_one_step() -> None:
    flicker = (np.random.default_rng(4).random(1200) < 0.02) * 1.0
    scores = play(level(), 22.0 + flicker)
    assert np.nanmax(np.abs(scores[600:])) <= 2.1


def test_irregular_intervals_forget_by_time_and_not_by_count() -> None:
    fast, slow = level(half_life_seconds=36_000.0), level(half_life_seconds=36_000.0)
    play(fast, np.full(600, 10.0), interval_seconds=60)
    play(slow, np.full(600, 10.0), interval_seconds=600)
    play(fast, 10.0 + noise(20) * 1e-3 + 0.01, start=600, interval_seconds=60)
    play(slow, 10.0 + noise(20) * 1e-3 + 0.01, start=600, interval_seconds=600)
    assert slow.state()["mean"][0] > fast.state()["mean"][0]
