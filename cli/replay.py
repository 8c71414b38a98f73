"""``coldaisle replay``: plays a recording through the whole pipeline as if live, and prints its incidents."""

from __future__ import annotations

import argparse
import json
import sys
from bisect import bisect_right
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

from cli.incident_text import duration, reach
from cli.progress import Progress
from cli.settings import Settings, read
from cli.wiring import alerter_of, copy_of, engine_of, rules_of
from coldaisle.anomaly import Anomaly, Phase
from coldaisle.clock import SECOND, ManualClock, ScaledClock, SystemClock, rfc3339
from coldaisle.event import Event
from coldaisle.incident import Incident
from coldaisle.selfstats import SelfStats
from coldaisle.store import IncidentQuery, Notification
from coldaisle.store.incident_json import incident_to_public
from coldaisle.store.memory_incidents import MemoryIncidentStore
from coldaisle.store.recording import Recording
from pipeline.alerting.outbox import notifications_for
from pipeline.evaluation import Evaluation, describe, evaluate
from pipeline.scoring import Engine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "recording", type=Path, help="a folder with samples.parquet, as `import` and `demo --record` make"
    )
    parser.add_argument("--speed", type=float, help="times the speed of life; without it, as fast as this machine can")
    parser.add_argument("--json", action="store_true", help="print one object instead of text")
    parser.add_argument("--config", type=Path, help="settings of the engine and of alerts (default: the shipped ones)")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


class Replay:
    """One run of a recording through engine and alerter, in its own time."""

    def __init__(self, recording: Recording, settings: Settings) -> None:
        self.recording = recording
        self.stats = SelfStats()
        self.store = MemoryIncidentStore()
        self.pages: list[Notification] = []
        self.anomalies = 0
        self.signals = 0  # what alerting for each series and each event would have sent
        self.samples = 0
        self.topology = recording.topology()
        self._clock = ManualClock(recording.span[0])
        self._lateness = round(settings.engine.allowed_lateness_seconds * SECOND)
        rules = rules_of(settings)
        self.engine: Engine = engine_of(settings, rules, copy_of(self.topology), self.stats)
        self._alerter = alerter_of(settings, rules, self.topology, self.store, self._notify, self.stats)
        self._event_rules = rules.event_rules()
        self._events = sorted(recording.events(), key=lambda event: event.timestamp)
        self._event_times = [event.timestamp for event in self._events]

    def _notify(self, incident: Incident, kind: str) -> list[Notification]:
        made = notifications_for(incident, kind, ["replay"], self._clock.now(), "")
        self.pages += made
        return made

    def run(self, step_ns: int, progress: Progress, speed: float | None = None) -> None:
        """Play every step. ``speed`` None: without waiting."""
        first, last = self.recording.span
        live = None if speed is None else ScaledClock(SystemClock(), first, speed)
        done = 0
        for end, block in self.recording.blocks(step_ns):
            if live is not None:
                live.sleep(max(0.0, (end - live.now()) / SECOND))
            self._clock.set(end)
            until = bisect_right(self._event_times, end)
            events, done = self._events[done:until], until
            self._step(block, events, end)
            progress.show((end - first) / max(last - first, 1))
        self._end(self._events[done:], last)
        progress.done()

    def _step(self, block: Any, events: list[Event], now: int) -> None:
        self.engine.observe(events)
        found = self.engine.process([block], now) if block is not None and len(block) else self.engine.advance(now)
        self.samples += 0 if block is None else len(block)
        self.anomalies += len(found)
        self.signals += sum(max(1, len(one.members)) for one in found if _is_signal(one))
        self.signals += sum(
            any(rule.about(event) and rule.opens(event) for rule in self._event_rules) for event in events
        )
        self._alerter.take(found, events, now)

    def _end(self, events: list[Event], last: int) -> None:
        """
        Close the last ticks, then let waiting alerts have their say.

        The engine's time stops with the recording: that nothing comes after its end is no silence.
        """
        self._step(None, events, last + self._lateness)
        self._alerter.advance(last + 60 * SECOND)

    def incidents(self) -> list[Incident]:
        """Return every incident in the order in which they opened."""
        everything = IncidentQuery(limit=1_000_000)
        return sorted(self.store.find(everything), key=lambda incident: (incident.opened_at, incident.id))

    def evaluation(self) -> Evaluation | None:
        """Return the marks against the recording's truth, or None where it has none."""
        truth = self.recording.truth()
        if not truth:
            return None
        incidents = self.incidents()
        alerts = round(self.stats.total("alerting_alerts_total"))
        rows = [asdict(row) for row in truth]
        signals = self.signals + round(self.stats.total("score_crossings_total"))
        readings = self.signals + round(self.stats.total("readings_past_threshold_total"))
        span = self.recording.span
        return evaluate(incidents, rows, alerts, self.anomalies, span, self.topology, signals, readings)


