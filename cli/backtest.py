"""``coldaisle backtest``: what a changed rule, budget or model would have told people over a recording."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from cli.incident_text import printable
from cli.progress import Progress
from cli.replay import Replay, step_ns
from cli.rules_folder import rules_folder
from cli.settings import Settings, read
from coldaisle.clock import HOUR, rfc3339
from coldaisle.config import parse
from coldaisle.errors import ConfigError
from coldaisle.incident import Incident
from coldaisle.severity import Severity
from coldaisle.store.recording import Recording
from pipeline.comparison import Comparison, Outcome, compare
from pipeline.engine_settings import EngineSettings
from pipeline.rules import load as load_rules

SHOWN = 10
_EXAMPLES = """\
examples:
  coldaisle backtest day --budget 0.2              the shipped settings, then the same with another budget
  coldaisle backtest day --rules my-rules          the shipped rules, then those of a folder
  coldaisle backtest day --config new.toml --against now.toml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.epilog = _EXAMPLES
    parser.add_argument(
        "recording", type=Path, help="a folder with samples.parquet, as `import` and `demo --record` make"
    )
    parser.add_argument("--against", type=Path, metavar="FILE", help="settings of before (default: the shipped ones)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings of after (default: those of before)")
    parser.add_argument("--rules", type=Path, metavar="DIR", help="rules of after")
    parser.add_argument("--budget", type=float, metavar="X", help="false pages per thousand GPUs a day, after")
    parser.add_argument("--models", type=Path, metavar="DIR", help="model registry of after")
    parser.add_argument(
        "--most", type=int, default=SHOWN, metavar="N", help=f"incidents of each list to print ({SHOWN})"
    )
    parser.add_argument("--json", action="store_true", help="print one object instead of text")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def run(args: argparse.Namespace) -> int:
    """Replay twice and tell the difference. Raises ConfigError."""
    before, after = settings_of(args)
    recording = Recording(args.recording)
    quiet = args.quiet or args.json
    first = outcome_of(recording, before, Progress("before", quiet=quiet))
    second = outcome_of(recording, after, Progress("after ", quiet=quiet))
    found = compare(first, second)
    if args.json:
        start, end = recording.span
        told = {"recording": str(recording.path), "from": rfc3339(start), "to": rfc3339(end), **found.to_json()}
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print(report(recording, found, args.most))
    return 0


def settings_of(args: argparse.Namespace) -> tuple[Settings, Settings]:
    """Return the settings of before and after. Raises ConfigError, also where nothing differs."""
    before = read(args.against)
    after = before if args.config is None else read(args.config)
    if args.rules is not None:
        after = after.model_copy(update={"rules": args.rules})
    if args.models is not None:
        after = after.model_copy(update={"models": after.models.model_copy(update={"folder": args.models})})
    if args.budget is not None:
        changed = {**after.engine.model_dump(), "alert_budget_per_1000_gpus_per_day": args.budget}
        after = after.model_copy(update={"engine": parse(changed, EngineSettings, "--budget")})
    if after == before:
        raise ConfigError(
            "before and after are the same; change something with --config, --rules, --budget or --models"
        )
    for settings in (before, after):  # a mistake in either is told before the first replay, which may take hours
        load_rules(rules_folder(settings.rules))
    return before, after


def outcome_of(recording: Recording, settings: Settings, progress: Progress) -> Outcome:
    """Return what one run over ``recording`` tells people."""
    replay = Replay(recording, settings)
    replay.run(step_ns(recording), progress)
    return Outcome(
        incidents=tuple(replay.incidents()),
        notifications=len(replay.pages),
        alerts=round(replay.stats.total("alerting_alerts_total")),
        anomalies=replay.anomalies,
        evaluation=replay.evaluation(),
    )


def report(recording: Recording, found: Comparison, most: int = SHOWN) -> str:
    """Return the difference as text: a table, then what is only in one of the two."""
    first, last = recording.span
    lines = [
        f"{recording.path}: {len(recording):,} samples of {len(recording.layout):,} series, "
        f"{rfc3339(first)} to {rfc3339(last)} ({(last - first) / HOUR:.1f} h)",
        "",
        f"{'':22}{'before':>10}{'after':>10}{'difference':>12}",
    ]
    lines += [_row(*row) for row in _rows(found)]
    if found.before.evaluation is None:
        lines += ["", "The recording has no truth.jsonl: which of them were right is not known."]
    lines += _only("Only before", found.only_before, most)
    lines += _only("Only after", found.only_after, most)
    if found.changed:
        lines += ["", f"Another severity ({len(found.changed)}):"]
        lines += [f"  {old.severity.value} → {new.severity.value}  {_line(new)}" for old, new in found.changed[:most]]
    lines += ["", _verdict(found)]
    return "\n".join(lines)


def _rows(found: Comparison) -> list[tuple[str, float | None, float | None, str]]:
    old, new = found.before, found.after
    counts = old.by_severity(), new.by_severity()
    rows: list[tuple[str, float | None, float | None, str]] = [("incidents", len(old.told()), len(new.told()), ",.0f")]
    rows += [(f"  {severity.value}", counts[0][severity], counts[1][severity], ",.0f") for severity in Severity]
    rows += [
        ("notifications", old.notifications, new.notifications, ",.0f"),
        ("alerts", old.alerts, new.alerts, ",.0f"),
        ("anomalies", old.anomalies, new.anomalies, ",.0f"),
    ]
    one, two = old.evaluation, new.evaluation
    if one is not None and two is not None:
        rows += [
            ("precision", one.precision, two.precision, ".3f"),
            ("recall", one.recall, two.recall, ".3f"),
            ("false incidents", len(one.false_incidents), len(two.false_incidents), ",.0f"),
            ("median delay, s", one.median_delay_seconds(), two.median_delay_seconds(), ",.0f"),
        ]
    return rows


def _row(name: str, before: float | None, after: float | None, form: str) -> str:
    cells = ["–" if value is None else format(value, form) for value in (before, after)]
    change = "–" if before is None or after is None else format(after - before, f"+{form}")
    return f"{name:22}{cells[0]:>10}{cells[1]:>10}{change if change.strip('+-0.,') else '0':>12}"


def _only(title: str, incidents: Sequence[Incident], most: int) -> list[str]:
    if not incidents:
        return []
    lines = [
        "",
        f"{title} ({len(incidents)}):",
        *(f"  {one.severity.value:6}  {_line(one)}" for one in incidents[:most]),
    ]
    if len(incidents) > most:
        lines.append(f"  and {len(incidents) - most:,} more; --most shows more, --json all")
    return lines


def _line(one: Incident) -> str:
    return f"{rfc3339(one.opened_at)}  {printable(one.title)}"


def _verdict(found: Comparison) -> str:
    more = {"page": Severity.PAGE, "ticket": Severity.TICKET}
    counts = found.before.by_severity(), found.after.by_severity()
    told: list[str] = []
    for word, severity in more.items():
        change = counts[1][severity] - counts[0][severity]
        told.append(f"{abs(change):,} {'more' if change > 0 else 'fewer'} {word}s" if change else f"as many {word}s")
    return f"After the change: {', '.join(told)}; {len(found.same):,} incidents are the same."
