"""How a belief about machines and an entity's own life make one rate of events."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from coldaisle.clock import MINUTE
from models.entity_rarity import USUAL_RATE_AT, Rarity

Floats = NDArray[np.float64]

DAY_ROWS = 1440
HEIGHT = USUAL_RATE_AT + 1.0


def lived(days: int, events_a_day: int) -> Rarity:
    """Return what is known after days of noise with so many events of HEIGHT a day, ten rows each."""
    random = np.random.default_rng(1)
    rarity = Rarity()
    rarity.pace(DAY_ROWS)
    for _ in range(days):
        height = random.normal(0.0, 0.5, DAY_ROWS)
        for event in range(events_a_day):
            start = 50 + event * (DAY_ROWS // events_a_day)
            height[start : start + 10] = HEIGHT
        for start in range(0, DAY_ROWS, 48):
            rarity.learn(np.exp(height[start : start + 48]), 48 * MINUTE)
    return rarity


def rate_at(rarity: Rarity, height: float) -> float:
    return float(rarity.rate()[round(height / 0.05) - 1])


def test_a_few_events_more_than_believed_change_little() -> None:
    quiet, livelier = rate_at(lived(7, 0), HEIGHT - 0.5), rate_at(lived(7, 1), HEIGHT - 0.5)
    assert quiet < livelier < 1.7 * quiet


def test_who_calls_ten_times_as_often_as_anybody_is_taken_by_its_own_count() -> None:
    busy = lived(7, 6)
    assert rate_at(busy, HEIGHT - 0.5) > 4.0
    assert busy.limit(0.2) > HEIGHT - 0.1
    assert lived(7, 1).limit(0.2) < HEIGHT - 0.3


def test_one_day_of_trouble_is_no_other_kind_of_life() -> None:
    assert lived(1, 3).limit(0.2) < HEIGHT - 0.3


def test_the_rate_never_rises_with_the_height_nor_the_tail() -> None:
    rarity = lived(5, 6)
    assert (np.diff(rarity.rate()) <= 0.0).all()
    tail = rarity.tail(np.linspace(-3.0, 15.0, 400))
    assert (np.diff(tail) <= 0.0).all()
    assert 0.0 < tail.min() < 1e-3
    assert tail.max() <= 1.0


def test_the_tail_counts_rows_and_not_events() -> None:
    rarity = lived(7, 6)
    share = 6 * 10 / DAY_ROWS  # rows that stand so high
    assert 0.3 * share < float(rarity.tail(np.array([HEIGHT - 0.5]))[0]) < 3.0 * share


def test_times_that_stand_still_are_no_trouble() -> None:
    rarity = Rarity()
    height = np.where(np.arange(2000) % 100 < 10, HEIGHT, 0.0)
    for start in range(0, len(height), 50):
        rarity.learn(np.exp(height[start : start + 50]), 0)
    assert np.isfinite(rarity.rate()).all()
