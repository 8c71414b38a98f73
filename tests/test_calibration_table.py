"""What the table of stated probabilities says of honest, boastful and missing ones."""

from __future__ import annotations

import numpy as np

from benchmarks.calibration import Normal, of_rows, of_series, reliability


def ratios(tails: np.ndarray) -> list[str]:
    return reliability(tails).split()


def test_honest_probabilities_come_true_as_often_as_stated() -> None:
    tails = np.linspace(0.0, 1.0, 100_001)[1:]
    assert ratios(tails)[:4] == ["1.00", "1.00", "1.00", "1.00"]


def test_probabilities_stated_too_small_come_true_too_often() -> None:
    assert float(ratios(np.linspace(0.0, 1.0, 100_001)[1:] / 10.0)[0]) == 10.0


def test_what_too_few_rows_can_tell_is_left_open() -> None:
    assert ratios(np.linspace(0.0, 1.0, 101)[1:])[1:4] == ["-", "-", "-"]
    assert ratios(np.full(10, np.nan))[0] == "-"


def test_rows_of_noise_are_told_honestly_and_within_the_budget() -> None:
    values = np.random.default_rng(0).normal(size=(2880, 1))
    stated = of_rows(Normal(values, np.ones(2880, np.bool_), 60), 1.0)
    assert 0.04 < float(np.nanmean(stated.tails <= 0.1)) < 0.2
    assert stated.false_events_per_day <= 2.0


def test_samples_of_noise_are_told_honestly() -> None:
    random = np.random.default_rng(0)
    entities = [Normal(random.normal(size=(1400, 2)), np.ones(1400, np.bool_), 60) for _ in range(3)]
    tails = of_series(entities)
    assert 0.08 < float((tails <= 0.1).mean()) < 0.12
