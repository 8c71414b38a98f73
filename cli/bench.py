"""``coldaisle bench``: what this machine can do, as a table beside the budgets."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from cli import bench_scoring
from cli.bench_every import everything, forests, shipped
from cli.bench_fleet import Fleet
from cli.bench_scoring import Meter, Rate
from cli.progress import Progress
from coldaisle.store.parquet import ParquetStore


class Figure(NamedTuple):
    """One figure: its key in JSON, its words, its value, and the budget it must keep (None = there is none)."""

    key: str
    words: str
    value: float
    budget: float | None = None
    at_most: bool = False  # the budget is a limit, not a goal

    @property
    def met(self) -> bool | None:
        """Whether the budget is kept."""
        if self.budget is None:
            return None
        return self.value <= self.budget if self.at_most else self.value >= self.budget


class Sizes(NamedTuple):
    """How long each part is measured: scrapes of the whole fleet, and nodes of 160 series."""

    large: int  # nodes of the large fleet
    scrapes_1k: int
    scrapes_10k: int
    scrapes_100k: int
    memory: int  # nodes


FULL = Sizes(625, 80, 30, 6, 625)
QUICK = Sizes(125, 20, 6, 4, 250)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--quick", action="store_true", help="about ten seconds, on smaller fleets; rougher")
    parser.add_argument("--json", action="store_true", help="print one object instead of a table")


def parquet_writing(nodes: int, scrapes: int) -> Rate:
    """Measure the embedded metric store: frames taken, and made durable after each scrape of the fleet."""
    fleet, meter = Fleet(nodes), Meter()
    with tempfile.TemporaryDirectory() as folder:
        store = ParquetStore(Path(folder))
        for scrape in range(2 + scrapes):
            seconds = range(scrape * fleet.interval_seconds, (scrape + 1) * fleet.interval_seconds)
            frames = [frame for second in seconds for frame in fleet.frames(second)]
            if scrape < 2:  # the first names the series, the second those whose first scrape was lost
                store.write(frames)
                store.flush()
                continue
            with meter:
                store.write(frames)
                store.flush()
            meter.samples += sum(map(len, frames))
        store.close()
    return meter.rate()


def measure(sizes: Sizes, progress: Progress) -> list[Figure]:
    """Return every figure of this machine."""
    large = f"{sizes.large * 160 // 1000}k"
    done = 0

    def next_part() -> None:
        nonlocal done
        progress.show(done / 11)
        done += 1

    next_part()
    decode = bench_scoring.decoding(sizes.large, 6)
    next_part()
    encode = bench_scoring.encoding(sizes.large, 4)
    next_part()
    small = bench_scoring.scoring(6, sizes.scrapes_1k)
    next_part()
    middle = bench_scoring.scoring(63, sizes.scrapes_10k)
    next_part()
    most = bench_scoring.scoring(sizes.large, sizes.scrapes_100k)
    next_part()
    suited = bench_scoring.scoring(sizes.large, sizes.scrapes_100k, both_everywhere=False)
    next_part()
    trained = forests()
    every = bench_scoring.scoring(sizes.large, sizes.scrapes_100k, scorer=everything(trained))
    next_part()
    bus = bench_scoring.bus_to_findings(sizes.large, sizes.scrapes_100k // 2)
    next_part()
    write = parquet_writing(sizes.large, 3)
    next_part()
    held = bench_scoring.bytes_per_series(sizes.memory)
    next_part()
    held_as_shipped = bench_scoring.bytes_per_series(sizes.memory, lambda: shipped(trained))
    progress.done()
    return [
        Figure("decode_samples_per_second", f"decode, {large} series", decode.per_second),
        Figure("encode_samples_per_second", f"encode, {large} series", encode.per_second),
        Figure("scoring_samples_per_second", f"score, {large} series", most.per_second, 1e6),
        Figure("scoring_10k_series_samples_per_second", "score, 10k series", middle.per_second),
        Figure("scoring_1k_series_samples_per_second", "score, 1k series", small.per_second),
        Figure(
            "scoring_growth_ratio", f"cost a sample, {large} over 1k series",
            small.per_second / most.per_second, 1.2, at_most=True,
        ),
        Figure("scoring_as_shipped_samples_per_second", f"score as shipped, {large} series", suited.per_second, 1e6),
        Figure("scoring_every_detector_samples_per_second", f"score, every detector, {large}", every.per_second, 4e5),
        Figure("bus_to_findings_samples_per_second", "bus in memory to findings", bus.per_second, 5e5),
        Figure("parquet_write_samples_per_second", "write and flush Parquet", write.per_second),
        Figure("bytes_per_series", "memory a series, level and peers, bytes", held, 1024.0, at_most=True),
        Figure(
            "bytes_per_series_as_shipped", "memory a series, every detector and warner, bytes",
            held_as_shipped, 1024.0, at_most=True,
        ),
        Figure("processor_share_ratio", "share of its wall time on a core", most.processor_seconds / most.wall_seconds),
    ]  # fmt: skip


def machine() -> dict[str, Any]:
    """Return what the figures were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "cores": os.cpu_count(),
        "processor": model,
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def table(figures: list[Figure], on: dict[str, Any]) -> str:
    """Return the figures as text."""
    width = max(len(figure.words) for figure in figures)
    lines = [
        f"{on['processor']}, {on['cores']} cores, Python {on['python']}, load {on['load_average']} at the start",
        "One thread of one process. Samples a second of processor time: what others do on the machine does not count.",
        "score: decode, ingest, level and peers on every metric, calibration, limits, silences, findings;",
        "160 series a node, scraped each 10 s, one in 500 lost; as shipped: each metric has what suits it;",
        "every detector: level, seasonal, peers, drift and forest, as shipped.",
        "",
        f"{'what':{width}} {'figure':>14} {'budget':>16}  met?",
    ]
    for figure in figures:
        budget = ""
        if figure.budget is not None:
            budget = f"{'at most' if figure.at_most else 'at least'} {number(figure.budget)}"
        met = {None: "", True: "yes", False: "NO"}[figure.met]
        unit = "/s" if figure.key.endswith("_per_second") else "  "
        lines.append(f"{figure.words:{width}} {number(figure.value) + unit:>14} {budget:>18}  {met}".rstrip())
    return "\n".join(lines)


def number(value: float) -> str:
    """Return a figure with as many digits as mean something."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    on = machine()
    figures = measure(QUICK if args.quick else FULL, Progress("bench", quiet=args.json))
    if args.json:
        found: dict[str, Any] = {figure.key: figure.value for figure in figures}
        found["budgets_met"] = {figure.key: figure.met for figure in figures if figure.met is not None}
        json.dump({"machine": on, **found}, sys.stdout, indent=2)
        print()
    else:
        print(table(figures, on))
    return 0
