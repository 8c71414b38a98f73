"""What drifts away from its siblings, and what does not."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Traits
from models.drift import Drift, DriftSettings

SIZE = 12
STEP_SECONDS = 10
Floats = NDArray[np.float64]


def drift(groups: NDArray[np.int64] | None = None, **more: float) -> Drift:
    detector = Drift(DriftSettings(**more))  # type: ignore[arg-type]
    groups = np.zeros(SIZE, np.int64) if groups is None else groups
    count = len(groups)
    detector.admit(
        np.arange(count), Traits(np.zeros(count, np.int8), np.zeros(count, np.int32), groups.astype(np.int32))
    )
    return detector


def play(
    detector: Drift, rows: Floats, start: int = 0, members: NDArray[np.int64] | None = None, odd: float = 6.0
) -> Floats:
    """Score, then learn as the judge lets it: not from what is odd."""
    ids = np.arange(rows.shape[1]) if members is None else members
    scores = []
    for tick, values in enumerate(rows):
        batch = Batch(ids, np.full(len(ids), (start + tick) * STEP_SECONDS * SECOND), values.copy())
        score = detector.score(batch).score
        scores.append(score)
        detector.learn(batch, np.where(np.abs(score) > odd, 0.0, 1.0))
    return np.array(scores)


def job(ticks: int, count: int = SIZE, seed: int = 1) -> Floats:
    """Members that do the same work out of phase, each with an offset of its own, and dips for checkpoints."""
    random = np.random.default_rng(seed)
    phase = random.integers(0, 60, count)
    time = np.arange(ticks)[:, None]
    work = 700.0 - 60.0 * (((time + phase) % 7) == 0) - 300.0 * ((time % 90) < 3)
    return np.asarray(work + random.normal(0.0, 8.0, count) + random.normal(0.0, 4.0, (ticks, count)))


def test_three_percent_less_is_found_within_ten_minutes_and_nobody_else() -> None:
    rows = job(420)
    rows[300:, 4] *= 0.97
    scores = play(drift(), rows)
    usual = np.nanmax(np.abs(scores[:300]))
    assert usual < 8.0
    assert scores[360, 4] < -8.0
    assert np.abs(np.delete(scores[300:], 4, axis=1)).max() < 8.0


def test_a_whole_group_that_moves_gives_no_score() -> None:
    rows = job(500)
    rows[300:] *= 0.5
    assert np.nanmax(np.abs(play(drift(), rows))) < 8.0


@pytest.mark.slow
def test_what_creeps_in_slower_than_it_is_learnt_adds_up() -> None:
    rows = job(2400)
    rows[300:, 7] += np.minimum(np.arange(2100) / 2100.0, 1.0) * 60.0
    assert np.abs(play(drift(), rows)[-1, 7]) > 8.0


def test_a_fault_that_ends_is_over_within_half_an_hour() -> None:
    rows = job(700)
    rows[300:500, 2] += 60.0
    scores = play(drift(), rows)
    assert scores[490, 2] > 8.0
    assert abs(scores[670, 2]) < 6.0


def test_members_that_are_missing_do_not_move_the_others() -> None:
    rows, detector = job(400), drift()
    play(detector, rows[:300])
    present = np.arange(4, SIZE)
    assert np.nanmax(np.abs(play(detector, rows[300:, present], 300, present))) < 8.0


def test_groups_below_three_have_no_opinion() -> None:
    assert np.isnan(play(drift(np.array([0, 0, 1])), job(200, 3))).all()


def test_a_member_that_changes_its_group_keeps_its_offset_and_looks_at_a_new_window() -> None:
    detector = drift(np.repeat([0, 1], SIZE // 2))
    rows = job(400)
    rows[:, 2] += 90.0
    play(detector, rows[:300])
    offset = detector.state()["high_offset"][2]
    detector.admit(np.array([2]), Traits(np.zeros(1, np.int8), np.zeros(1, np.int32), np.ones(1, np.int32)))
    assert detector.state()["high_offset"][2] == offset
    scores = play(detector, rows[300:], 300)
    assert np.isnan(scores[:30, 2]).all()
    assert np.nanmax(np.abs(scores[:, 2])) < 8.0


def test_what_is_accepted_is_normal_at_once_and_twice_as_much_is_not() -> None:
    rows = job(800)
    rows[300:, 5] += 60.0
    rows[500:, 5] += 60.0
    detector = drift()
    assert play(detector, rows[:400])[-1, 5] > 8.0
    detector.accept(np.array([5]))
    assert np.abs(play(detector, rows[400:500], 400)[:, 5]).max() < 8.0
    assert play(detector, rows[500:], 500)[-1, 5] > 8.0


@cache
def undisturbed(ticks: int) -> Floats:
    """Return what is said of the job as it is: look, do not change it."""
    return play(drift(), job(ticks))


@settings(max_examples=5, deadline=None, derandomize=True)
@given(
    series=st.integers(0, SIZE - 1),
    wild=st.floats(-1e6, 1e6, allow_nan=False),
    at=st.integers(200, 320),
)
def test_one_bad_series_does_not_change_another(series: int, wild: float, at: int) -> None:
    """The median of twelve moves by at most the distance of two neighbours."""
    rows, calm = job(360), undisturbed(360)
    rows[at:, series] = wild
    rough = play(drift(), rows)
    others = np.arange(SIZE) != series
    assert np.nanmax(np.abs(rough[:, others])) < 8.0
    np.testing.assert_array_equal(rough[:at], calm[:at])


@settings(max_examples=4, deadline=None, derandomize=True)
@given(scale=st.floats(1e-3, 1e6), shift=st.floats(-1e3, 1e3))
def test_another_unit_changes_no_score(scale: float, shift: float) -> None:
    rows, mine = job(200), undisturbed(200)
    theirs = play(drift(), rows * scale + shift * scale)
    np.testing.assert_allclose(theirs, mine, rtol=0.02, atol=0.02)  # columns are of 32 bits


def test_the_same_samples_give_the_same_scores() -> None:
    np.testing.assert_array_equal(play(drift(), job(200)), play(drift(), job(200)))
