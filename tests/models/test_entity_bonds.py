"""What comes away from the other metrics of its entity without ever making a step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from coldaisle.clock import SECOND
from models.ensemble import Ensemble
from models.entity_bonds import Bonds
from models.row_findings import Findings

Floats = NDArray[np.float64]

MINUTE = 60 * SECOND
START = 1_700_000_000 * SECOND
ROWS, METRICS = 5000, 6
EVENT = slice(4000, 4120)
WRONG = 2


def life(seed: int = 1) -> Floats:
    """Six metrics that follow one load, each with its own scale and noise."""
    random = np.random.default_rng(seed)
    wander = np.zeros(ROWS)
    steps = random.normal(0.0, 0.05, ROWS)
    for row in range(1, ROWS):
        wander[row] = 0.97 * wander[row - 1] + steps[row]
    load = 0.5 + 0.3 * np.sin(2.0 * np.pi * np.arange(ROWS) / 1440.0) + wander
    scale = random.uniform(5.0, 30.0, METRICS)
    noise = random.normal(0.0, 0.02, (ROWS, METRICS))
    return np.asarray(40.0 + (load[:, None] + noise) * scale, np.float64)


def scored(values: Floats) -> Findings:
    return Ensemble(values.shape[1], 0.2).score(START + np.arange(len(values)) * MINUTE, values)


def climbs(values: Floats) -> None:
    values[EVENT, WRONG] += np.linspace(0.0, 4.0 * values[:, WRONG].std(), len(values[EVENT]))


def lags(values: Floats) -> None:
    values[EVENT, WRONG] = values[EVENT.start - 720 : EVENT.stop - 720, WRONG].copy()


def stands_still(values: Floats) -> None:
    values[EVENT, WRONG] = values[EVENT.start, WRONG]


@pytest.mark.parametrize("goes_wrong", [climbs, lags, stands_still])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_metric_that_comes_away_from_the_others_is_found_and_named(
    goes_wrong: Callable[[Floats], None], seed: int
) -> None:
    values = life(seed)
    goes_wrong(values)
    found = scored(values)
    flagged = np.flatnonzero(found.flagged)
    assert len(flagged)
    assert EVENT.start < flagged[0]
    assert flagged[-1] < EVENT.stop + 60
    assert (found.ranked[flagged, 0] == WRONG).all()


def strangers(seed: int) -> Floats:
    """Six metrics that have nothing to do with each other; the last one only has a few values."""
    values = np.random.default_rng(seed).normal(10.0, 1.0, (ROWS, METRICS))
    values[:, -1] = np.round(values[:, -1])
    return values


def test_among_strangers_too_a_sensor_that_stands_still_is_found_and_how_long_is_said() -> None:
    values = strangers(1)
    stands_still(values)
    found = scored(values)
    flagged = np.flatnonzero(found.flagged)
    assert EVENT.start < flagged[0] < EVENT.start + 10
    assert flagged[-1] < EVENT.stop
    assert (found.ranked[flagged, 0] == WRONG).all()
    assert (found.still[flagged] == flagged - EVENT.start + 1).all()


def test_what_often_repeats_itself_is_not_said_to_stand_still() -> None:
    values = strangers(2)
    values[EVENT, -1] = 10.0
    found = scored(values)
    assert not found.flagged.any()
    assert not found.still.any()


def test_what_the_others_let_expect_is_said() -> None:
    values = life()
    usual = values.copy()
    climbs(values)
    found = scored(values)
    last = np.flatnonzero(found.flagged[EVENT])[-1] + EVENT.start
    assert not found.fits[last]
    assert found.expected[last] == pytest.approx(usual[last, WRONG], abs=0.5 * usual[:, WRONG].std())
    assert values[last, WRONG] > found.expected[last] + usual[:, WRONG].std()


def test_what_is_expected_is_of_the_metric_that_is_named_whatever_else_comes_away_meanwhile() -> None:
    values = life() + 1000.0 * np.arange(METRICS)  # each metric has a thousand to itself
    climbs(values)
    begins = int(np.flatnonzero(scored(values).flagged)[0])
    values[begins + 2 : EVENT.stop, 4] = values[begins + 2, 4]  # stands still when the other has just been told
    found = scored(values)
    flagged = np.flatnonzero(found.flagged)
    assert flagged[0] == begins
    assert (found.ranked[flagged, 0] == WRONG).all()
    assert flagged[-1] > begins + 20
    assert (np.floor(found.expected[flagged] / 1000.0) == WRONG).all()
    assert not found.still[flagged].any()


def test_all_may_move_together_farther_than_ever() -> None:
    values = life()
    slowly = np.sin(np.linspace(0.0, np.pi, 400))[:, None] * 2.0 * values.std(axis=0)
    values[4000:4400] += slowly
    assert not scored(values).flagged.any()


def departures(values: Floats) -> tuple[Floats, Floats]:
    bonds = Bonds(values.shape[1], 20_000.0)
    tails, spreads = [], []
    for start in range(0, len(values), 50):
        seen = bonds.score(values[start : start + 50])
        bonds.learn()
        tails.append(seen.tail)
        spreads.append(seen.spreads)
    return np.concatenate(tails), np.concatenate(spreads)


def test_what_is_missing_pulls_on_no_other() -> None:
    values = life()
    peak = np.argsort(-values[3000:4400, 0])[:50] + 3000  # where a gap that is taken for the mean would be far from all
    whole, _ = departures(values)
    values[3000:4400, 1:3] = np.nan
    tail, spreads = departures(values)
    assert (spreads[3000:4400, 1:3] == 0.0).all()
    assert tail[peak].min() > 1e-3
    assert np.median(tail[3000:4400]) == pytest.approx(np.median(whole[3000:4400]), abs=0.15)


def test_copies_and_metrics_that_never_move_are_no_trouble() -> None:
    values = life()
    odd = np.hstack((values, values[:, :1], np.full((ROWS, 1), 7.0)))
    tail, spreads = departures(odd)
    assert np.isfinite(spreads).all()
    assert (spreads[:, -1] == 0.0).all()
    assert np.nanmin(tail) > 1e-5


def test_metrics_that_are_hardly_ever_there_together_are_no_trouble() -> None:
    values = life()
    turn = np.arange(ROWS) // 7 % 3  # of three pairs, two are there: of each pair's correlations a third is known
    for pair in range(3):
        values[turn == pair, 2 * pair : 2 * pair + 2] = np.nan
    values[::2, 0] *= -1.0
    tail, spreads = departures(values)
    assert np.isfinite(spreads).all()
    assert np.nanmin(tail) > 1e-5


def test_nothing_is_said_of_rows_without_values_nor_of_the_first_ones() -> None:
    values = life()
    values[3000:3010] = np.nan
    tail, _ = departures(values)
    assert np.isnan(tail[:500]).all()
    assert np.isnan(tail[3000:3010]).all()
    assert not np.isnan(tail[np.r_[500:3000, 3010:ROWS]]).any()


def test_a_block_is_scored_before_it_is_learnt() -> None:
    with pytest.raises(RuntimeError, match="before score"):
        Bonds(3, 20_000.0).learn()
