"""What each detector is worth on one labelled file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cli.evaluation_cases import Case, Place, read
from coldaisle.errors import ConfigError
from models.ensemble import Ensemble
from models.marks import Stated, alarms, auc_pr, curve_pr, event_f1, oracle_event_f1, reliability, spans, vus_pr
from models.row_detectors import Judged, Rows, judge

Floats = NDArray[np.float64]

COLDAISLE, TRAINED = "coldaisle", "coldaisle --train"
ALWAYS = ("random", "pca")
"""Nobody should be shown a mark without what knowing nothing and what the classic method reach."""
DETECTORS: dict[str, str] = {
    "random": "noise, flagged as often as the budget allows",
    "pca": "reconstruction from 95 % of the variance, smoothed; learns from the history, else from the first 15 %",
    "level": "the distance of each metric from its own level",
    "seasonal": "the distance of each metric from its time of day and week",
    "reconstruction": "what components learnt as time goes do not explain",
    "forest": "an isolation forest over distances from levels, trained on the history, else on the first 15 %",
    COLDAISLE: "what `coldaisle score` gives",
    TRAINED: "what `coldaisle score --train` gives, where the file has a history",
}
DEFAULT = ("random", "pca", COLDAISLE, TRAINED)
POINTS = 480
"""Of a line in a picture."""
METRICS_SHOWN = 3
RAREST_DRAWN = 1e-5
"""The top of a strip: once in a hundred thousand rows, two months of minutes."""
CURVE_POINTS = 60


class Mark(NamedTuple):
    """
    What one detector is worth on one file; None = cannot be told (no event, no flag).

    ``oracle_event_f1`` chooses its threshold with the labels in hand; nothing else looks at them before it is judged.
    """

    vus_pr: float | None
    auc_pr: float | None
    event_f1: float | None
    oracle_event_f1: float | None
    alarm_f1: float | None
    delay_seconds: float | None  # median over the found events
    false_per_day: float
    found: int
    events: int


class Strip(NamedTuple):
    """A detector's score through a file: its largest in each of POINTS parts as a rank 0..1, and its flagged spans."""

    score: tuple[float | None, ...]
    flagged: tuple[tuple[float, float], ...]


class Line(NamedTuple):
    """A metric through a file: its least and largest value in each of POINTS parts."""

    name: str
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


class Told(NamedTuple):
    """One detector on one file."""

    detector: str
    mark: Mark
    curve: tuple[tuple[float, float], ...]  # (recall, precision)
    stated: tuple[Stated, ...]
    strip: Strip


class FileMarks(NamedTuple):
    """One file: every detector's marks, and enough to draw it. Spans are shares of its length, 0..1."""

    name: str
    group: str
    rows: int
    metrics: int
    days: float
    first_ns: int
    last_ns: int
    events: tuple[tuple[float, float], ...]
    lines: tuple[Line, ...]
    told: tuple[Told, ...]


def chosen(text: str | None) -> tuple[str, ...]:
    """
    Return the detectors that ``a,b,c`` or ``all`` names, those that are always shown first; ``trained`` is short.

    Raises ConfigError for a name that nobody has.
    """
    if text is None:
        return DEFAULT
    said = [TRAINED if part.strip() == "trained" else part.strip() for part in text.split(",") if part.strip()]
    names = tuple(DETECTORS) if said == ["all"] else tuple(said)
    unknown = [name for name in names if name not in DETECTORS]
    if unknown or not names:
        told = f"no detector is called {unknown[0]!r}" if unknown else "names no detector"
        raise ConfigError(f"--detectors: {told}; there are {', '.join(DETECTORS)} (or all)")
    return tuple(dict.fromkeys((*ALWAYS, *names)))


def judge_file(place: Place, detectors: Sequence[str], budget: float) -> FileMarks:
    """Read a file and hold each detector's answer against its labels. Raises ConfigError."""
    case = read(place)
    answers = {name: _answer(case, name, budget) for name in detectors}
    told = tuple(_told(case, name, answer) for name, answer in answers.items() if answer is not None)
    first = case.timestamps[len(case.history)]
    return FileMarks(
        name=case.name, group=case.group, rows=len(case.values), metrics=len(case.metrics), days=case.days,
        first_ns=int(first), last_ns=int(case.timestamps[-1]), events=_shares(case.labels),
        lines=_lines(case), told=told,
    )  # fmt: skip


