"""The command ``coldaisle predictions``: what is expected to fail, and how earlier predictions fared."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.actions import add_action, add_places
from cli.incident_text import printable
from cli.incidents import FOLDER_VARIABLE
from cli.moments import moment
from coldaisle.clock import Clock, SystemClock, rfc3339
from coldaisle.errors import ConfigError
from coldaisle.prediction import Outcome, Prediction, Score, by_rule, calibration, score
from coldaisle.prediction_public import prediction_to_public, scores_to_public
from coldaisle.store.prediction_port import PredictionQuery

if TYPE_CHECKING:
    from coldaisle.store.sql import SqlIncidentStore

_MOST = 100_000

_EPILOG = f"""\
The predictions are read from incidents.sqlite in --data DIR, else from the database or the folder that --config F
names, else ${FOLDER_VARIABLE}, else ./data.

exit codes:
  0  done
  1  nothing found, or the database is busy
  2  the input or the configuration is wrong; one line says what and how to mend it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = _action(actions, "list", "what is expected to fail, the newest first")
    outcomes = [outcome.value for outcome in Outcome]
    listing.add_argument("--outcome", action="append", choices=[*outcomes, "any"], default=[], help="default: open")
    listing.add_argument("--entity", metavar="E", help="of one thing: gpu/GPU-1a2b")
    listing.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default: 50)")
    _action(actions, "score", "of how many settled ones how many came true, by kind, and how long before")


def _action(actions: Any, name: str, meaning: str) -> argparse.ArgumentParser:
    parser = add_action(actions, name, meaning, _EPILOG)
    add_places(parser)
    parser.add_argument("--rule", metavar="NAME", help="of one kind: gpu_memory_fails")
    parser.add_argument("--since", metavar="TIME", help="made since: 2h, 3d, 2026-11-22T03:00:00Z")
    return parser


def run(args: argparse.Namespace, clock: Clock | None = None) -> int:
    """Do it; return the exit code. Raises ConfigError, Transient."""
    query = _query(args, (clock or SystemClock()).now())
    with closing(_opened(args)) as store:
        found = store.predictions(query)
    return _list(found, args.json) if args.action == "list" else _score(found, args.json)


def _opened(args: argparse.Namespace) -> SqlIncidentStore:
    from coldaisle.store.sql import connect_incidents, open_incidents

    if args.config is not None:
        from cli.settings import read

        storage = read(args.config).storage
        if storage.incidents:
            return connect_incidents(storage.incidents, storage.incidents_password, upgrade=False)
        return open_incidents(storage.folder, create=False)
    folder = Path(os.environ.get(FOLDER_VARIABLE, "data")) if args.data is None else args.data
    return open_incidents(folder, create=False)


def _query(args: argparse.Namespace, now: int) -> PredictionQuery:
    since = moment(args.since, now, "--since") if args.since else None
    if args.action == "score":
        return PredictionQuery(rule=args.rule, made_since=since, limit=_MOST)
    if args.limit < 1:
        raise ConfigError(f"--limit {args.limit} shows nothing: give 1 or more")
    wanted = () if "any" in args.outcome else tuple(Outcome(word) for word in args.outcome or ["open"])
    return PredictionQuery(wanted, args.rule, args.entity, made_since=since, limit=args.limit)


def _list(found: list[Prediction], as_json: bool) -> int:
    if as_json:
        _print_json({"predictions": [prediction_to_public(one) for one in found]})
        return 0
    if not found:
        print("nothing is expected to fail; --outcome any shows earlier predictions")
        return 1
    for one in found:
        told = "told" if one.warned_at is not None else "not certain enough to tell"
        print(f"{one.latest:4.0%}  {printable(one.entity)}: {printable(one.what)}")
        if one.outcome is Outcome.OPEN:
            stated = f"stated {rfc3339(one.stated_at)} with {one.probability:.0%}"
            print(f"      by {rfc3339(one.settles_at)}; {stated}; {told}")
        else:
            lead = "" if one.lead_seconds is None else f", {one.lead_seconds / 60:.0f} min after it was stated"
            print(f"      {one.outcome.value} at {rfc3339(one.settled_at or 0)}{lead}; {told}")
        for reason in one.reasons:
            print(f"      - {printable(reason.text)}")
    return 0


def _score(found: list[Prediction], as_json: bool) -> int:
    if as_json:
        _print_json(scores_to_public(found))
        return 0
    told = [one for one in found if one.warned_at is not None]
    if not told:
        print("nobody has been warned of anything yet, so nothing can be said of the warnings")
        return 1
    rows: list[tuple[str, ...]] = [("KIND", "SETTLED", "HITS", "PRECISION", "LEAD", "OPEN")]
    rows += [_row(rule, fared) for rule, fared in by_rule(told).items()]
    rows.append(_row("all warnings", score(told)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        print("  ".join(cells))
    print()
    for bin_ in calibration(found):
        print(
            f"stated {bin_.low:.0%} to {bin_.high:.0%}: {bin_.settled} settled, "
            f"{bin_.stated:.0%} stated, {bin_.came_true:.0%} came true"
        )
    return 0


def _row(name: str, fared: Score) -> tuple[str, ...]:
    lead = fared.median_lead_seconds
    return (
        name,
        str(fared.hits + fared.misses),
        str(fared.hits),
        "-" if fared.precision is None else f"{fared.precision:.0%}",
        "-" if lead is None else f"{lead / 60:.0f} min",
        str(fared.open),
    )


def _print_json(document: Any) -> None:
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
    print()
