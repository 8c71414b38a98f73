"""``coldaisle score``: how unusual each row of a table is, given the rows before it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cli.score_files import NO_TIMES, Sheet, Table, find, read, write
from coldaisle.errors import ConfigError
from models.ensemble import Ensemble
from models.row_findings import Findings

BUDGET_EVENTS_PER_DAY = 0.2
MOST_STATED = 1_000_000
"""No file holds enough rows to tell rarer things apart."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="CSV or Parquet files, or folders of them")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="where the scored files go")
    times = parser.add_mutually_exclusive_group()
    times.add_argument("--timestamp", metavar="NAME", help="the column that holds time (the first one)")
    times.add_argument(
        "--no-timestamp", dest="timestamp", action="store_const", const=NO_TIMES,
        help="no column holds time; rows count as a minute apart",
    )  # fmt: skip
    parser.add_argument("--exclude", action="append", default=[], metavar="NAME", help="a column to leave out")
    parser.add_argument("--train", type=Path, metavar="FILE", help="normal history with the same columns, learnt first")
    parser.add_argument(
        "--budget", type=float, default=BUDGET_EVENTS_PER_DAY, metavar="N", help="false events a day and file (0.2)"
    )
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv", help="of the output")
    parser.add_argument("--json", action="store_true", help="print a summary as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Score; every input is read before the first answer is written. Raises ConfigError."""
    if not args.budget > 0:
        raise ConfigError(f"--budget {args.budget:g}: give a number above 0, the false events a day you can bear")
    tables = [read(path, args.timestamp, args.exclude) for path in find(args.paths)]
    history = None if args.train is None else read(args.train, args.timestamp, args.exclude)
    sheets, summaries = [], []
    for table in tables:
        if table.ignored:
            print(f"coldaisle: {table.path}: no numbers in {', '.join(table.ignored)}; ignored", file=sys.stderr)
        order = np.argsort(table.timestamps, kind="stable")
        ensemble = Ensemble(len(table.metrics), args.budget)
        if history is not None:
            _learn(ensemble, history, table)
        values = table.values[order]
        found = ensemble.score(table.timestamps[order], values)
        sheets.append(_sheet(table, found, values, order))
        summaries.append(_summary(table, found))
    written = write(sheets, args.output, args.format)
    for summary, target in zip(summaries, written, strict=True):
        summary["output"] = str(target)
        if not args.json:
            print(
                f"{target}: {summary['rows']} rows, {summary['scored_rows']} scored, "
                f"{summary['anomalous_rows']} anomalous in {summary['anomalies']} anomalies"
            )
    if args.json:
        print(json.dumps({"budget_false_events_per_day": args.budget, "files": summaries}))
    return 0


def _learn(ensemble: Ensemble, history: Table, table: Table) -> None:
    missing = [name for name in table.metrics if name not in history.metrics]
    if missing:
        raise ConfigError(f"{history.path}: no numeric column {missing[0]!r}, which {table.path} has")
    columns = [history.metrics.index(name) for name in table.metrics]
    order = np.argsort(history.timestamps, kind="stable")
    ensemble.score(history.timestamps[order], history.values[order][:, columns])


def _sheet(table: Table, found: Findings, values: NDArray[np.float64], order: NDArray[np.int64]) -> Sheet:
    """Return the answer in the order of the file; ``found`` and ``values`` are in the order of time."""
    rows = len(order)
    scores: list[object] = [None] * rows
    flags: list[object] = [0] * rows
    tops: list[object] = [None] * rows
    reasons: list[object] = [None] * rows
    for at, row in enumerate(order):
        if np.isnan(found.score[at]):
            continue
        scores[row] = round(float(found.score[at]), 6)
        tops[row] = table.metrics[found.ranked[at, 0]]
        if found.flagged[at]:
            flags[row] = 1
            reasons[row] = explain(table.metrics, found, values[at], at)
    columns: dict[str, list[object]] = {
        "timestamp": list(table.given), "anomaly_score": scores, "is_anomaly": flags,
        "top_metric": tops, "explanation": reasons,
    }  # fmt: skip
    return Sheet(table.path, columns)


def explain(metrics: tuple[str, ...], found: Findings, values: NDArray[np.float64], at: int) -> str:
    """Return one sentence: the metric to blame, observed against expected, and what stands out beside it."""
    first, *others = (metrics[place] for place in found.ranked[at] if place >= 0)
    observed, expected = values[found.ranked[at, 0]], found.expected[at]
    if np.isnan(observed):
        seen = f"{first} is missing"
    elif found.still[at]:
        seen = f"{first} has stood still at {observed:.4g} for {found.still[at]} rows, which it hardly ever does"
    elif found.fits[at]:
        seen = f"{first} is {observed:.4g}, expected about {expected:.4g} from its own past"
    else:
        seen = f"{first} is {observed:.4g}, expected about {expected:.4g} from the other metrics"
    if not found.begins[at]:
        seen = f"Goes on; began with {first}, and {seen}" if len(metrics) > 1 else seen
    verb = "stands" if len(others) == 1 else "stand"
    beside = f"; {' and '.join(others)} {verb} out too" if others else ""
    rarity = 1.0 / found.tail[at]
    rows = f"{rarity:,.0f}" if rarity < MOST_STATED else f"more than {MOST_STATED:,}"
    return f"{seen}{beside}. One row in {rows} is as strange."


def _summary(table: Table, found: Findings) -> dict[str, Any]:
    flagged = found.flagged
    starts = int(np.count_nonzero(flagged & ~np.concatenate(([False], flagged[:-1]))))
    return {
        "input": str(table.path), "rows": len(flagged), "metrics": len(table.metrics),
        "scored_rows": int(np.count_nonzero(~np.isnan(found.score))),
        "anomalous_rows": int(np.count_nonzero(flagged)), "anomalies": starts, "ignored_columns": list(table.ignored),
    }  # fmt: skip
