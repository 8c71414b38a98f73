"""Rare scores teach when they are over, and never where they were evidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coldaisle.detector import Batch, Scores
from pipeline.excursions import Excursions
from pipeline.strangest import Bar, Opinion, strangest, weigh


def told(
    excursions: Excursions, second: int, score: float, tail: float, weight: float = 1.0
) -> tuple[list[tuple[float, float]], float]:
    """Show one score of one series; return what excursions that end here teach, and the weight that is left."""
    weights = np.array([weight])
    seconds = np.array([second], np.uint32)
    over, far, often = excursions.hold(0, np.array([0]), seconds, np.array([score]), np.array([tail]), weights)
    assert len(over) == len(far)
    return list(zip(far.tolist(), often.tolist(), strict=True)), float(weights[0])


def begun() -> Excursions:
    excursions = Excursions(1, 100.0)
    excursions.reset(np.array([0]), 1)
    return excursions


def test_what_is_usual_teaches_at_once() -> None:
    assert told(begun(), 0, 1.0, 0.3) == ([], 1.0)


def test_an_excursion_teaches_once_it_is_over_as_far_and_as_often_as_it_came() -> None:
    excursions = begun()
    assert told(excursions, 0, 4.0, 0.005) == ([], 0.0)
    assert told(excursions, 10, -6.0, 0.001) == ([], 0.0)
    assert told(excursions, 20, 5.0, 0.002) == ([], 0.0)
    assert told(excursions, 30, 1.0, 0.3) == ([(6.0, 3.0)], 1.0)
    assert told(excursions, 40, 1.0, 0.3) == ([], 1.0)


def test_what_was_evidence_teaches_never() -> None:
    excursions = begun()
    told(excursions, 0, 4.0, 0.005)
    told(excursions, 10, 9.0, 1e-7, weight=0.0)
    told(excursions, 20, 4.0, 0.005)
    assert told(excursions, 30, 1.0, 0.3) == ([], 1.0)


def test_what_lasts_longer_than_patience_is_normal_life() -> None:
    excursions = begun()
    lessons = [told(excursions, second, 4.0, 0.005)[0] for second in range(0, 210, 10)]
    assert [each for each in lessons if each]
    assert all(far == 4.0 for each in lessons for far, _ in each)


def test_a_score_that_is_unknown_neither_begins_nor_ends_anything() -> None:
    excursions = begun()
    told(excursions, 0, 4.0, 0.005)
    assert told(excursions, 10, np.nan, np.inf)[0] == []
    assert told(excursions, 20, 1.0, 0.3)[0] == [(4.0, 1.0)]


def opinion(number: int, score: float, tail: float, expected: float) -> Opinion:
    one: NDArray[np.float64] = np.ones(1)
    batch = Batch(np.array([0]), np.array([0]), 100.0 * one)
    return Opinion(number, None, batch, Scores(score * one, expected * one, one), score * one, tail * one)


def judged(heard: list[Opinion], floors: list[float]) -> tuple[bool, int, float]:
    found = strangest(heard, 0, 1)
    bar = Bar(1e-4, 8.0, np.array(floors)[:, None], np.zeros((len(floors), 1)), np.zeros(1, np.int8))
    weighed = weigh(heard, np.array([0]), np.array([100.0]), found, bar)
    return bool(weighed.exceeds[0]), int(weighed.detector[0]), float(weighed.expected[0])


def test_a_detector_that_may_not_speak_does_not_drown_one_that_may() -> None:
    heard = [opinion(0, 7.0, 1e-9, 60.0), opinion(1, 6.0, 1e-6, 96.0)]
    assert judged(heard, [np.inf, 3.0]) == (True, 1, 96.0)


def test_of_several_that_pass_the_one_whose_rule_asks_for_most_speaks() -> None:
    heard = [opinion(0, 6.0, 1e-6, 90.0), opinion(1, 9.0, 1e-12, 96.0)]
    assert judged(heard, [8.0, 3.0]) == (True, 0, 90.0)
    assert judged(heard, [20.0, 3.0]) == (True, 1, 96.0)
    assert not judged(heard, [20.0, 5.0])[0]
