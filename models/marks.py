"""The marks of anomaly detection: VUS-PR, AUC-PR, event F1, alarm F1, delay, false alarms and reliability."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

BRIDGED_ROWS = 10


def spans(flags: Flags) -> NDArray[np.int64]:
    """Return the runs of True as rows of (first, last), [n, 2]."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return np.stack((edges[::2], edges[1::2] - 1), axis=1).astype(np.int64)


def auc_pr(labels: Flags, scores: Floats) -> float:
    """
    Return the average precision: the precision at every threshold, weighted by the recall it adds.

    Raises ValueError where nothing is labelled.
    """
    _must_have_events(labels)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)  # equal scores are one threshold
    hits = np.cumsum(labels[order])[last]
    flagged = np.flatnonzero(last) + 1
    return float(np.sum(np.diff(hits, prepend=0) / labels.sum() * hits / flagged))


def vus_pr(labels: Flags, scores: Floats, window: int = 100, thresholds: int = 250) -> float:
    """
    Return the volume under the precision-recall surface of Paparrizos et al. (VLDB 2022) as TSB-AD computes it.

    The labels grow soft shoulders of 0..``window`` rows; recall counts soft hits times the share of events
    touched at all. Raises ValueError where nothing is labelled.
    """
    _must_have_events(labels)
    size, events, positives = len(scores), spans(labels), float(labels.sum())
    order = np.argsort(-scores, kind="stable")
    ranks = np.linspace(0, size - 1, thresholds).astype(np.int64)
    limits = scores[order][ranks]
    flagged = np.searchsorted(-scores[order], -limits, side="right")
    hard = np.cumsum(labels[order])[flagged - 1]
    areas = []
    for width in range(window + 1):
        soft = labels.astype(np.float64)
        half = width // 2
        for first, last in events:
            after = np.arange(last + 1, min(last + half + 1, size))
            before = np.arange(max(first - half, 0), first)
            soft[after] += np.sqrt(1 - (after - last) / max(width, 1))
            soft[before] += np.sqrt(1 - (first - before) / max(width, 1))
        np.minimum(soft, 1.0, out=soft)
        widened = spans(_widened(labels, events, half))
        best = np.sort([scores[first : last + 1].max() for first, last in widened])
        touched = (len(best) - np.searchsorted(best, limits, side="left")) / len(best)
        hits = np.cumsum(soft[order])[flagged - 1]
        recall = np.minimum(hits / ((positives + positives + hits - hard) / 2.0), 1.0) * touched
        areas.append(float(np.sum(np.diff(recall, prepend=0.0) * hits / flagged)))
    return float(np.mean(areas))


def _must_have_events(labels: Flags) -> None:
    if not labels.any():
        raise ValueError("nothing is labelled: a curve of precision and recall needs an event")


def _widened(labels: Flags, events: NDArray[np.int64], half: int) -> Flags:
    wide = labels.copy()
    for first, last in events:
        wide[max(first - half, 0) : last + half + 1] = True
    return wide


def event_f1(labels: Flags, flags: Flags) -> float:
    """Return the harmonic mean of the recall by events and the precision by points (TSB-AD's Event-based-F1)."""
    if not flags.any() or not labels.any():
        return 0.0
    recall = float(np.mean([flags[first : last + 1].any() for first, last in spans(labels)]))
    precision = float((flags & labels).sum() / flags.sum())
    return 0.0 if recall + precision == 0 else 2 * recall * precision / (recall + precision)


def oracle_event_f1(labels: Flags, scores: Floats, thresholds: int = 200) -> float:
    """Return the best event F1 over ``thresholds`` quantiles of the scores: chosen with the labels in hand."""
    shares = np.geomspace(0.5 / len(scores), 0.5, thresholds)
    return max(event_f1(labels, scores >= limit) for limit in np.unique(np.quantile(scores, 1 - shares)))


def curve_pr(labels: Flags, scores: Floats, points: int = 100) -> list[tuple[float, float]]:
    """Return (recall, precision) at up to ``points`` thresholds, recall rising. Raises ValueError as :func:`auc_pr`."""
    _must_have_events(labels)
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = np.cumsum(labels[order])[last]
    recall, precision = hits / labels.sum(), hits / (last + 1)
    wanted = np.unique(np.searchsorted(recall, np.linspace(0, recall[-1], points)))
    return [(float(recall[at]), float(precision[at])) for at in np.minimum(wanted, len(recall) - 1)]


class Alarms(NamedTuple):
    """Flagged runs, gaps of up to 10 rows bridged, held against the labelled events."""

    right: int
    false: int
    found: int
    events: int
    delays: tuple[int, ...]  # rows from an event's start to its first flagged row

    @property
    def f1(self) -> float:
        """Precision by alarms and recall by events; 0 where nothing is right."""
        alarms = self.right + self.false
        if not alarms or not self.events:
            return 0.0
        precision, recall = self.right / alarms, self.found / self.events
        return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


def alarms(labels: Flags, flags: Flags) -> Alarms:
    """Return what a person would have been called for."""
    bridged = flags.copy()
    runs = spans(flags)
    for (_, last), (first, _) in pairwise(runs):
        if first - last - 1 <= BRIDGED_ROWS:
            bridged[last : first + 1] = True
    calls, events = spans(bridged), spans(labels)
    right = sum(bool(labels[first : last + 1].any()) for first, last in calls)
    delays = [int(np.argmax(flags[first : last + 1])) for first, last in events if flags[first : last + 1].any()]
    found = sum(bool(bridged[first : last + 1].any()) for first, last in events)
    return Alarms(right, len(calls) - right, found, len(events), tuple(delays))


class Stated(NamedTuple):
    """How often normal rows went as far as probability ``stated`` says they do."""

    stated: float
    rows: int  # normal rows with an opinion
    beyond: int  # of them, those with a tail probability of at most ``stated``

    @property
    def observed(self) -> float:
        """The share that went so far; equal to ``stated`` where the probabilities are honest."""
        return self.beyond / self.rows if self.rows else float("nan")


STATED = (0.1, 0.03, 0.01, 0.003, 0.001, 3e-4, 1e-4)
"""Two a decade, as far as a month of minutes can tell."""


def reliability(tail: Floats, normal: Flags) -> list[Stated]:
    """
    Hold stated tail probabilities against the observed share of rows that nobody labelled.

    ``tail`` [n], NaN = no opinion; ``normal`` [n] says which rows count. This is the reliability diagram (Murphy and
    Winkler 1977) read along its tail, where thresholds stand.
    """
    known = tail[normal & ~np.isnan(tail)]
    return [Stated(stated, len(known), int(np.count_nonzero(known <= stated))) for stated in STATED]
