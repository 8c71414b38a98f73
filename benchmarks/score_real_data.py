"""How well ``coldaisle score`` finds the labelled events of the published sets."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.detection_marks import alarms, auc_pr, event_f1, oracle_event_f1, vus_pr
from coldaisle.clock import SECOND
from models.ensemble import Ensemble

Floats = NDArray[np.float64]
START = 1_700_000_000 * SECOND


class Case(NamedTuple):
    """One entity with its labels."""

    name: str
    interval_seconds: int
    train: Floats | None
    values: Floats
    labels: NDArray[np.bool_]
    causes: tuple[tuple[int, int, frozenset[int]], ...] = ()  # first and last row of an event, metrics that caused it


def data_folder() -> Path:
    """Return where the published sets lie."""
    return Path(os.environ.get("COLDAISLE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def cases(which: str) -> Iterator[Case]:
    """Yield the entities of ``smd``, ``asd`` or ``ms_cloud``."""
    folder = data_folder() / which
    if which == "ms_cloud":
        for path in sorted(folder.glob("*.csv")):
            frame = pd.read_csv(path)
            moments = pd.DatetimeIndex(pd.to_datetime(frame["TimeStamp"], utc=True)).as_unit("ns").asi8
            interval = int(np.median(np.diff(moments))) // SECOND
            values = frame[["Value"]].to_numpy(np.float64)
            yield Case(path.stem, interval, None, values, frame["Label"].to_numpy() > 0)
        return
    for path in sorted(folder.glob("*.npz")):
        held = np.load(path)
        train, test = held["train"].astype(np.float64), held["test"].astype(np.float64)
        labels = held["label"].ravel() > 0
        yield Case(path.stem, 60 if which == "smd" else 300, train, test, labels, causes(folder, path.stem))


def causes(folder: Path, name: str) -> tuple[tuple[int, int, frozenset[int]], ...]:
    """Return which metrics (from 0) the publisher blames for which rows; nothing where it does not say."""
    stated = [
        path for path in (folder / "interpretation_label" / f"{name}.txt", folder / f"{name}.txt") if path.exists()
    ]
    if not stated:
        return ()
    lines = [line.strip().partition(":") for line in stated[0].read_text().splitlines() if line.strip()]
    ends = [tuple(map(int, rows.split("-"))) for rows, _, _ in lines]
    blamed = [frozenset(int(metric) - 1 for metric in metrics.split(",")) for _, _, metrics in lines]
    return tuple((first, last, metrics) for (first, last), metrics in zip(ends, blamed, strict=True))


def pca_scores(train: Floats, values: Floats) -> Floats:
    """Return the mark to beat: reconstruction error of 95 % of the variance, smoothed by EWMA(0.1)."""
    mean, spread = train.mean(axis=0), np.maximum(train.std(axis=0), 1e-4)
    variances, vectors = np.linalg.eigh(np.cov(((train - mean) / spread).T))
    kept = int(np.searchsorted(np.cumsum(variances[::-1]) / variances.sum(), 0.95)) + 1
    components = vectors[:, ::-1][:, :kept]
    distance = (values - mean) / spread
    errors = ((distance - distance @ components @ components.T) ** 2).sum(axis=1)
    smooth, smoothed = 0.0, []
    for error in errors:
        smooth += 0.1 * (float(error) - smooth)
        smoothed.append(smooth)
    return np.array(smoothed)


def measure(case: Case, scores: Floats, flagged: NDArray[np.bool_] | None) -> dict[str, float]:
    """Return the marks of one entity; without events only the false alarms can be told."""
    days = len(scores) * case.interval_seconds / 86_400.0
    marks: dict[str, float] = {}
    if case.labels.any():
        marks |= {
            "VUS-PR": vus_pr(case.labels, scores),
            "AUC-PR": auc_pr(case.labels, scores),
            "event F1, oracle": oracle_event_f1(case.labels, scores),
        }
    if flagged is not None:
        called = alarms(case.labels, flagged)
        if case.labels.any():
            marks |= {"event F1": event_f1(case.labels, flagged), "alarm F1": called.f1}
        if called.delays:
            marks["delay, rows"] = float(np.median(called.delays))
        marks["false/day"] = called.false / days
    return marks


def ours(case: Case, train: bool, budget: float) -> dict[str, float]:
    """Return the marks of what the command gives, what it costs, and the false events on the normal half."""
    ensemble = Ensemble(case.values.shape[1], budget)
    history = case.train if train and case.train is not None else case.values[:0]
    times = START + np.arange(len(history) + len(case.values)) * case.interval_seconds * SECOND
    began = time.process_time()
    normal = ensemble.score(times[: len(history)], history).flagged
    found = ensemble.score(times[len(history) :], case.values)
    marks = {"seconds": time.process_time() - began}
    if len(history):
        days = len(history) * case.interval_seconds / 86_400.0
        marks["false/day, normal half"] = alarms(np.zeros(len(history), np.bool_), normal).false / days
    named = [
        float(found.ranked[first + int(np.argmax(found.flagged[first : last + 1])), 0] in metrics)
        for first, last, metrics in case.causes
        if found.flagged[first : last + 1].any()
    ]
    if named:
        marks["cause named"] = float(np.mean(named))
    return measure(case, np.nan_to_num(found.score), found.flagged) | marks


def report(which: str, budget: float, most: int | None) -> None:
    """Print one set's table. Columns marked oracle choose their threshold with the labels; the others use none."""
    rows: dict[str, list[dict[str, float]]] = {}
    random = np.random.default_rng(0)
    for case in list(cases(which))[:most]:
        rows.setdefault("random", []).append(measure(case, random.random(len(case.values)), None))
        if case.train is not None:
            rows.setdefault("PCA 95 % + EWMA", []).append(measure(case, pca_scores(case.train, case.values), None))
            rows.setdefault("coldaisle --train", []).append(ours(case, True, budget))
        rows.setdefault("coldaisle", []).append(ours(case, False, budget))
    print(f"\n{which}, {len(rows['random'])} entities, budget {budget:g} false events a day")
    print(pd.DataFrame({name: pd.DataFrame(marks).mean() for name, marks in rows.items()}).T.round(3).to_string())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Marks of `coldaisle score` on the published sets.")
    parser.add_argument("sets", nargs="*", default=["smd", "asd", "ms_cloud"])
    parser.add_argument("--budget", type=float, default=0.2)
    parser.add_argument("--most", type=int, default=None, help="entities of each set")
    args = parser.parse_args()
    for which in args.sets:
        report(which, args.budget, args.most)


if __name__ == "__main__":
    main()
