"""Every detector must pass every check. A new detector only adds itself to DETECTORS."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from coldaisle.detector import Batch, Detector, Scores, Traits
from models.drift import Drift, DriftSettings
from models.level import Level
from models.peers import Peers, PeersSettings

DETECTORS: dict[str, Callable[[], Detector]] = {
    "level": Level,
    "level, short memory": lambda: Level(half_life_seconds=300, spread_half_life_seconds=3600, warm_up=20),
    "peers": Peers,
    "drift": lambda: Drift(DriftSettings(block_seconds=20.0)),
    "peers, short memory": lambda: Peers(PeersSettings(half_life_seconds=1800, smooth_seconds=30, warm_up=20)),
}

SERIES = 12
LIFE = 80
PATIENCE = {"drift": 24}
"""How many batches a fault must last before a detector speaks of it; 1 where it is not said."""
LEARNT = {"drift": ("high_offset", "low_offset", "high_deviation", "low_deviation", "count")}
"""What weight 0 must leave alone, where a detector looks on all the same; everything where it is not said."""


def traits(count: int = SERIES, group_of: int = 6) -> Traits:
    groups = (np.arange(count) // group_of).astype(np.int32)
    return Traits(np.zeros(count, np.int8), np.zeros(count, np.int32), groups)


@cache
def stream(length: int = LIFE, seed: int = 3) -> list[Batch]:
    """Normal life: a level of its own for each series, noise, one sample every ten seconds."""
    random = np.random.default_rng(seed)
    own = random.normal(60.0, 5.0, SERIES)
    ids = np.arange(SERIES)
    return [
        Batch(ids, np.full(SERIES, tick * 10 * SECOND), own + random.normal(0.0, 1.0, SERIES)) for tick in range(length)
    ]


def teach(detector: Detector, batches: list[Batch]) -> list[NDArray[np.float64]]:
    scores = []
    for batch in batches:
        scores.append(detector.score(batch).score)
        detector.learn(batch, np.ones(len(batch.ids)))
    return scores


def admitted(make: Callable[[], Detector]) -> Detector:
    detector = make()
    detector.admit(np.arange(SERIES), traits())
    return detector


@cache
def _trained(make: Callable[[], Detector]) -> Detector:
    detector = admitted(make)
    teach(detector, stream())
    return detector


def trained(make: Callable[[], Detector]) -> Detector:
    """Return a detector of one's own that has lived through the stream; all checks of a kind share that life."""
    return deepcopy(_trained(make))


def shifted(batch: Batch, series: int, by: float) -> Batch:
    values = batch.values.copy()
    values[series] += by
    return batch._replace(values=values)


def fault(detector: Detector, series: int, by: float) -> tuple[Batch, Scores]:
    """Shift a series for as long as the detector needs; return the last batch and what is said of it."""
    patience = PATIENCE.get(detector.name, 1)
    life = [shifted(one, series, by) for one in stream(LIFE + patience + 1)[LIFE + 1 :]]
    teach(detector, life[:-1])
    return life[-1], detector.score(life[-1])


def same(one: Detector, other: Detector) -> bool:
    mine, theirs = one.state(), other.state()
    return mine.keys() == theirs.keys() and all(np.array_equal(mine[key], theirs[key]) for key in mine)


def scoring_is_pure(make: Callable[[], Detector]) -> None:
    detector, untouched = trained(make), trained(make)
    batch = stream(LIFE + 1)[-1]
    first, second = detector.score(batch), detector.score(batch)
    np.testing.assert_array_equal(first.score, second.score)
    assert same(detector, untouched)


def an_untrained_detector_has_no_opinion(make: Callable[[], Detector]) -> None:
    assert np.isnan(admitted(make).score(stream()[0]).score).all()


def a_trained_detector_has_one(make: Callable[[], Detector]) -> None:
    scores = trained(make).score(stream(LIFE + 1)[-1])
    assert np.isfinite(np.stack(scores)).all()
    assert (scores.spread > 0).all()


def a_sample_of_weight_zero_teaches_nothing(make: Callable[[], Detector]) -> None:
    detector, untouched = trained(make), trained(make)
    detector.learn(shifted(stream(LIFE + 1)[-1], 0, 500.0), np.zeros(SERIES))
    before, after = untouched.state(), detector.state()
    assert all(np.array_equal(before[name], after[name]) for name in LEARNT.get(detector.name, before))


def a_missing_series_is_not_touched(make: Callable[[], Detector]) -> None:
    detector, untouched = trained(make), trained(make)
    batch = stream(LIFE + 1)[-1]
    detector.learn(Batch(batch.ids[:6], batch.timestamps[:6], batch.values[:6]), np.ones(6))
    before, after = untouched.state(), detector.state()
    assert all(np.array_equal(before[name][6:], after[name][6:]) for name in before)


def a_fault_scores_above_normal_life_with_its_sign(make: Callable[[], Detector]) -> None:
    normal = np.nanmax(np.abs(np.stack(teach(admitted(make), stream())[45:])))
    assert fault(trained(make), 4, 15.0)[1].score[4] > normal
    assert fault(trained(make), 4, -15.0)[1].score[4] < -normal