def _answer(case: Case, name: str, budget: float) -> Judged | None:
    if name == TRAINED and not len(case.history):
        return None
    if name in (COLDAISLE, TRAINED):
        return _scored(case, name == TRAINED, budget)
    values = np.concatenate((case.history, case.values))
    return judge(name, Rows(case.timestamps, values, len(case.history)), budget)


def _scored(case: Case, train: bool, budget: float) -> Judged:
    """Return what the command ``coldaisle score`` gives."""
    detector = Ensemble(len(case.metrics), budget)
    learnt = len(case.history)
    if train:
        detector.score(case.timestamps[:learnt], case.history)
    found = detector.score(case.timestamps[learnt:], case.values)
    return Judged(found.score, found.tail, found.flagged)


def _told(case: Case, name: str, answer: Judged) -> Told:
    labels, flagged = case.labels, answer.flagged
    scores = np.nan_to_num(answer.score, nan=-1.0)  # no opinion is less than any
    called = alarms(labels, flagged)
    there = bool(labels.any())
    delay = float(np.median(called.delays)) * case.interval_seconds if called.delays else None
    mark = Mark(
        vus_pr=vus_pr(labels, scores) if there else None,
        auc_pr=auc_pr(labels, scores) if there else None,
        event_f1=event_f1(labels, flagged) if there else None,
        oracle_event_f1=oracle_event_f1(labels, scores) if there else None,
        alarm_f1=called.f1 if there else None,
        delay_seconds=delay,
        false_per_day=called.false / case.days,
        found=called.found,
        events=called.events,
    )
    curve = tuple(curve_pr(labels, scores, CURVE_POINTS)) if there else ()
    return Told(name, mark, curve, tuple(reliability(answer.tail, ~labels)), _strip(answer))


def _strip(answer: Judged) -> Strip:
    """Draw tail probabilities where there are any: a score's own scale says nothing to people."""
    with np.errstate(divide="ignore"):
        height = np.clip(-np.log10(np.maximum(answer.tail, RAREST_DRAWN)) / -np.log10(RAREST_DRAWN), 0.0, 1.0)
    return Strip(_extreme(height, np.fmax), _shares(answer.flagged))


def _lines(case: Case) -> tuple[Line, ...]:
    """Return the metrics that the labelled rows move most, else the first ones."""
    order = np.arange(len(case.metrics))
    if case.labels.any() and not case.labels.all():
        usual = case.values[~case.labels]
        with np.errstate(all="ignore"):
            middle = np.nan_to_num(np.array([_middle(column) for column in usual.T]))
            spread = np.nan_to_num(np.array([np.nanstd(column) if _known(column) else 0.0 for column in usual.T]))
            moved = np.abs(case.values[case.labels] - middle)
            distance = np.array([_middle(column) for column in moved.T]) / np.maximum(spread, 1e-9)
        order = np.argsort(-np.nan_to_num(np.where(spread > 0, distance, 0.0)), kind="stable")
    lines = []
    for number in order[:METRICS_SHOWN].tolist():
        column = case.values[:, number]
        lines.append(Line(case.metrics[number], _extreme(column, np.fmin), _extreme(column, np.fmax)))
    return tuple(lines)


def _known(column: Floats) -> bool:
    return not bool(np.isnan(column).all())


def _middle(column: Floats) -> float:
    return float(np.nanmedian(column)) if _known(column) else 0.0


def _shares(flags: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    size = max(len(flags), 1)
    return tuple((float(first) / size, float(last + 1) / size) for first, last in spans(flags))


def _extreme(values: Floats, pick: np.ufunc) -> tuple[float | None, ...]:
    """Return the least or largest value of each of up to POINTS equal parts; None where nothing is known."""
    edges = np.unique(np.linspace(0, len(values), min(POINTS, len(values)) + 1).astype(np.int64))[:-1]
    picked = pick.reduceat(values, edges)
    return tuple(None if np.isnan(value) else float(f"{value:.4g}") for value in picked)
