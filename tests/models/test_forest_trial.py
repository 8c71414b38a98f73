from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from coldaisle.entity_detector import EntityRows
from models.forest_trial import disturbed, joined, judge, separation
from models.isolation_forest import Forest, train_forest

FEATURES = ("a", "b", "c", "d")


def rows(seed: int, count: int = 1500, spread: float = 1.0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, spread, (count, 4)).astype(np.float32)


@cache
def forest(seed: int = 0, spread: float = 1.0) -> Forest:
    return Forest(train_forest(rows(seed, spread=spread), FEATURES, seed), f"v{seed}")


def block(values: NDArray[np.float32], kind: str = "gpu") -> EntityRows:
    return EntityRows(kind, FEATURES, values)


FIRST, LATER = [block(rows(5, 600))], [block(rows(6))]


def test_a_forest_separates_what_was_moved_from_what_was_not() -> None:
    values = rows(1)
    assert separation(forest(), values, disturbed(values, np.random.default_rng(0)), FEATURES) > 0.9
    assert abs(separation(forest(), values, rows(2), FEATURES) - 0.5) < 0.03


def test_two_known_metrics_of_each_row_are_moved_and_unknown_ones_stay_unknown() -> None:
    values = rows(1, 50)
    values[:, 3] = np.nan
    moved = disturbed(values, np.random.default_rng(0))
    assert (np.abs(moved - values)[:, :3] > 3.9).sum(axis=1).tolist() == [2] * 50
    assert np.isnan(moved[:, 3]).all()


def test_the_first_forest_is_promoted_where_it_is_as_good_as_one_that_grows_by_itself() -> None:
    verdict = judge({"gpu": forest()}, {}, FIRST, LATER, 1)
    assert verdict.promoted
    assert set(verdict.scores) == {"gpu separation", "gpu separation of grown"}


def test_a_forest_that_learnt_another_life_is_not_promoted() -> None:
    verdict = judge({"gpu": forest(spread=40.0)}, {}, FIRST, LATER, 1)
    assert not verdict.promoted
    assert "worse on later data" in verdict.reason


def test_who_is_no_better_than_the_champion_does_not_replace_it() -> None:
    verdict = judge({"gpu": forest(1)}, {"gpu": forest(1)}, FIRST, LATER, 1)
    assert not verdict.promoted
    assert "no better than the champion" in verdict.reason


def test_who_knows_fewer_kinds_than_the_champion_does_not_replace_it() -> None:
    verdict = judge({"gpu": forest()}, {"node": forest()}, FIRST, LATER, 1)
    assert (verdict.promoted, verdict.reason) == (False, "the champion knows node, which it does not")


def test_a_handful_of_later_rows_decides_nothing() -> None:
    verdict = judge({"gpu": forest()}, {}, FIRST, [block(rows(6, 50))], 1)
    assert not verdict.promoted
    assert "nothing to judge it by" in verdict.reason


def test_rows_are_joined_by_the_names_of_their_features() -> None:
    other = EntityRows("gpu", ("b", "x"), np.array([[1.0, 9.0], [np.nan, 9.0]], np.float32))
    found = joined([other, block(rows(0, 2), "node")], "gpu", FEATURES)
    assert found.shape == (1, 4)
    assert found[0, 1] == 1.0
    assert np.isnan(found[0, [0, 2, 3]]).all()
