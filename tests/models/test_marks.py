from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from models.marks import alarms, auc_pr, curve_pr, event_f1, oracle_event_f1, reliability, spans, vus_pr

LABELS = np.array([0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1], bool)


def flags(*rows: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    marked = np.zeros(len(LABELS), bool)
    marked[list(rows)] = True
    return marked


def test_runs_are_told_by_first_and_last_row() -> None:
    assert spans(LABELS).tolist() == [[2, 4], [18, 19]]
    assert spans(np.zeros(3, bool)).tolist() == []


@given(
    labels=st.lists(st.booleans(), min_size=2, max_size=60).filter(any),
    steps=st.integers(1, 5),
    seed=st.integers(0, 99),
)
@settings(derandomize=True, max_examples=50, deadline=None)
def test_auc_pr_is_the_average_precision_of_scikit_learn_ties_included(
    labels: list[bool], steps: int, seed: int
) -> None:
    marked = np.array(labels)
    scores = np.random.default_rng(seed).integers(0, steps, len(marked)).astype(float)
    assert auc_pr(marked, scores) == pytest.approx(average_precision_score(marked, scores))


def test_the_curve_ends_where_everything_is_found() -> None:
    scores = np.linspace(0, 1, len(LABELS))
    curve = curve_pr(LABELS, scores)
    assert curve[0] == (0.2, 1.0)
    recall, precision = curve[-1]
    assert recall == 1.0
    assert precision == pytest.approx(5 / 18)
    assert [recall for recall, _ in curve] == sorted(recall for recall, _ in curve)


def test_a_perfect_score_has_a_volume_near_one_and_a_constant_one_little() -> None:
    labels = np.zeros(2000, bool)
    labels[900:1000] = True
    assert vus_pr(labels, labels.astype(float)) > 0.8
    assert vus_pr(labels, np.zeros(2000)) < 0.1


def test_a_score_that_is_a_little_late_loses_little_volume() -> None:
    labels, late = np.zeros(2000, bool), np.zeros(2000)
    labels[900:1000], late[910:1010] = True, 1.0
    assert vus_pr(labels, late) > 0.7


@pytest.mark.parametrize("mark", [auc_pr, vus_pr, curve_pr])
def test_without_an_event_there_is_no_curve(mark: object) -> None:
    assert callable(mark)
    with pytest.raises(ValueError, match="nothing is labelled"):
        mark(np.zeros(5, bool), np.arange(5.0))


def test_event_f1_counts_events_once_and_rows_each() -> None:
    assert event_f1(LABELS, flags(3, 10)) == pytest.approx(0.5)  # recall 1 of 2, precision 1 of 2
    assert event_f1(LABELS, flags()) == 0.0
    assert event_f1(LABELS, flags(10)) == 0.0


def test_the_oracle_is_never_worse_than_a_threshold_chosen_without_labels() -> None:
    scores = np.random.default_rng(0).random(len(LABELS)) + LABELS
    assert oracle_event_f1(LABELS, scores) >= event_f1(LABELS, scores > 1.5)


def test_flagged_runs_with_small_gaps_are_one_alarm() -> None:
    called = alarms(LABELS, flags(3, 14))  # ten rows between them
    assert (called.right, called.false, called.found) == (1, 0, 1)
    assert called.delays == (1,)
    assert alarms(LABELS, flags(3, 15)).false == 1


def test_alarm_f1_is_the_mean_of_precision_by_alarms_and_recall_by_events() -> None:
    called = alarms(LABELS, flags(2, 18))
    assert called.f1 == 1.0
    assert alarms(LABELS, flags()).f1 == 0.0


def test_uniform_probabilities_are_honest_and_halved_ones_are_not() -> None:
    tail = np.random.default_rng(0).random(100_000)
    normal = np.ones(len(tail), bool)
    for honest, halved in zip(reliability(tail, normal), reliability(tail / 2, normal), strict=True):
        assert honest.observed == pytest.approx(honest.stated, rel=0.35)
        assert halved.observed == pytest.approx(2 * honest.stated, rel=0.35)


def test_labelled_rows_and_rows_without_an_opinion_do_not_count() -> None:
    tail = np.array([1e-9, np.nan, 0.5, 0.02])
    told = {one.stated: one for one in reliability(tail, np.array([False, True, True, True]))}
    assert (told[0.1].rows, told[0.1].beyond) == (2, 1)
    assert np.isnan(reliability(np.array([np.nan]), np.array([True]))[0].observed)
