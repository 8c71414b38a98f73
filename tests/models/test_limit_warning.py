"""Limits that are being approached are foretold; what stands still, wanders or goes the other way is not."""

from __future__ import annotations

import numpy as np

from models.limit_warning import LimitWarning
from tests.models.warned import Place, odds

INLET = "node_inlet_temperature_celsius"
FLOW = "node_coolant_flow_litres_per_minute"


def noisy(line: np.ndarray, seed: int, spread: float) -> list[float]:
    return [float(each) for each in line + np.random.default_rng(seed).normal(0, spread, len(line))]


def test_an_inlet_that_warms_steadily_is_foretold_with_level_trend_and_limit() -> None:
    place = Place(LimitWarning(), [(INLET, 0, 0)], {0: (35.0, True)})
    line = np.concatenate([np.full(60, 24.0), 24.0 + 0.1 * np.arange(109)])
    views = [place.look([value]) for value in noisy(line, 1, 0.2)]
    assert all(not view.outlooks for view in views[:60])
    assert any(odds(view, "too_much") >= 0.5 for view in views[:-15])
    told = next(view.outlooks[0] for view in views if odds(view, "too_much") >= 0.8)
    assert told.what == "node inlet temperature passes 35 °C"
    assert told.runbook == "docs/runbooks/much.md"  # of the limit's own rule
    assert "rises by" in told.reasons[0].text
    assert told.reasons[0].limit == 35.0
    assert told.within.low <= told.within.median <= told.within.high == 3600.0


def test_a_flow_that_falls_to_its_lower_limit_is_foretold() -> None:
    place = Place(LimitWarning(), [(FLOW, 0, 0)], {0: (30.0, False)})
    line = np.concatenate([np.full(60, 50.0), 50.0 - 0.3 * np.arange(62)])
    assert any(odds(place.look([value]), "too_much") >= 0.5 for value in noisy(line, 2, 0.5))


def test_what_stands_near_its_limit_or_leaves_it_is_not_foretold() -> None:
    for line in (np.full(80, 34.2), 34.5 - 0.015 * np.arange(80)):
        place = Place(LimitWarning(), [(INLET, 0, 0)], {0: (35.0, True)})
        assert all(odds(place.look([value]), "too_much") < 0.8 for value in noisy(line, 3, 0.2))


def test_a_broken_limit_is_told_once_and_is_no_news_for_an_hour() -> None:
    place = Place(LimitWarning(), [(INLET, 0, 0)], {0: (35.0, True)})
    for _ in range(60):
        place.look([34.0])
    views = [place.look([36.0], broken=(0,)) for _ in range(5)] + [place.look([34.9]) for _ in range(30)]
    assert [len(view.happened) for view in views[:5]] == [1, 0, 0, 0, 0]
    assert all(not view.outlooks for view in views)


def test_what_load_moves_is_left_to_others() -> None:
    place = Place(LimitWarning(), [("gpu_temperature_celsius", 0, 0)], {0: (87.0, True)})
    assert all(not place.look([40.0 + 0.4 * minute]).outlooks for minute in range(110))


def test_a_state_taken_back_says_the_same() -> None:
    first, second = (Place(LimitWarning(), [(INLET, 0, 0)], {0: (35.0, True)}) for _ in range(2))
    values = noisy(24.0 + 0.12 * np.arange(80), 4, 0.05)
    for value in values[:45]:
        first.look([value])
    second.warner.restore(first.warner.state())
    second.minutes = first.minutes
    assert [second.look([value]) for value in values[45:]] == [first.look([value]) for value in values[45:]]
