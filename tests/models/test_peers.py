"""Who is odd among siblings, and who is not."""

from __future__ import annotations

import numpy as np
import pytest

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Traits
from models.cohorts import Cohorts
from models.peer_plan import GroupedMemory
from models.peer_rows import PeerRows
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
    counts = np.array([3, 4, 8, 8, 9, 64, 2, 1, 1000, 1001, 2047, 2048])
    values = random.normal(size=counts.sum())
    found = Cohorts(counts).medians(values)
    np.testing.assert_allclose(found, [np.median(part) for part in np.split(values, np.cumsum(counts)[:-1])])


def test_rows_of_a_group_lie_side_by_side_and_small_groups_are_left_out() -> None:
    random = np.random.default_rng(8)
    keys = random.permutation(
        np.concatenate([np.full(size, key) for key, size in enumerate([3, 1, 50, 2])] + [[-1, -1]])
    )
    rows = PeerRows()
    rows.regroup(np.arange(len(keys)), keys)
    rows.settle()
    present = random.permutation(len(keys))[:-3]
    members, places, counts = rows.groups_of(present, minimum=3)
    told = keys[present[members]]
    assert (np.diff(told) >= 0).all()
    assert (np.diff(places) > 0).all()
    enough = [key for key in (0, 1, 2, 3) if (keys[present] == key).sum() >= 3]
    assert counts.tolist() == [(keys[present] == key).sum() for key in enough]
    assert sorted(set(told.tolist())) == enough


def test_what_is_learnt_stays_with_its_series_when_the_rows_are_sorted_anew() -> None:
    grown, whole = (Peers() for _ in range(2))
    rows = work(120)
    for tick, values in enumerate(rows):
        batch = Batch(np.arange(8), np.full(8, tick * 10 * SECOND), values)
        for detector in (grown, whole):
            if tick == 0:
                detector.admit(
                    np.arange(8), Traits(np.zeros(8, np.int8), np.zeros(8, np.int32), np.full(8, 5, np.int32))
                )
            if tick == 60 and detector is grown:  # groups that sort before, between and after
                ids = np.arange(20, 32)
                groups = np.array([1, 9, 5, 4] * 3, np.int32)
                detector.admit(ids, Traits(np.zeros(12, np.int8), np.zeros(12, np.int32), groups))
            detector.score(batch)
            detector.learn(batch, np.ones(8))
    mine, theirs = grown.state(), whole.state()
    assert all(np.array_equal(mine[name][:8], theirs[name][:8]) for name in theirs)


def test_plans_for_ticks_of_which_each_lacks_another_series_weigh_no_more_than_two_of_them() -> None:
    memory, count = GroupedMemory({"value": np.float64(0)}, 3), 1000
    ids = np.arange(count)
    memory.admit(ids, Traits(np.zeros(count, np.int8), np.zeros(count, np.int32), (ids // 100).astype(np.int32)))
    for lost in range(20):
        memory.parts(np.delete(ids, lost))
        assert sum(len(plan.ids) for plan in memory._plans.values()) <= 2.0 * len(memory._columns)
    assert memory.parts(np.delete(ids, 19)) is memory.parts(np.delete(ids, 19))
