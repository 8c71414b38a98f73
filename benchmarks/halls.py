"""How well simulated halls are judged: records each seed with its truth, replays it, prints the marks."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cli.progress import Progress
from cli.replay import Replay, step_ns
from cli.settings import Settings
from coldaisle.store.recording import Recording, RecordingWriter
from collectors.simulator.config import SimulatorConfig
from collectors.simulator.simulator import Simulator, record
from pipeline.evaluation import Evaluation

SEEDS = (31, 32, 33, 34, 35)
HOURS = 2.0
STEP_SECONDS = 5.0


def judged(seed: int, hours: float) -> Evaluation:
    """Return the marks of one hall of 256 GPUs; the first quarter of an hour is without faults, for warming up."""
    config = SimulatorConfig(
        rows=2, racks_per_row=4, nodes_per_rack=4, seed=seed, step_seconds=STEP_SECONDS,
        duration_seconds=hours * 3600, first_fault_after_seconds=900,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="coldaisle-hall-") as folder:
        path = Path(folder) / "hall"
        with RecordingWriter(path) as writer:
            record(Simulator(config), hours * 3600, writer)
        recording = Recording(path)
        replay = Replay(recording, Settings())
        replay.run(step_ns(recording), Progress(f"seed {seed}"))
        marks = replay.evaluation()
    if marks is None:
        raise AssertionError("a simulated hall always has its truth")
    return marks


def main(argv: Sequence[str]) -> int:
    """Print a row a seed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks halls", description=__doc__)
    parser.add_argument("seeds", nargs="*", type=int, default=list(SEEDS))
    parser.add_argument("--hours", type=float, default=HOURS)
    args = parser.parse_args(argv)
    print(f"{'seed':>4}  {'found':>8}  {'false':>8}  {'suspect':>7}  {'delay s':>7}  {'alerts/incident':>15}  further")
    for seed in args.seeds:
        marks = judged(seed, args.hours)
        found = f"{len(marks.found)}/{len(marks.findings)}"
        false = f"{len(marks.false_incidents)}/{marks.incidents}"
        right, delay, few = marks.suspect_accuracy or 0.0, marks.median_delay_seconds() or 0.0, marks.compression or 0.0
        print(
            f"{seed:4}  {found:>8}  {false:>8}  {right:7.0%}  {delay:7.0f}  {few:15.1f}  {marks.duplicates}", flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
