"""Which series are given a season, what it makes of week-ends and holidays, and what it finds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Traits
from coldaisle.errors import Permanent
from models.seasonal import Seasonal
from tests.conformance import test_detectors as conformance

DAY = 86_400
STEP = 900
TICKS = DAY // STEP
Life = Callable[[int], float]


def wave(second: int) -> float:
    return 100.0 + 40.0 * float(np.sin(2.0 * np.pi * second / DAY))


def office(second: int) -> float:
    hour, day = second % DAY / 3600.0, second // DAY
    busy = 50.0 * float(np.exp(-(((hour - 14.0) / 4.0) ** 2)))
    return 100.0 + (busy if day % 7 < 5 else 0.0)


def nightly(second: int) -> float:
    return 130.0 if 2.0 <= second % DAY / 3600.0 < 2.4 else 100.0


def detector(series: int) -> Seasonal:
    made = Seasonal()
    none = np.full(series, -1, np.int32)
    made.admit(np.arange(series), Traits(np.zeros(series, np.int8), np.zeros(series, np.int32), none))
    return made


def live(
    seasonal: Seasonal, lives: list[Life], days: range, step: int = STEP, noise: float = 3.0
) -> NDArray[np.float64]:
    """Return the scores, [ticks, series]."""
    ids, scores = np.arange(len(lives)), []
    for second in range(days.start * DAY, days.stop * DAY, step):
        random = np.random.default_rng(second)
        values = np.array([life(second) for life in lives]) + random.normal(0.0, noise, len(lives))
        batch = Batch(ids, np.full(len(ids), second * SECOND), values)
        scores.append(seasonal.score(batch).score)
        seasonal.learn(batch, np.ones(len(ids)))
    return np.array(scores)


@pytest.fixture(scope="module")
def grown() -> tuple[Seasonal, NDArray[np.float64]]:
    """Four weeks of a daily wave, an office's week, a nightly job and nothing but noise."""
    seasonal = detector(4)
    return seasonal, live(seasonal, [wave, office, nightly, lambda _: 100.0], range(28))


def copy(seasonal: Seasonal) -> Seasonal:
    other = Seasonal()
    other.restore(seasonal.state())
    return other


Grown = tuple[Seasonal, NDArray[np.float64]]


@pytest.mark.parametrize(
    "check",
    [
        conformance.scoring_is_pure,
        conformance.an_untrained_detector_has_no_opinion,
        conformance.a_sample_of_weight_zero_teaches_nothing,
        conformance.a_missing_series_is_not_touched,
        conformance.a_truncated_input_changes_no_earlier_score,
        conformance.a_restored_detector_has_the_same_future,
        conformance.a_snapshot_does_not_follow_the_detector,
        conformance.one_wild_series_does_not_change_another,
        conformance.the_order_of_a_batch_does_not_matter,
        conformance.admitting_many_keeps_what_was_learnt,
        conformance.an_empty_batch_is_fine,
    ],
)
def test_conformance_of_a_detector_that_has_no_opinion_yet(check: Callable[[Callable[[], Seasonal]], None]) -> None:
    check(Seasonal)


def test_a_series_without_a_season_is_given_none(grown: Grown) -> None:
    assert np.isnan(grown[1][:, 3]).all()
    assert grown[0].state()["slot"][3] == -1


def test_there_is_no_opinion_before_a_week_of_profile(grown: Grown) -> None:
    assert np.isnan(grown[1][: 9 * TICKS]).all()


@pytest.mark.parametrize("series", [0, 1, 2], ids=["wave", "office", "nightly"])
def test_a_season_is_learnt_and_scores_count_spreads(grown: Grown, series: int) -> None:
    late = grown[1][21 * TICKS :, series]
    assert 0.7 < np.std(late) < 1.3
    assert np.abs(late).max() < 6.0


def test_the_second_week_end_is_no_surprise(grown: Grown) -> None:
    assert np.abs(grown[1][12 * TICKS : 14 * TICKS, 1]).max() < 7.0


def test_a_holiday_that_is_like_a_week_end_is_no_surprise(grown: Grown) -> None:
    seasonal = copy(grown[0])
    scores = live(seasonal, [wave, lambda _: 100.0, nightly, lambda _: 100.0], range(29, 30))
    assert np.abs(scores[:, 1]).max() < 6.0


