"""One node of 64 that weakens by three percent: found, how soon, and whether others are named, by whole replays."""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cli.progress import Progress
from cli.replay import Replay, step_ns
from cli.settings import Settings
from coldaisle.clock import MINUTE, SECOND
from coldaisle.frame import Block
from coldaisle.series import Layout, Series, labels
from coldaisle.store.recording import Recording, RecordingWriter
from coldaisle.topology import Entity, Relation, RelationKind, Topology

FILE = "mlperf_power/v4.0__smc-dc-power__64xSMC-H100-SXM-80GB__gpt3.csv.gz"
DRAWS = 40
WITHIN_SECONDS = 600.0
EARLIEST_MINUTE, LATEST_BEFORE_END_MINUTES = 10.0, 12.0
"""A node must have been seen well for a while, and the recording must last until the deadline."""
START = 1_715_990_400 * SECOND


class Run(NamedTuple):
    """One training run: what 64 nodes drew."""

    name: str
    nodes: tuple[str, ...]
    node: NDArray[np.int32]  # [n] of each sample
    timestamps: NDArray[np.int64]  # [n] Unix ns, sorted
    watts: NDArray[np.float64]  # [n]


class Outcome(NamedTuple):
    """What became of one draw."""

    delay_seconds: float  # infinite = not found
    others: tuple[str, ...]  # named beside the weak node


def runs(path: Path) -> list[Run]:
    """Return the runs of a published power log, in order of time."""
    rows: dict[str, list[tuple[int, str, float]]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["key"] == "power_reading":
                rows.setdefault(row["run"], []).append((int(row["time_ms"]), row["device"], float(row["value"])))
    return [_run(name, sorted(rows[name])) for name in sorted(rows)]


def _run(name: str, rows: list[tuple[int, str, float]]) -> Run:
    nodes = tuple(sorted({device for _, device, _ in rows}))
    number = {device: i for i, device in enumerate(nodes)}
    first = rows[0][0]
    return Run(
        name, nodes, np.array([number[device] for _, device, _ in rows], np.int32),
        np.array([START + (time - first) * 1_000_000 for time, _, _ in rows], np.int64),
        np.array([watts for _, _, watts in rows]),
    )  # fmt: skip


def draws(every: Sequence[Run], count: int, seed: int) -> Iterator[tuple[Run, int, int]]:
    """Yield which run, which node and when (Unix ns)."""
    random = np.random.default_rng(seed)
    for number in range(count):
        one = every[number % len(every)]
        first, last = int(one.timestamps[0]), int(one.timestamps[-1])
        low, high = first + EARLIEST_MINUTE * MINUTE, last - LATEST_BEFORE_END_MINUTES * MINUTE
        yield one, int(random.integers(len(one.nodes))), int(random.uniform(low, high))


def weakened(run: Run, node: int, since: int, factor: float) -> NDArray[np.float64]:
    """Return the watts of a run one of whose nodes draws less from then on."""
    weak = (run.node == node) & (run.timestamps >= since)
    return np.where(weak, factor * run.watts, run.watts)


def record(run: Run, watts: NDArray[np.float64], path: Path, with_job: bool) -> None:
    """Write a recording, as anybody could of such a log."""
    layout = Layout(Series("node_power_watts", labels(node=name)) for name in run.nodes)
    with RecordingWriter(path) as writer:
        step = 4096
        for start in range(0, len(watts), step):
            part = slice(start, start + step)
            writer.write(Block(layout, run.node[part].astype(np.int64), run.timestamps[part], watts[part]))
        if with_job:
            nodes = [Entity("node", name, None, {"sku": "hgx-h100"}) for name in run.nodes]
            relations = [Relation(RelationKind.RUNS, "job/gpt3", node.id) for node in nodes]
            writer.write_topology(Topology([*nodes, Entity("job", "gpt3")], relations))


def outcome(path: Path, node: str, since: int) -> Outcome:
    """Replay a recording and say what its incidents name."""
    recording = Recording(path)
    replay = Replay(recording, Settings())
    replay.run(step_ns(recording), Progress("replay", quiet=True))
    delay, others = np.inf, set[str]()
    for incident in replay.incidents():
        places = set(incident.entities) | {incident.suspect}
        if f"node/{node}" in places and incident.opened_at >= since:
            delay = min(delay, (incident.opened_at - since) / SECOND)
            places -= {"job/gpt3"}
        others |= places - {f"node/{node}"}
    return Outcome(delay, tuple(sorted(others)))


def main(argv: Sequence[str]) -> int:
    """Print a line a draw and the shares; 1 where the file is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks peer_drift", description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--factor", type=float, default=0.97)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-job", action="store_true", help="no topology: peers by metric and kind alone")
    parser.add_argument("--verbose", action="store_true", help="a line for each draw")
    args = parser.parse_args(argv)
    folder = Path(os.environ.get("COLDAISLE_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not (folder / FILE).exists():
        print(f"{folder / FILE} is missing; set COLDAISLE_DATA to the folder of published data", file=sys.stderr)
        return 1
    found: list[Outcome] = []
    for one, node, since in draws(runs(folder / FILE), args.draws, args.seed):
        with tempfile.TemporaryDirectory(prefix="coldaisle-drift-") as place:
            path = Path(place) / "run"
            record(one, weakened(one, node, since, args.factor), path, not args.without_job)
            result = outcome(path, one.nodes[node], since)
        found.append(result)
        if args.verbose:
            minute = (since - START) / MINUTE
            told = f"{result.delay_seconds:5.0f} s  {' '.join(result.others)}"
            print(f"{one.nodes[node]:8} from minute {minute:4.1f}: {told}", flush=True)
    delays = np.array([each.delay_seconds for each in found])
    in_time = delays <= WITHIN_SECONDS
    alone = np.array([not each.others for each in found])
    finite = delays[np.isfinite(delays)]
    middle, slow = np.quantile(finite, [0.5, 0.95]) if len(finite) else (np.nan, np.nan)
    print(f"{len(found)} draws, factor {args.factor}, {'no job known' if args.without_job else 'one job'}")
    print(f"found within {WITHIN_SECONDS / 60:.0f} min: {in_time.mean():.1%}   no other named: {alone.mean():.1%}")
    print(f"delay: median {middle / 60:.1f} min, 95 % {slow / 60:.1f} min")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
