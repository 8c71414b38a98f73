"""``coldaisle models``: which trained model decides, which one is tried, and who decides next."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cli.incident_text import printable
from cli.settings import models_folder, read
from coldaisle.clock import SystemClock, rfc3339
from coldaisle.errors import ConfigError
from models.model_card import describe
from models.registry import Entry, Job, Registry, job_of

_HISTORY = 10
_EXAMPLES = """\
KIND is isolation_forest, or forecast (nhits and tft do that job); VERSION is a name that `list` shows.

examples:
  coldaisle models list
  coldaisle models promote forecast 2026-11-22T21-00-00Z-3f9a --reason "judged on October"
  coldaisle models rollback forecast          the champion before decides again; without one, no model does
  coldaisle models shadow forecast none       no model is tried any more
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _EXAMPLES
    doing = parser.add_subparsers(dest="doing", metavar="DO", required=True)
    listing = doing.add_parser("list", help="every stored model, who decides, and what is refused")
    listing.add_argument("kind", nargs="?", metavar="KIND", help="of one kind only")
    show = doing.add_parser("show", help="what a model learnt from, how good it is, and what became of it")
    promote = doing.add_parser("promote", help="let a stored model decide")
    rollback = doing.add_parser("rollback", help="let the champion before decide again, or no model")
    shadow = doing.add_parser("shadow", help="try a stored model beside the champion, without letting it decide")
    for one in (show, promote, rollback, shadow):
        one.add_argument("kind", metavar="KIND")
    show.add_argument("model", nargs="?", metavar="VERSION", help="the champion unless said")
    promote.add_argument("model", metavar="VERSION")
    shadow.add_argument("model", metavar="VERSION", help="or none")
    for one in (promote, rollback, shadow):
        one.add_argument("--reason", default="", help="kept in the history")
    for one in (listing, show, promote, rollback, shadow):
        one.add_argument("--config", type=Path, metavar="FILE", help="settings; the registry lies in its data folder")
        one.add_argument("--models", type=Path, metavar="DIR", help="the registry, wherever it lies")
        one.add_argument("--json", action="store_true", help="print one object")


def run(args: argparse.Namespace) -> int:
    """Do it, say what is now; return 1 where `list` shows a refused model. Raises ConfigError."""
    registry = Registry(registry_folder(args.config, args.models))
    now, by = SystemClock().now(), os.environ.get("USER", "somebody")
    reason = getattr(args, "reason", "") or f"by {by}"
    if args.doing == "list":
        return _list(registry, args.kind, args.json)
    if args.doing == "show":
        return _show(registry, args.kind, args.model, args.json)
    if args.doing == "promote":
        registry.promote(args.kind, args.model, reason, now)
    elif args.doing == "rollback":
        registry.rollback(args.kind, reason, now)
    else:
        registry.shadow(args.kind, None if args.model == "none" else args.model, reason, now)
    job = registry.job(args.kind)
    if args.json:
        print(json.dumps(_job(args.kind, job), indent=2, ensure_ascii=False))
    else:
        print(_standing(args.kind, job))
    return 0


def registry_folder(config: Path | None, folder: Path | None) -> Path:
    """Return where the registry lies: as said, or as the configuration says. Raises ConfigError."""
    return folder if folder is not None else models_folder(read(config))


def _list(registry: Registry, kind: str | None, as_json: bool) -> int:
    entries = registry.entries(kind)
    refused = registry.refused
    if as_json:
        told = {
            "folder": str(registry.folder),
            "models": [_entry(registry, one) for one in entries],
            "refused": [{"path": str(path), "why": why} for path, why in refused],
        }
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return 1 if refused else 0
    if not entries:
        print(f"{registry.folder}: no model is stored; `coldaisle train` makes one")
    for job in dict.fromkeys(one.job for one in entries):
        print(job)
        for one in entries:
            if one.job == job:
                print(_line(one))
    for path, why in refused:
        print(f"refused  {path}\n         {why}")
    return 1 if refused else 0


def _line(one: Entry) -> str:
    if one.card is None:
        return f"  {one.standing:11}{one.version}  refused"
    scores = ", ".join(f"{name} {value:.4g}" for name, value in list(one.card.scores.items())[:3])
    learnt = f"learnt to {rfc3339(one.card.data_to)[:16]}, {len(one.card.metrics)} inputs"
    return printable(f"  {one.standing:11}{one.version}  {one.card.kind}, {learnt}" + (f"; {scores}" if scores else ""))


def _show(registry: Registry, kind: str, version: str | None, as_json: bool) -> int:
    job = registry.job(kind)
    name = version or job.champion
    if name is None:
        raise ConfigError(f"{job_of(kind)}: no model decides; name a version, `coldaisle models list` shows them")
    found = [one for one in registry.entries(kind) if one.version == name]
    if not found:
        raise ConfigError(f"{name}: no such model of {job_of(kind)}; `coldaisle models list` shows those there are")
    one = found[0]
    if as_json:
        print(json.dumps({**_entry(registry, one), "history": _history(job, name)}, indent=2, ensure_ascii=False))
        return 1 if one.refused else 0
    if one.card is None:
        print(f"{one.version} is refused: {one.refused}")
        return 1
    print("\n".join(printable(line) for line in describe(**asdict(one.card)).splitlines()) + "\n")
    print(f"It is {_WORDS[one.standing]}.")
    live = job.live.get(name)
    if live is not None:
        print(
            f"Seen live until {rfc3339(live.at)}: "
            + ", ".join(f"{key} {each:.4g}" for key, each in live.scores.items())
        )
    for note in _history(job, name)[-_HISTORY:]:
        print(f"  {note['at']}  {note['action']}: {printable(note['reason'])}")
    return 0


_WORDS = {
    "champion": "the champion: it decides",
    "challenger": "the challenger: it is scored beside the champion and decides nothing",
    "earlier": "a champion of before: rollback can bring it back",
    "stored": "stored and not used",
}


def _entry(registry: Registry, one: Entry) -> dict[str, Any]:
    live = registry.job(one.job).live.get(one.version)
    told: dict[str, Any] = {
        "job": one.job,
        "version": one.version,
        "standing": one.standing,
        "path": str(one.path),
        "refused": one.refused or None,
        "live": None if live is None else {"at": rfc3339(live.at), "scores": live.scores},
    }
    if one.card is not None:
        told |= {
            "kind": one.card.kind,
            "created_at": rfc3339(one.card.created_at),
            "data_from": rfc3339(one.card.data_from),
            "data_to": rfc3339(one.card.data_to),
            "metrics": list(one.card.metrics),
            "scores": dict(one.card.scores),
            "seed": one.card.seed,
        }
    return told


def _job(kind: str, job: Job) -> dict[str, Any]:
    return {"job": job_of(kind), "champion": job.champion, "challenger": job.challenger, "history": _history(job, None)}


def _history(job: Job, version: str | None) -> list[dict[str, Any]]:
    return [
        {**note.model_dump(), "at": rfc3339(note.at)}
        for note in job.history
        if version is None or version in (note.version, note.before)
    ]


def _standing(kind: str, job: Job) -> str:
    champion = job.champion or "no model; the way without one decides"
    return f"{job_of(kind)}: champion {champion}, challenger {job.challenger or 'none'}"