def test_a_day_like_no_other_is_found(grown: Grown) -> None:
    seasonal = copy(grown[0])
    scores = live(seasonal, [lambda _: 60.0, office, nightly, lambda _: 100.0], range(28, 29))
    assert np.nanmin(scores[:, 0]) < -15.0


def test_one_odd_day_teaches_little(grown: Grown) -> None:
    seasonal = copy(grown[0])
    live(seasonal, [lambda _: 60.0, office, nightly, lambda _: 100.0], range(28, 29))
    scores = live(seasonal, [wave, office, nightly, lambda _: 100.0], range(29, 31))
    assert np.abs(scores[TICKS // 2 :, 0]).max() < 8.0


def test_a_job_that_does_not_come_is_found(grown: Grown) -> None:
    seasonal = copy(grown[0])
    scores = live(seasonal, [wave, office, lambda _: 100.0, lambda _: 100.0], range(28, 29))
    assert scores[:, 2].min() < -3.0


def test_what_is_missing_neither_scores_nor_hurts() -> None:
    seasonal = detector(1)
    ids = np.zeros(1, np.int64)
    for second in range(0, 14 * DAY, 1200):
        if (second // 7200) % 3 == 0:
            continue  # a third of the time there is nothing
        batch = Batch(ids, np.array([second * SECOND]), np.array([wave(second)]))
        last = seasonal.score(batch).score[0]
        seasonal.learn(batch, np.ones(1))
    assert abs(last) < 3.0


def test_a_season_that_ends_loses_its_profile() -> None:
    seasonal = detector(1)
    live(seasonal, [wave], range(14), step=3600)
    assert seasonal.state()["slot"][0] >= 0
    live(seasonal, [lambda second: float(np.random.default_rng(second).normal(100.0, 40.0))], range(14, 40), step=3600)
    assert seasonal.state()["slot"][0] == -1


def test_a_series_without_a_profile_costs_forty_one_bytes() -> None:
    state = detector(1000).state()
    assert sum(array.nbytes for array in state.values()) / 1000 == 41


def test_a_profile_costs_less_than_four_hundred_bytes(grown: Grown) -> None:
    pool = [array for name, array in grown[0].state().items() if name.startswith("profile/")]
    assert sum(array.nbytes / len(array) for array in pool) < 400


def test_a_forgotten_series_gives_its_profile_back(grown: Grown) -> None:
    seasonal = copy(grown[0])
    seasonal.forget(np.array([0, 1]))
    seasonal.admit(np.array([0, 1]), Traits(np.zeros(2, np.int8), np.zeros(2, np.int32), np.full(2, -1, np.int32)))
    batch = Batch(np.arange(4), np.full(4, 28 * DAY * SECOND), np.full(4, 100.0))
    assert np.isnan(seasonal.score(batch).score[:2]).all()
    assert (seasonal.state()["profile/owner"] >= 0).sum() == 1


def test_a_restored_one_has_the_same_future(grown: Grown) -> None:
    one, other = copy(grown[0]), copy(grown[0])
    lives = [wave, office, nightly, lambda _: 100.0]
    live(one, lives, range(28, 29))
    other = copy(one)
    np.testing.assert_array_equal(live(one, lives, range(29, 30)), live(other, lives, range(29, 30)))


def test_learning_without_having_scored_teaches_the_same(grown: Grown) -> None:
    scored, unscored = copy(grown[0]), copy(grown[0])
    batch = Batch(np.arange(4), np.full(4, 28 * DAY * SECOND), np.array([101.0, 102.0, 99.0, 98.0]))
    scored.score(batch)
    scored.learn(batch, np.ones(4))
    unscored.learn(batch, np.ones(4))
    one, other = scored.state(), unscored.state()
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, equal_nan=True)


def test_a_change_of_unit_changes_scores_by_rounding_only(grown: Grown) -> None:
    other = detector(1)
    scores = live(other, [lambda second: (wave(second)) * 1.8 + 32.0], range(13), step=1800, noise=5.4)
    same = live(detector(1), [wave], range(13), step=1800)
    np.testing.assert_allclose(scores[11 * 48 :], same[11 * 48 :], atol=0.1)


def test_a_snapshot_of_another_shape_is_refused(grown: Grown) -> None:
    state = grown[0].state()
    state["profile/spread"] = state["profile/spread"][:, :7]
    with pytest.raises(Permanent, match="spread"):
        Seasonal().restore(state)
