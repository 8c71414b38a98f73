from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from coldaisle.clock import MINUTE
from models.row_detectors import ALONE, Judged, Rows, judge

HISTORY, LENGTH = 700, 500
NAMES = sorted(ALONE)


def rows(learnt: int = HISTORY, metrics: int = 4) -> Rows:
    """Four metrics that follow one load; for 40 rows one of them does not, late in the file."""
    random = np.random.default_rng(1)
    count = HISTORY + LENGTH
    load = np.sin(np.arange(count) / 40) + random.normal(0, 0.1, count)
    values = load[:, None] * np.arange(1, metrics + 1) + random.normal(0, 0.1, (count, metrics))
    values[HISTORY + 400 : HISTORY + 440, 0] += 6.0
    start = HISTORY - learnt
    return Rows(np.arange(count - start, dtype=np.int64) * MINUTE, values[start:], learnt)


@cache
def judged_whole(name: str) -> Judged:
    """Return what a detector with a history says of the whole file: look, do not change it."""
    return judge(name, rows(), 0.2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("learnt", [0, HISTORY])
def test_there_is_one_answer_a_row_after_those_only_learnt_from(name: str, learnt: int) -> None:
    judged = judged_whole(name) if learnt else judge(name, rows(learnt), 0.2)
    assert all(len(part) == LENGTH for part in judged)


@pytest.mark.parametrize("name", NAMES)
def test_no_row_looks_at_a_later_one(name: str) -> None:
    whole = rows()
    until = HISTORY + 250
    cut = Rows(whole.timestamps[:until], whole.values[:until], HISTORY)
    for full, part in zip(judged_whole(name), judge(name, cut, 0.2), strict=True):
        np.testing.assert_allclose(full[:250].astype(float), part.astype(float))


@pytest.mark.parametrize("name", ["pca", "level", "reconstruction", "forest"])
def test_what_breaks_the_pattern_stands_out(name: str) -> None:
    score = judged_whole(name).score
    assert np.nanmedian(score[405:440]) > np.nanquantile(score[:395], 0.9)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "random"])
def test_rows_of_which_nothing_was_measured_have_no_opinion_that_raises_an_alarm(name: str) -> None:
    whole = rows()
    values: NDArray[np.float64] = whole.values.copy()
    values[HISTORY + 100 : HISTORY + 150] = np.nan
    judged = judge(name, Rows(whole.timestamps, values, HISTORY), 0.2)
    assert not judged.flagged[101:150].any()


def test_noise_is_flagged_as_often_as_the_budget_allows() -> None:
    days = 100
    count = days * 1440
    many = Rows(np.arange(count, dtype=np.int64) * MINUTE, np.zeros((count, 1)), 0)
    assert 10 <= int(judge("random", many, 0.2).flagged.sum()) <= 30


def test_one_metric_is_cut_into_windows_for_components() -> None:
    score = judge("pca", rows(metrics=1), 0.2).score
    assert np.nanmax(score[400:440]) > 5 * np.nanmedian(score[:400])


def test_a_file_shorter_than_a_window_has_no_opinion() -> None:
    short = Rows(np.arange(20, dtype=np.int64) * MINUTE, np.ones((20, 1)), 0)
    assert np.isnan(judge("pca", short, 0.2).score).all()
    assert np.isnan(judge("forest", short, 0.2).score).all()