def _is_signal(anomaly: Anomaly) -> bool:
    """Whether a finding opened that the count of scores' crossings does not hold: a limit, bad readings, silence."""
    return anomaly.phase is Phase.OPENED and anomaly.detector in ("limit", "quality", "silence")


def step_ns(recording: Recording) -> int:
    """Return how far a replay moves at once: twelve looks an interval, so that silence is noticed soon."""
    interval_seconds = recording.interval_seconds if isfinite(recording.interval_seconds) else 60.0
    # A step costs little where nothing came.
    return round(min(max(interval_seconds / 12, 1.0), 5.0) * SECOND)


def run(args: argparse.Namespace) -> int:
    """Replay and print; exit with 2 when the recording is wrong."""
    settings = read(args.config)
    recording = Recording(args.recording)
    replay = Replay(recording, settings)
    replay.run(step_ns(recording), Progress("replay", quiet=args.quiet or args.json), args.speed)
    if args.json:
        json.dump(document(replay), sys.stdout, indent=2)
        print()
    else:
        print(report(replay))
    return 0


def document(replay: Replay) -> dict[str, Any]:
    """Return what ``--json`` prints."""
    incidents = replay.incidents()
    found = {
        "incidents": [incident_to_public(incident) for incident in incidents],
        "pages": [
            {"id": page.id, "incident_id": page.incident_id, "kind": page.kind, "at": rfc3339(page.created_at)}
            for page in replay.pages
        ],
        "samples": replay.samples,
        "events": len(replay.recording.events()),
        "anomalies": replay.anomalies,
        "alerts": round(replay.stats.total("alerting_alerts_total")),
        "dropped": {
            dict(labels).get("reason", name): value
            for name, labels, value in replay.stats.rows()
            if name == "ingest_dropped_total"
        },
    }
    evaluation = replay.evaluation()
    # The marks count incidents, alerts and anomalies; here the incidents themselves stand under that word.
    return found if evaluation is None else {**evaluation.to_json(), **found}


def brief(incident: Incident) -> list[str]:
    """Return an incident in a few lines: the sentence, since when and how far, why, and what to do."""
    end = incident.ended_at
    lasted = f"lasted {duration(end - incident.started_at)}" if end is not None else "still there at the end"
    lines = [
        f"{rfc3339(incident.opened_at)}  {incident.severity.value.upper():6}  {incident.title}",
        f"    {incident.id}, {incident.state.value}; since {rfc3339(incident.started_at)}, {lasted}; "
        f"{reach(incident.entities)}",
    ]
    lines += [f"    - {reason}" for reason in incident.reasons[:4]]
    if incident.recommended_action:
        lines.append(f"    > {incident.recommended_action}")
    return lines


def report(replay: Replay) -> str:
    """Return the incidents as text, the marks after them where there is truth."""
    incidents = replay.incidents()
    first, last = replay.recording.span
    lines = [
        f"{replay.recording.path}: {replay.samples:,} samples of {len(replay.recording.layout):,} series, "
        f"{rfc3339(first)} to {rfc3339(last)}",
        f"{len(incidents)} incidents from {replay.stats.total('alerting_alerts_total'):,.0f} alerts; "
        f"{len(replay.pages)} notifications would have been sent",
        "",
    ]
    for incident in incidents:
        lines += [*brief(incident), ""]
    evaluation = replay.evaluation()
    if evaluation is not None:
        lines.append(describe(evaluation))
    return "\n".join(lines)