def the_expected_value_is_what_the_series_usually_says(make: Callable[[], Detector]) -> None:
    _, scores = fault(trained(make), 4, 15.0)
    usual = np.mean([one.values[4] for one in stream()])
    assert scores.expected[4] == pytest.approx(usual, abs=1.5)


def a_truncated_input_changes_no_earlier_score(make: Callable[[], Detector]) -> None:
    whole, part = teach(admitted(make), stream()), teach(admitted(make), stream()[:60])
    np.testing.assert_array_equal(np.stack(whole[:60]), np.stack(part))


def a_restored_detector_has_the_same_future(make: Callable[[], Detector]) -> None:
    life = stream(LIFE + 50)
    original, copy = trained(make), make()
    copy.restore(original.state())
    np.testing.assert_array_equal(np.stack(teach(original, life[LIFE:])), np.stack(teach(copy, life[LIFE:])))
    assert same(original, copy)


def a_snapshot_does_not_follow_the_detector(make: Callable[[], Detector]) -> None:
    detector = trained(make)
    kept = {name: array.copy() for name, array in detector.state().items()}
    state = detector.state()
    teach(detector, stream(LIFE + 5)[LIFE:])
    assert all(np.array_equal(kept[name], state[name]) for name in kept)


def a_forgotten_series_has_no_opinion(make: Callable[[], Detector]) -> None:
    detector = trained(make)
    detector.forget(np.array([2, 3]))
    detector.admit(np.array([2, 3]), traits(2, group_of=2))
    scores = detector.score(stream(LIFE + 1)[-1]).score
    assert np.isnan(scores[2:4]).all()
    assert np.isfinite(scores[4:]).all()


def one_wild_series_does_not_change_another(make: Callable[[], Detector]) -> None:
    calm, wild = trained(make), trained(make)
    batch = stream(LIFE + 1)[-1]
    with_calm = calm.score(batch).score
    with_wild = wild.score(shifted(batch, 0, 1e6)).score
    # Peers share a median, which one member moves by less than a neighbour's distance.
    np.testing.assert_allclose(with_wild[1:], with_calm[1:], atol=2.0 if calm.name in ("peers", "drift") else 0.0)


def a_change_of_unit_changes_no_score(make: Callable[[], Detector]) -> None:
    celsius = teach(admitted(make), stream())
    fahrenheit = teach(admitted(make), [one._replace(values=one.values * 1.8 + 32.0) for one in stream()])
    rounding = 1e-3 if make().name == "drift" else 1e-6  # which keeps 32 bits
    np.testing.assert_allclose(np.stack(fahrenheit), np.stack(celsius), rtol=rounding, atol=rounding)


def the_order_of_a_batch_does_not_matter(make: Callable[[], Detector]) -> None:
    order = np.random.default_rng(5).permutation(SERIES)
    straight, mixed = trained(make), admitted(make)
    teach(mixed, [Batch(one.ids[order], one.timestamps, one.values[order]) for one in stream()])
    batch = stream(LIFE + 1)[-1]
    np.testing.assert_allclose(mixed.score(batch).score, straight.score(batch).score)


def extreme_values_leave_finite_scores_behind(make: Callable[[], Detector]) -> None:
    detector = trained(make)
    detector.learn(shifted(stream(LIFE + 1)[-1], 0, 1e300), np.ones(SERIES))
    assert np.isfinite(detector.score(stream(LIFE + 2)[-1]).score).all()


def admitting_many_keeps_what_was_learnt(make: Callable[[], Detector]) -> None:
    detector, untouched = trained(make), trained(make)
    batch = stream(LIFE + 1)[-1]
    count = 5000
    groups = np.full(count, -1, np.int32)
    detector.admit(np.arange(SERIES, SERIES + count), Traits(np.zeros(count, np.int8), groups * 0, groups))
    np.testing.assert_array_equal(detector.score(batch).score, untouched.score(batch).score)


def an_empty_batch_is_fine(make: Callable[[], Detector]) -> None:
    nothing = Batch(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    detector = trained(make)
    assert len(detector.score(nothing).score) == 0
    detector.learn(nothing, np.empty(0))
    assert same(detector, trained(make))


CHECKS = [
    scoring_is_pure,
    an_untrained_detector_has_no_opinion,
    a_trained_detector_has_one,
    a_sample_of_weight_zero_teaches_nothing,
    a_missing_series_is_not_touched,
    a_fault_scores_above_normal_life_with_its_sign,
    the_expected_value_is_what_the_series_usually_says,
    a_truncated_input_changes_no_earlier_score,
    a_restored_detector_has_the_same_future,
    a_snapshot_does_not_follow_the_detector,
    a_forgotten_series_has_no_opinion,
    one_wild_series_does_not_change_another,
    a_change_of_unit_changes_no_score,
    the_order_of_a_batch_does_not_matter,
    extreme_values_leave_finite_scores_behind,
    admitting_many_keeps_what_was_learnt,
    an_empty_batch_is_fine,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: str(check.__name__))
@pytest.mark.parametrize("make", DETECTORS.values(), ids=DETECTORS.keys())
def test_conformance(make: Callable[[], Detector], check: Callable[[Callable[[], Detector]], None]) -> None:
    check(make)
