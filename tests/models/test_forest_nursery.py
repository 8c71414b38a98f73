from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from coldaisle.clock import HOUR, SECOND
from coldaisle.entity_detector import EntityRows
from coldaisle.errors import Permanent
from coldaisle.snapshot import Snapshot
from models.forest_nursery import GROW_AFTER_NS, READY_NS, Forests
from models.forest_reservoir import ROWS, Reservoir
from models.isolation_forest import Forest, train_forest

FEATURES = ("fan/peers", "power/peers", "temperature/peers", "used/peers")
STEP = 60 * SECOND
START = 1_700_000_000 * SECOND


def rows(tick: int, count: int = 20) -> EntityRows:
    values = np.random.default_rng(tick).normal(size=(count, len(FEATURES)))
    return EntityRows("gpu", FEATURES, values.astype(np.float32))


def live(forests: Forests, first: int, last: int) -> None:
    for tick in range(first, last):
        forests.move(START + tick * STEP)
        forests.learn(rows(tick), START + tick * STEP)


@cache
def lived(ticks: int) -> Forests:
    """Return what has lived so long without a cut: look, do not let it live on."""
    forests = Forests()
    live(forests, 0, ticks)
    return forests


def asked() -> EntityRows:
    return rows(99_999, 50)


def test_there_is_no_opinion_before_an_hour_of_normal_life_and_one_a_minute_after_it() -> None:
    forests = Forests()
    live(forests, 0, 61)
    assert forests.model_of("gpu") == ""
    assert np.isnan(forests.score(asked())).all()
    assert not forests.reasons(asked()).any()
    assert forests.move(START + 61 * STEP)
    assert forests.model_of("gpu") == "grown-1"
    assert np.isfinite(forests.score(asked())).all()


@pytest.mark.slow
def test_forests_are_grown_again_as_life_goes_on_and_then_no_more() -> None:
    forests = Forests()
    grown = []
    for tick in range(0, 26 * 60, 4):
        if forests.move(START + tick * STEP):
            grown.append(tick * STEP)
        forests.learn(rows(tick, 60), START + tick * STEP)
    assert forests.model_of("gpu") == f"grown-{len(GROW_AFTER_NS)}"
    assert len(grown) == len(GROW_AFTER_NS)
    for at, after in zip(grown, GROW_AFTER_NS, strict=True):
        assert after + READY_NS <= at <= after + READY_NS + 8 * STEP
    assert forests.state()["samples"] == []


def test_the_same_life_grows_the_same_forest() -> None:
    one, other = Forests(seed=4), Forests(seed=4)
    live(one, 0, 65)
    live(other, 0, 65)
    np.testing.assert_array_equal(one.score(asked()), other.score(asked()))


@pytest.mark.parametrize("stop", [30, 61, pytest.param(70, marks=pytest.mark.slow)])
def test_a_snapshot_is_gone_on_from_exactly(stop: int) -> None:
    whole, before, after = lived(110), Forests(), Forests()
    live(before, 0, stop)
    kept = Snapshot.from_bytes(Snapshot("court", 1, 0, {}, {"forests": before.state()}).to_bytes(), "court", 1)
    after.restore(kept.parts["forests"])
    assert after.model_of("gpu") == before.model_of("gpu")
    live(after, stop, 110)
    np.testing.assert_array_equal(whole.score(asked()), after.score(asked()))
    assert after.model_of("gpu") == whole.model_of("gpu") == "grown-1"
    mine, theirs = (Snapshot("court", 1, 0, {}, {"forests": each.state()}).to_bytes() for each in (whole, after))
    assert mine == theirs


def test_a_kind_that_was_trained_is_not_grown_and_takes_nothing_old_back() -> None:
    before = lived(65)
    trained = Forest(train_forest(np.concatenate([rows(n).values for n in range(40)]), FEATURES, 1), "2026-trained")
    forests = Forests({"gpu": trained})
    forests.restore(before.state())
    live(forests, 65, 140)
    assert forests.model_of("gpu") == "2026-trained"
    assert forests.state()["samples"] == []


def test_life_too_short_of_features_grows_nothing_and_does_not_fail() -> None:
    forests = Forests()
    for tick in range(70):
        few = EntityRows("port", FEATURES[:2], rows(tick).values[:, :2])
        forests.move(tick * STEP)
        forests.learn(few, tick * STEP)
    assert forests.model_of("port") == ""


def test_a_damaged_snapshot_is_refused() -> None:
    state = lived(65).state()
    left = state["forest/gpu/left"].copy()
    left[0] = 0
    with pytest.raises(Permanent, match="isolation forest"):
        Forests().restore({**state, "forest/gpu/left": left})
    with pytest.raises(Permanent, match="grown"):
        Forests().restore({key: value for key, value in state.items() if key != "grown"})


def test_the_sample_of_normal_life_is_even() -> None:
    sample = Reservoir(1)
    ticks = 400
    for tick in range(ticks):
        sample.take(("tick/peers",), np.full((200, 1), tick, np.float32), tick + 1)
    kept = sample.rows[:, 0]
    assert len(kept) == ROWS
    assert abs(kept.mean() - ticks / 2) < 4 * ticks / np.sqrt(12 * ROWS)
    assert sample.since == 1


def test_a_new_feature_joins_the_sample_as_unknown_so_far() -> None:
    sample = Reservoir(1)
    sample.take(("b/peers",), np.ones((5, 1), np.float32), HOUR)
    sample.take(("a/peers", "b/peers"), np.full((2, 2), 2.0, np.float32), 2 * HOUR)
    assert sample.rows.shape == (7, 2)
    assert np.isnan(sample.rows[:5, 0]).all()
    assert sample.rows[:5, 1].tolist() == [1.0] * 5
