"""Measures how fast the metric stores take samples: InfluxDB and Parquet, beside bare writes of the same lines."""

from __future__ import annotations

import argparse
import gzip
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS

from coldaisle.clock import SECOND
from coldaisle.errors import Transient
from coldaisle.frame import Frame
from coldaisle.series import Layout, Series, labels
from coldaisle.store import MetricStore
from coldaisle.store.influx import InfluxStore
from coldaisle.store.influx_lines import Heads
from coldaisle.store.lines import Numbering
from coldaisle.store.parquet import ParquetStore
from tests.integration.influx_server import ORG, TOKEN, InfluxProcess, config_of

BEGIN = 1_763_780_400 * SECOND
SERIES_A_NODE = 160
BATCH = 20_000


class Result(NamedTuple):
    """One way to write: samples a second on the wall, and of this process's own time on the processor."""

    name: str
    wall: float
    processor: float


def frames(samples: int, nodes: int) -> list[Frame]:
    """Return scrapes of ``nodes`` nodes of eight GPUs and twenty metrics each, ten seconds apart."""
    chance = np.random.default_rng(7)
    layouts = [
        Layout(
            Series(f"gpu_metric{metric}_watts", labels(gpu=f"GPU-{node:04x}{gpu}-5d2c-41b8", node=f"n{node:04}"))
            for gpu in range(8)
            for metric in range(20)
        )
        for node in range(nodes)
    ]
    return [
        Frame(
            "nvml",
            f"n{number % nodes:04}",
            layouts[number % nodes],
            np.full(SERIES_A_NODE, BEGIN + number // nodes * 10 * SECOND),
            chance.normal(300.0, 20.0, SERIES_A_NODE).round(2),
        )
        for number in range(samples // SERIES_A_NODE)
    ]


@contextmanager
def server() -> Iterator[tuple[InfluxProcess, Path]]:
    """A fresh InfluxDB in a fresh folder, so that nobody inherits another's compactions."""
    with tempfile.TemporaryDirectory() as name, InfluxProcess(Path(name) / "server") as process:
        for bucket in ("hall", "hall-events"):
            process.make_bucket(bucket)
        yield process, Path(name)


def timed(name: str, samples: int, work: Callable[[], None]) -> Result:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Result(name, samples / (time.perf_counter() - wall), samples / (time.process_time() - processor))


def store_all(store: MetricStore, scrapes: list[Frame]) -> None:
    """Write as the role ``store`` does: 2,000 messages at most, waiting where the store asks for it."""
    for first in range(0, len(scrapes), 125):
        patiently(partial(store.write, scrapes[first : first + 125]))
    patiently(store.flush)


def patiently(work: Callable[[], None]) -> None:
    """Try again while the store asks for it."""
    while True:
        try:
            work()
            return
        except Transient:
            time.sleep(0.02)


def bodies(scrapes: list[Frame]) -> list[bytes]:
    """Return the same samples as lines, formatted before the clock runs."""
    known, heads = Numbering(), Heads()
    several = BATCH // SERIES_A_NODE
    found = []
    for first in range(0, len(scrapes), several):
        rows = [known.rows(frame) for frame in scrapes[first : first + several]]
        found.append(heads.lines(known.series, *(np.concatenate(column) for column in zip(*rows, strict=True))))
    return found


def bare(url: str, lines: list[bytes], zipped: bool) -> None:
    """Write with influxdb-client alone, as its manual shows it."""
    with InfluxDBClient(url=url, token=TOKEN, org=ORG, timeout=60_000, enable_gzip=zipped) as client:
        api = client.write_api(write_options=SYNCHRONOUS)
        for body in lines:
            api.write("hall", ORG, body)


def count(process: InfluxProcess) -> int:
    """Return how many samples InfluxDB holds."""
    store = InfluxStore(config_of(process, "hall"), read_only=True)
    held = store._reader.count_until(BEGIN + 10**17)
    store.close()
    return held


def measure(samples: int, nodes: int) -> list[Result]:
    """Write ``samples`` in every way, each to a server or folder of its own."""
    scrapes = frames(samples, nodes)
    samples = len(scrapes) * SERIES_A_NODE
    lines = bodies(scrapes)
    size = sum(map(len, lines))
    squeezed = sum(len(gzip.compress(body, 1)) for body in lines[:5]) / sum(map(len, lines[:5]))
    print(
        f"{samples:,} samples of {nodes * SERIES_A_NODE:,} series, {size / samples:.0f} bytes a line,"
        f" {squeezed:.0%} of that gzipped"
    )
    results = []
    for name, zipped in (("influxdb-client alone", False), ("influxdb-client alone, gzip", True)):
        with server() as (process, _):
            results.append(timed(name, samples, partial(bare, process.url, lines, zipped)))
            assert count(process) == samples
    for name, zipped in (("InfluxStore, no gzip", False), ("InfluxStore", True)):
        with server() as (process, _):
            store = InfluxStore(config_of(process, "hall", timeout_seconds=60.0, gzip=zipped))
            results.append(timed(name, samples, partial(store_all, store, scrapes)))
            store.close()
            assert count(process) == samples
    with tempfile.TemporaryDirectory() as folder:
        parquet = ParquetStore(Path(folder))
        results.append(timed("ParquetStore", samples, partial(store_all, parquet, scrapes)))
        parquet.close()
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=250)
    args = parser.parse_args()
    built = subprocess.run(["deploy/build-influxd.sh", "--if-built"], capture_output=True, text=True, check=False)
    if built.returncode:
        print(f"not measured: {built.stderr.strip()}")
        return
    results = measure(args.samples, args.nodes)
    beside = results[0].wall
    print(f"{'':32}{'samples/s':>12}{'ratio':>8}{'samples/s of own CPU':>24}")
    for result in results:
        print(f"{result.name:32}{result.wall:>12,.0f}{result.wall / beside:>8.2f}{result.processor:>24,.0f}")


if __name__ == "__main__":
    main()
