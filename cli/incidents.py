"""The command ``coldaisle incidents``: the history, and what people do about it."""

from __future__ import annotations

import argparse
import csv
import getpass
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from cli import logs
from cli.actions import add_action, add_places
from cli.incident_text import story, table
from cli.moments import moment, span
from coldaisle.clock import Clock, SystemClock
from coldaisle.errors import ConfigError, Permanent, Transient
from coldaisle.incident import Incident, IncidentState, ResolveReason
from coldaisle.severity import Severity
from coldaisle.store import IncidentQuery, Notification
from coldaisle.store.incident_json import incident_to_public

if TYPE_CHECKING:
    from cli.settings import Settings
    from coldaisle.store.sql import SqlIncidentStore

FOLDER_VARIABLE = "COLDAISLE_STATE"
_PAGE = 500
_TRIES = 5
_COLUMNS = (
    "id", "title", "severity", "state", "suspect", "entities", "started_at", "opened_at", "updated_at", "ended_at",
    "resolved_at", "resolve_reason", "confidence", "reasons", "explanation", "recommended_action", "runbook",
)  # fmt: skip

_EPILOG = f"""\
The incidents are read from incidents.sqlite in --data DIR, else from the database or the folder that --config F
names, else ${FOLDER_VARIABLE}, else ./data. An id may be cut short as long as it stays unambiguous.
What ack, resolve and reopen do is told to the receivers that --config F names, without it to those that were
told of the incident before.

exit codes:
  0  done
  1  nothing found, or refused (resolved already, nobody has it, the database is busy)
  2  the input or the configuration is wrong; one line says what and how to mend it
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _EPILOG
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    listing = _action(actions, "list", "the newest first, one line each")
    _filters(listing, limit=50)

    show = _action(actions, "show", "the whole story of one: what, what to do, why, how far, since when")
    show.add_argument("id")

    ack = _action(actions, "ack", 'say "I have it": stops escalation, mutes nothing')
    _change(ack)
    ack.add_argument("--for", dest="span", metavar="SPAN", help="give it back by itself after 30m, 4h, 2d")
    _change(_action(actions, "unack", "give it back"))
    resolve = _action(actions, "resolve", "close it")
    _change(resolve)
    reasons = [reason.value for reason in ResolveReason if reason is not ResolveReason.ENDED]
    resolve.add_argument(
        "--reason",
        choices=reasons,
        default=ResolveReason.REAL.value,
        help="what it was (default: real); this is how the precision of each detector is measured",
    )
    _change(_action(actions, "reopen", "it is back, or was closed by mistake"))

    export = _action(actions, "export", "every incident that the filters mean, as JSON lines or CSV")
    _filters(export, limit=None)
    export.add_argument("--format", choices=("jsonl", "csv"), default="jsonl", help="default: jsonl")
    export.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")


def _action(actions: Any, name: str, meaning: str) -> argparse.ArgumentParser:
    parser = add_action(actions, name, meaning, _EPILOG)
    add_places(parser)
    return parser


def _filters(parser: argparse.ArgumentParser, limit: int | None) -> None:
    states, severities = [state.value for state in IncidentState], [severity.value for severity in Severity]
    parser.add_argument("--state", action="append", choices=states, default=[], help="may be given more than once")
    parser.add_argument("--severity", action="append", choices=severities, default=[], help="likewise")
    parser.add_argument("--entity", metavar="E", help="in the reach: node/n017, or only n017")
    parser.add_argument("--text", metavar="WORDS", help="all of these words in title, explanation or entities")
    parser.add_argument("--since", metavar="TIME", help="not over before: 2h, 3d, 2026-11-22T03:00:00Z")
    parser.add_argument("--until", metavar="TIME", help="begun before")
    default = "no limit" if limit is None else str(limit)
    parser.add_argument("--limit", type=int, default=limit, metavar="N", help=f"at most so many (default: {default})")


def _change(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")
    parser.add_argument("--note", default="", metavar="TEXT", help="a line for the timeline")
    parser.add_argument("--as", dest="actor", metavar="NAME", help="who says so (default: the user of this machine)")


def run(args: argparse.Namespace, clock: Clock | None = None) -> int:
    """Do it; return the exit code. Raises ConfigError, Transient."""
    now = (clock or SystemClock()).now()
    handlers: dict[str, Callable[[SqlIncidentStore, argparse.Namespace, int], int]] = {
        "list": _list,
        "show": _show,
        "export": _export,
    }
    handler = handlers.get(args.action, _act)
    if args.action in ("list", "export"):
        _query(args, now)  # a wrong filter is told before a database is opened
    with closing(_opened(args)) as store:
        return handler(store, args, now)


def _settings(args: argparse.Namespace) -> Settings | None:
    if args.config is None:
        return None
    from cli.settings import read, secrets_of

    settings = read(args.config)
    logs.configure(settings.log, "incidents", secrets_of(settings), args.verbose)
    return settings


def _opened(args: argparse.Namespace) -> SqlIncidentStore:
    from coldaisle.store.sql import connect_incidents, open_incidents

    settings = _settings(args)
    if settings is not None:
        if settings.storage.incidents:
            return connect_incidents(settings.storage.incidents, settings.storage.incidents_password, upgrade=False)
        return open_incidents(settings.storage.folder, create=False)
    folder = Path(os.environ.get(FOLDER_VARIABLE, "data")) if args.data is None else Path(args.data)
    return open_incidents(folder, create=False)


def _query(args: argparse.Namespace, now: int) -> IncidentQuery:
    if args.limit is not None and args.limit < 1:
        raise ConfigError(f"--limit {args.limit} shows nothing: give 1 or more")
    return IncidentQuery(
        states=tuple(IncidentState(state) for state in args.state),
        severities=tuple(Severity(severity) for severity in args.severity),
        entity=args.entity,
        text=args.text,
        start=moment(args.since, now, "--since") if args.since else None,
        end=moment(args.until, now, "--until") if args.until else None,
        limit=args.limit or sys.maxsize,
    )


def _list(store: SqlIncidentStore, args: argparse.Namespace, now: int) -> int:
    query = _query(args, now)
    found = store.find(query)
    total = store.count(query) if len(found) == query.limit else len(found)
    if args.json:
        _print_json({"incidents": [incident_to_public(incident) for incident in found], "total": total})
    elif found:
        print(table(found, total, now, _width()))
    else:
        print("no incident found", file=sys.stderr)
    return 0 if found else 1


def _show(store: SqlIncidentStore, args: argparse.Namespace, now: int) -> int:
    incident = _one(store, args.id)
    if incident is None:
        return 1
    if args.json:
        _print_json(incident_to_public(incident))
    else:
        print(story(incident, reversed(store.notifications(incident.id)), now, _width()))
    return 0


def _act(store: SqlIncidentStore, args: argparse.Namespace, now: int) -> int:
    actor = args.actor or _user()
    until = now + span(args.span, "--for") if args.action == "ack" and args.span else None
    for remaining in reversed(range(_TRIES)):
        incident = _one(store, args.id)
        if incident is None:
            return 1
        try:
            changed = _changed(incident, args, now, actor, until)
            stored = store.save(changed, _messages(store, changed, args, now))
        except Permanent as error:
            print(f"coldaisle: {error}", file=sys.stderr)
            return 1
        except Transient:  # somebody changed it since it was read
            if not remaining:
                raise
            continue
        if args.json:
            _print_json(incident_to_public(stored))
        else:
            print(f"{stored.id}: {stored.timeline[-1].text}")
        return 0
    return 1


def _changed(incident: Incident, args: argparse.Namespace, now: int, actor: str, until: int | None) -> Incident:
    match args.action:
        case "ack":
            return incident.acknowledged(now, actor, until, args.note)
        case "unack":
            return incident.unacknowledged(now, actor, args.note)
        case "resolve":
            return incident.resolved(now, actor, ResolveReason(args.reason), args.note)
        case _:
            return incident.reopened(now, actor, args.note)


_TOLD = {"ack": "acknowledged", "resolve": "resolved", "reopen": "reopened"}  # as the pages and the API do


def _messages(store: SqlIncidentStore, changed: Incident, args: argparse.Namespace, now: int) -> Sequence[Notification]:
    """What people are told of an action; it is written with it, and the running Coldaisle delivers it."""
    from pipeline.alerting.outbox import notifications_for, source_of

    kind = _TOLD.get(args.action)
    if kind is None:
        return ()
    before = store.notifications(changed.id, limit=1000)
    settings = _settings(args)
    if settings is None:
        receivers = sorted({one.receiver for one in before})
    else:
        wanting = [one for one in settings.receivers if changed.severity.value in one.severities]
        receivers = [one.name for one in wanting]
    return notifications_for(changed, kind, receivers, now, source_of(before))


def _export(store: SqlIncidentStore, args: argparse.Namespace, now: int) -> int:
    incidents = _pages(store, _query(args, now))
    write = _write_csv if args.format == "csv" else _write_jsonl
    if args.output is None or str(args.output) == "-":
        return 0 if write(incidents, sys.stdout) else 1
    count = _write_atomically(args.output, lambda file: write(incidents, file))
    if args.json:
        _print_json({"exported": count, "output": str(args.output)})
    else:
        print(f"{count:,} incidents written to {args.output}")
    return 0 if count else 1


def _pages(store: SqlIncidentStore, query: IncidentQuery) -> Iterator[Incident]:
    """Yield all that ``query`` means; one that is opened meanwhile shifts the pages but repeats nothing."""
    seen: set[str] = set()
    offset = 0
    while len(seen) < query.limit:
        page = store.find(replace(query, limit=_PAGE, offset=offset))
        for incident in page:
            if incident.id not in seen and len(seen) < query.limit:
                seen.add(incident.id)
                yield incident
        if len(page) < _PAGE:
            return
        offset += _PAGE


def _write_jsonl(incidents: Iterator[Incident], file: TextIO) -> int:
    count = 0
    for incident in incidents:
        count += 1
        file.write(json.dumps(incident_to_public(incident), ensure_ascii=False) + "\n")
    return count


def _write_csv(incidents: Iterator[Incident], file: TextIO) -> int:
    count = 0
    writer = csv.DictWriter(file, _COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for incident in incidents:
        count += 1
        row = incident_to_public(incident)
        row["entities"], row["reasons"] = " ".join(row["entities"]), " | ".join(row["reasons"])
        writer.writerow({key: _harmless(value) for key, value in row.items()})
    return count


def _harmless(value: Any) -> Any:
    """A spreadsheet runs a cell that begins like a formula (OWASP, "CSV Injection"); names come from telemetry."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _write_atomically(path: Path, write: Callable[[TextIO], int]) -> int:
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error
    unfinished = Path(name)
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:
            count = write(file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(0o644)
        unfinished.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def _one(store: SqlIncidentStore, incident_id: str) -> Incident | None:
    incident = store.get(incident_id)
    if incident is None:
        print(f"coldaisle: no incident, or more than one, begins with {incident_id!r}", file=sys.stderr)
    return incident


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"


def _width() -> int:
    return shutil.get_terminal_size((120, 24)).columns


def _print_json(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False, indent=2))
