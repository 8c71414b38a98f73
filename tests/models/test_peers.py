"""Who is odd among siblings, and who is not."""

from __future__ import annotations

import numpy as np
import pytest

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Traits
from models.cohorts import Cohorts
from models.peers import Peers

SIZE = 8


def peers(groups: np.ndarray) -> Peers:
    detector = Peers()
    count = len(groups)
    detector.admit(
        np.arange(count), Traits(np.zeros(count, np.int8), np.zeros(count, np.int32), groups.astype(np.int32))
    )
    return detector


def play(detector: Peers, rows: np.ndarray, start: int = 0, members: np.ndarray | None = None) -> np.ndarray:
    ids = np.arange(rows.shape[1]) if members is None else members
    scores = []
    for tick, values in enumerate(rows):
        batch = Batch(ids, np.full(len(ids), (start + tick) * SECOND), values)
        scores.append(detector.score(batch).score)
        detector.learn(batch, np.ones(len(ids)))
    return np.array(scores)


def work(ticks: int, count: int = SIZE, seed: int = 1) -> np.ndarray:
    """A job whose members heat up and cool down together, each with its own offset."""
    random = np.random.default_rng(seed)
    together = 60.0 + 15.0 * np.sign(np.sin(np.arange(ticks) / 40.0))
    return together[:, None] + np.linspace(-4.0, 4.0, count) + random.normal(0.0, 0.7, (ticks, count))


def test_a_whole_group_that_moves_gives_no_score() -> None:
    detector = peers(np.zeros(SIZE))
    rows = work(400)
    rows[300:] += 200.0
    assert np.abs(play(detector, rows)[300:]).max() < 7.0


def test_a_member_that_always_runs_hotter_is_normal() -> None:
    rows = work(400)
    rows[:, 3] += 30.0
    assert np.abs(play(peers(np.zeros(SIZE)), rows)[200:, 3]).max() < 7.0


def test_a_member_that_becomes_four_degrees_hotter_is_found_within_two_minutes() -> None:
    rows = work(900)
    rows[700:, 5] += 4.0
    scores = play(peers(np.zeros(SIZE)), rows)
    usual = np.abs(scores[200:700]).max()
    assert scores[820:, 5].min() > 1.3 * usual
    assert np.abs(np.delete(scores[820:], 5, axis=1)).max() < scores[820:, 5].max() / 2


@pytest.mark.parametrize("members", [1, 2])
def test_groups_below_three_have_no_opinion(members: int) -> None:
    assert np.isnan(play(peers(np.zeros(members)), work(100, members))).all()


def test_a_series_without_a_group_has_no_opinion() -> None:
    assert np.isnan(play(peers(np.full(SIZE, -1)), work(100))).all()


def test_the_same_group_of_another_metric_is_another_group() -> None:
    detector = Peers()
    families = np.repeat(np.arange(2, dtype=np.int32), 4)
    detector.admit(np.arange(8), Traits(np.zeros(8, np.int8), families, np.zeros(8, np.int32)))
    rows = work(200)
    rows[:, 4:] *= 1000.0
    assert np.abs(play(detector, rows)[100:]).max() < 10.0


def test_absent_members_do_not_move_the_others() -> None:
    detector = peers(np.zeros(SIZE))
    play(detector, work(300))
    present = np.arange(3, SIZE)  # the coolest three are away
    scores = play(detector, work(20, seed=2)[:, present], start=300, members=present)
    assert np.abs(scores).max() < 7.0


def test_a_member_that_changes_its_group_learns_anew_in_silence() -> None:
    detector = peers(np.repeat([0, 1], SIZE))
    rows = np.hstack([work(200), 500.0 + work(200, seed=2)])
    play(detector, rows)
    detector.admit(np.array([2]), Traits(np.zeros(1, np.int8), np.zeros(1, np.int32), np.ones(1, np.int32)))
    rows = np.hstack([work(120), 500.0 + work(120, seed=2)])
    rows[:, 2] = 500.0 + work(120, seed=5)[:, 2]
    scores = play(detector, rows, start=200)
    assert np.isnan(scores[:30, 2]).all()
    assert np.abs(scores[60:, 2]).max() < 8.0
    assert np.isfinite(np.delete(scores, 2, axis=1)).all()


def test_medians_of_groups_of_all_sizes_are_numpy_medians() -> None:
    random = np.random.default_rng(7)
    keys = np.concatenate([np.full(size, key) for key, size in enumerate([3, 4, 8, 8, 9, 64, 2, 1000])] + [[-1, -1]])
    keys = random.permutation(keys)
    cohorts = Cohorts(np.arange(len(keys)), keys, minimum=3)
    values = random.normal(size=len(keys))
    found = cohorts.medians(values[cohorts.members])
    wanted = [np.median(values[keys == key]) for key in (0, 1, 2, 3, 4, 5, 7)]
    np.testing.assert_allclose(found, wanted)
    assert len(cohorts.members) == np.isin(keys, [0, 1, 2, 3, 4, 5, 7]).sum()
