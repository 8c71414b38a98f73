"""How well simulated halls are judged: records each seed with its truth, replays it, prints the marks."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cli.progress import Progress
from cli.replay import Replay, step_ns
from cli.settings import Settings
from coldaisle.store.recording import Recording, RecordingWriter
from collectors.simulator.config import SimulatorConfig
from collectors.simulator.simulator import Simulator, record
from pipeline.evaluation import Evaluation, describe, median_of

SEEDS = (31, 32, 33, 34, 35)
"""The seeds that rules and models were looked at with; judge them by others."""
QUIET_SECONDS = 900.0
"""Without new faults at the beginning, for warming up, and at the end, so that the last can be found."""


class Shape(NamedTuple):
    """What kind of hall, and of life in it."""

    hours: float
    racks_per_row: int
    nodes_per_rack: int
    step_seconds: float
    faults_per_hour: float
    build_up_minutes: tuple[float, float] | None

    def config(self, seed: int) -> SimulatorConfig:
        """Return the hall of ``seed``; the plan ends before the recording does."""
        grows = None if self.build_up_minutes is None else tuple(60 * minutes for minutes in self.build_up_minutes)
        return SimulatorConfig(
            rows=2, racks_per_row=self.racks_per_row, nodes_per_rack=self.nodes_per_rack, seed=seed,
            step_seconds=self.step_seconds, fault_rate=self.faults_per_hour, build_up_seconds=grows,
            duration_seconds=self.hours * 3600 - QUIET_SECONDS, first_fault_after_seconds=QUIET_SECONDS,
        )  # fmt: skip


def judged(seed: int, shape: Shape, settings: Settings) -> Evaluation:
    """Return the marks of one hall."""
    with tempfile.TemporaryDirectory(prefix="coldaisle-hall-") as folder:
        path = Path(folder) / "hall"
        with RecordingWriter(path) as writer:
            record(Simulator(shape.config(seed)), shape.hours * 3600, writer)
        recording = Recording(path)
        replay = Replay(recording, settings)
        replay.run(step_ns(recording), Progress(f"seed {seed}"))
        marks = replay.evaluation()
    if marks is None:
        raise AssertionError("a simulated hall always has its truth")
    return marks


def row(name: str, marks: Evaluation) -> str:
    """Return the marks of a hall as a line of the table."""
    lead = marks.median_lead_seconds()
    false = len(marks.false_incidents)
    return (
        f"{name:>6}  {len(marks.found):>4}/{len(marks.findings):<4} {false:>4}/{marks.incidents:<4} "
        f"{marks.duplicates:>7} {marks.suspect_accuracy or 0:8.0%} {(marks.median_delay_seconds() or 0) / 60:9.1f} "
        f"{'-' if lead is None else f'{lead / 60:.0f}':>8} {marks.alerts:>7} {marks.signals or 0:>8} "
        f"{marks.readings or 0:>9} {marks.compression or 0:7.1f}"
    )


def together(runs: Sequence[Evaluation]) -> str:
    """Return the marks of all halls taken together."""
    findings = [one for marks in runs for one in marks.findings]
    found = sum(one.incident_id is not None for one in findings)
    incidents, false = sum(marks.incidents for marks in runs), sum(len(marks.false_incidents) for marks in runs)
    signals, alerts = sum(marks.signals or 0 for marks in runs), sum(marks.alerts for marks in runs)
    readings = sum(marks.readings or 0 for marks in runs)
    days = sum(marks.span_seconds for marks in runs) / 86_400
    leads = [lead for marks in runs for lead in marks.leads()]
    middle = median_of(leads)
    missed = Counter(one.fault.fault for one in findings if one.incident_id is None)
    lines = [
        f"precision {1 - false / max(1, incidents):.3f}, recall {found / max(1, len(findings)):.3f}, "
        f"{sum(marks.duplicates for marks in runs)} duplicates among {incidents} incidents, "
        f"{false / days if days else 0:.1f} false incidents a day and hall",
        f"median lead on the {len(leads)} faults that build up: "
        + ("none" if middle is None else f"{middle / 60:.0f} min")
        + f" ({sum(lead >= 1200 for lead in leads)} told 20 min or more before they were full)",
        f"compression: {alerts} alerts in {incidents} incidents ({alerts / max(1, incidents):.1f} each); of {signals} "
        f"signals {1 - incidents / max(1, signals):.2%} spared, of {readings} anomalous readings "
        f"{1 - incidents / max(1, readings):.2%}",
    ]
    if missed:
        lines.append("missed: " + ", ".join(f"{count} {name}" for name, count in missed.most_common()))
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    """Print a row a seed, then the marks of all together."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks halls", description=__doc__)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--racks", type=int, default=4, help="racks in each of the two rows")
    parser.add_argument("--nodes", type=int, default=4, help="nodes in each rack, of 8 GPUs")
    parser.add_argument("--step", type=float, default=5.0, help="seconds between samples")
    parser.add_argument("--rate", type=float, default=4.0, help="faults begun an hour")
    parser.add_argument(
        "--build-up", type=float, nargs=2, default=(30.0, 120.0), metavar=("SHORTEST", "LONGEST"),
        help="minutes until faults that build up are full; 0 0 = the demo's pace",
    )  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="halls at a time, each in a process")
    parser.add_argument("--faults", action="store_true", help="also print what became of each fault")
    args = parser.parse_args(argv)
    pace = None if args.build_up[1] <= 0 else (args.build_up[0], args.build_up[1])
    shape = Shape(args.hours, args.racks, args.nodes, args.step, args.rate, pace)
    print(
        f"{'seed':>6}  {'found':>9} {'false':>9} {'further':>7} {'suspect':>8} {'delay min':>9} {'lead min':>8} "
        f"{'alerts':>7} {'signals':>8} {'readings':>9} {'each':>7}"
    )
    runs: list[Evaluation] = []
    with ProcessPoolExecutor(args.jobs) as pool:
        work = partial(judged, shape=shape, settings=Settings())
        for seed, marks in zip(args.seeds, pool.map(work, args.seeds), strict=True):
            print(row(str(seed), marks), flush=True)
            if args.faults:
                print(describe(marks), flush=True)
            runs.append(marks)
    print(together(runs))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
