"""What foretells limits remembers only series that a limit holds for; rows change hands without a trace."""

from __future__ import annotations

import numpy as np

from coldaisle.state import Kept
from coldaisle.warner import View
from models.limit_warning import LimitWarning
from tests.models.warned import Place

INLET = "node_inlet_temperature_celsius"
POWER = "gpu_power_watts"
LIMIT = (35.0, True)


def rising(seed: int, minutes: int = 60) -> list[float]:
    return list(24.0 + 0.19 * np.arange(minutes) + np.random.default_rng(seed).normal(0, 0.2, minutes))


def rows(warner: LimitWarning) -> list[int]:
    return [int(row) for row in Kept(warner.state()).array("row", np.int32, None)]


def said(view: View) -> list[tuple[float, float]]:
    """Return what is told; the last bits depend on where in its array a number lies."""
    return [(round(one.probability, 9), round(one.within.median, 3)) for one in view.outlooks]


def give(place: Place, limited: dict[int, tuple[float, bool]]) -> None:
    """Let other series come into the slots of a place."""
    place.watched = Place(LimitWarning(), place.keys, limited).watched
    for slot, (limit, upward) in limited.items():
        place._limits[slot], place._upward[slot] = limit, upward


def test_only_series_with_a_limit_have_a_row_and_say_what_they_would_say_alone() -> None:
    warner = LimitWarning()
    crowd = Place(warner, [(POWER, 1, 0)] * 5 + [(INLET, 0, 0)] + [(POWER, 2, 0)] * 5, {5: LIMIT})
    alone = Place(LimitWarning(), [(INLET, 0, 0)], {0: LIMIT})
    heard = [(said(crowd.look([300.0] * 5 + [value] + [200.0] * 5)), said(alone.look([value]))) for value in rising(1)]
    assert all(crowded == lonely for crowded, lonely in heard)
    assert any(crowded for crowded, _ in heard)
    assert rows(warner) == [-1] * 5 + [0] + [-1] * 5
    assert len(Kept(warner.state()).array("known", np.int64, None)) == 1


def test_a_row_given_back_is_given_to_another_who_begins_anew() -> None:
    warner = LimitWarning()
    place = Place(warner, [(INLET, 0, 0), (INLET, 1, 0), (INLET, 2, 0)], {0: LIMIT, 1: LIMIT})
    for value in rising(2, 50):
        place.look([value, 22.0, 22.0])
    give(place, {1: LIMIT, 2: LIMIT})  # the series of slot 0 is gone, one in slot 2 has come
    warner.reset(np.array([2]))
    fresh = Place(LimitWarning(), [(INLET, 2, 0)], {0: LIMIT})
    for value in rising(3):
        assert said(place.look([float("nan"), 22.0, value])) == said(fresh.look([value]))
    assert rows(warner) == [-1, 1, 0]


def test_a_slot_that_begins_anew_forgets_what_was_learnt_in_it() -> None:
    warner = LimitWarning()
    place = Place(warner, [(INLET, 0, 0)], {0: LIMIT})
    for value in rising(4):
        place.look([value], broken=(0,) if value > 31.0 else ())
    warner.reset(np.array([0]))
    fresh = Place(LimitWarning(), [(INLET, 0, 0)], {0: LIMIT})
    assert [said(place.look([value])) for value in rising(5)] == [said(fresh.look([value])) for value in rising(5)]


def test_rows_are_taken_back_as_they_were() -> None:
    places = [Place(LimitWarning(), [(INLET, n, 0) for n in range(3)], {0: LIMIT, 2: LIMIT}) for _ in range(2)]
    first, second = places
    for value in rising(6, 50):
        first.look([value, 20.0, 26.0])
    give(first, {1: LIMIT, 2: LIMIT})
    first.warner.reset(np.array([1]))
    first.look([float("nan"), 20.0, 26.0])
    second.warner.restore(first.warner.state())
    second.minutes = first.minutes
    give(second, {1: LIMIT, 2: LIMIT})
    views = [
        [said(place.look([float("nan"), value, value + 2.0])) for value in rising(7, 60)] for place in (first, second)
    ]
    assert views[0] == views[1]
    states = [place.warner.state() for place in (first, second)]
    assert all(np.array_equal(states[0][name], states[1][name], equal_nan=True) for name in states[0])
