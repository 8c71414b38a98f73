"""``coldaisle check-config``: says what is wrong and how to mend it, without side effects."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from cli import logs
from cli.rules_folder import rules_folder
from cli.settings import collectors, read, secrets_of, topology_of
from coldaisle.errors import ConfigError
from pipeline.rules import load as load_rules
from pipeline.rules import run_tests


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", nargs="?", type=Path, help="the configuration (default: only the shipped rules)")
    parser.add_argument("--json", action="store_true", help="print one object")


def run(args: argparse.Namespace) -> int:
    """Check everything, report every mistake; exit with 2 when there is one."""
    mistakes: list[str] = []
    facts: dict[str, object] = {}
    rules: Path | None = None
    try:
        settings = read(args.file)
        logs.configure(settings.log, "check-config", secrets_of(settings), args.verbose)
        origin = str(args.file or "defaults")
        rules = rules_folder(settings.rules)
        facts["collectors"] = len(collectors(settings, origin))
        facts["receivers"] = len(settings.receivers)
        facts["entities"] = len(topology_of(settings))
    except ConfigError as error:
        mistakes += str(error).splitlines()
    rules = rules or rules_folder(None)
    try:
        facts["rules"] = len(load_rules(rules))
        mistakes += [str(failure) for failure in run_tests(rules)]
    except ConfigError as error:
        mistakes += str(error).splitlines()
    mistakes = [logs.redacted(mistake) for mistake in mistakes]
    if args.json:
        print(json.dumps({"ok": not mistakes, "mistakes": mistakes, **facts}, indent=2))
    elif mistakes:
        for mistake in mistakes:
            print(f"  ✗ {mistake}")
        print(f"{len(mistakes)} to mend")
    else:
        counted = ", ".join(f"{count} {what}" for what, count in facts.items())
        print(f"{args.file or 'the shipped rules'}: fine ({counted}; every rule passes its tests)")
    return 2 if mistakes else 0
