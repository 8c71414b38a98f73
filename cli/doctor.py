"""``coldaisle doctor``: looks at everything that the configuration names, and mends what it can when asked to."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from cli import logs
from cli.doctor_machine import collectors_answer, folders, receivers_are_known
from cli.doctor_models import models_can_be_loaded
from cli.rules_folder import rules_folder
from cli.settings import Configured, Settings, collectors, read, secrets_of, topology_of
from coldaisle.checkup import Finding
from coldaisle.clock import Clock, SystemClock
from coldaisle.errors import ColdaisleError
from pipeline.rules import load as load_rules

_SIGNS = {"ok": "✓", "warning": "!", "error": "✗"}
_EPILOG = """\
exit codes:
  0  nothing keeps a role from working (warnings may have been shown)
  1  something does; each line says what to do
  2  the configuration cannot be read
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _EPILOG
    parser.add_argument("--config", type=Path, help="settings (see config/example.toml)")
    parser.add_argument("--fix", action="store_true", help="make topics, buckets, tables and folders that are missing")
    parser.add_argument("--json", action="store_true", help="print one object")


def run(args: argparse.Namespace) -> int:
    """Look, mend if asked to, report; return the exit code. Raises ConfigError."""
    settings = read(args.config)
    logs.configure(settings.log, "doctor", secrets_of(settings), args.verbose)
    configured = collectors(settings, str(args.config or "defaults"))
    facts = (
        f"Coldaisle {version('coldaisle')}, {len(load_rules(rules_folder(settings.rules)))} rules, "
        f"{len(configured)} collectors, {len(settings.receivers)} receivers, {len(topology_of(settings))} entities"
    )
    found = [Finding("configuration", "ok", facts)]
    for part, look in _looks(settings, configured, SystemClock(), args.fix):
        try:
            found += look()
        except ColdaisleError as error:
            found.append(Finding(part, "error", str(error), "correct the configuration"))
    errors = sum(finding.severity == "error" for finding in found)
    told = [replace(each, text=logs.redacted(each.text), remedy=logs.redacted(each.remedy)) for each in found]
    if args.json:
        document = {"ok": not errors, "findings": [asdict(each) for each in told]}
        print(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        for finding in told:
            print(_line(finding))
        print(_verdict(told, args.fix))
    return 1 if errors else 0


Look = Callable[[], list[Finding]]


def _looks(settings: Settings, configured: list[Configured], clock: Clock, fix: bool) -> Iterator[tuple[str, Look]]:
    """Yield what to look at: its name, and how. Clients are imported only for servers that are configured."""
    storage = settings.storage
    yield "folder", lambda: folders(settings, fix)
    if settings.bus.kind == "kafka":
        from coldaisle.bus import kafka_topics

        topics = kafka_topics.fix if fix else kafka_topics.check
        yield "kafka", lambda: topics(settings.bus.kafka, clock)
    influx = storage.influx
    if storage.metrics == "influx" and influx is not None:
        from coldaisle.store import influx_checkup

        buckets = influx_checkup.fix if fix else influx_checkup.check
        yield "influxdb", lambda: buckets(influx, clock)
    url = storage.incidents or _sqlite(storage.folder)
    if url:
        from coldaisle.store import sql_checkup

        tables = sql_checkup.fix if fix else sql_checkup.check
        yield "incidents", lambda: tables(url, clock, storage.incidents_password)
    yield "collectors", lambda: collectors_answer(configured)
    yield "models", lambda: models_can_be_loaded(settings)
    yield "receivers", lambda: receivers_are_known(settings.receivers)


def _sqlite(folder: Path) -> str:
    """Return the URL of the incidents' file where there is one; a missing one is made by whoever writes first."""
    from coldaisle.store.engine import sqlite_url
    from coldaisle.store.sql import INCIDENTS_FILE

    path = folder / INCIDENTS_FILE
    return sqlite_url(path) if path.is_file() else ""


def _line(finding: Finding) -> str:
    remedy = f"\n      → {finding.remedy}" if finding.remedy and finding.severity != "ok" else ""
    return f"  {_SIGNS[finding.severity]} {finding.part}: {finding.text}{remedy}"


def _verdict(found: list[Finding], fixed: bool) -> str:
    errors = sum(finding.severity == "error" for finding in found)
    warnings = sum(finding.severity == "warning" for finding in found)
    if not errors and not warnings:
        return "all is well"
    fixable = sum(finding.fixable and finding.severity != "ok" for finding in found)
    hint = f"; `coldaisle doctor --fix` mends {fixable} of them" if fixable and not fixed else ""
    return f"{errors} to mend, {warnings} to look at{hint}"
