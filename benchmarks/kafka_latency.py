"""From a sample's reading to the webhook that it causes, through real processes and a real broker under load."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_kafka import broker
from cli.bench_fleet import SERIES_PER_NODE, Fleet
from cli.settings import read
from coldaisle.bus import FRAMES
from coldaisle.bus.kafka import KafkaBus
from coldaisle.clock import SECOND, SystemClock
from coldaisle.codec import HeadCache, encode_frame
from coldaisle.errors import Backpressure
from coldaisle.frame import Frame
from tests.integration.listeners import Inbox, inbox
from tests.integration.programme import environment

METRIC = "node_filesystem_used_ratio"
RULES = f"""
[[rule]]
name = "bench_spike"
on = "metric"
metric = "{METRIC}"
above = 0.99
severity = "page"
summary = "The disk of {{entity}} is full"
"""
CONFIG = """
rules = "rules"
[storage]
folder = "data"
[bus]
kind = "kafka"
lag_limit_messages = 100000000
[bus.kafka]
servers = ["{kafka}"]
[engine]
allowed_lateness_seconds = 0.25
[alerts]
group_wait_seconds = 0.0
lateness_seconds = 0.0
merge_window_seconds = 0.1
slow_window_seconds = 0.1
[[receiver]]
name = "bench"
url = "{webhook}"
"""


def tell(fleet: Fleet, bus: KafkaBus, seconds: float, warm_seconds: float, spikes_a_second: int) -> dict[str, int]:
    """Send the fleet's scrapes as they would be read now; return when which node's disk was read full, Unix ns."""
    producer, heads, clock = bus.producer(), HeadCache(), SystemClock()
    began = clock.now()
    spiked: dict[str, int] = {}
    tick, ticks_a_second = 0, 20
    frames = fleet.frames(0)
    names = [series.metric for series in frames[0].layout.series]
    at = names.index(METRIC)
    share = -(-len(frames) // ticks_a_second)
    while clock.now() - began < (warm_seconds + seconds) * SECOND:
        part = frames[(tick % ticks_a_second) * share : (tick % ticks_a_second + 1) * share]
        if tick % ticks_a_second == ticks_a_second - 1:
            frames = fleet.frames(tick // ticks_a_second + 1)
        warm = clock.now() - began > warm_seconds * SECOND
        now = clock.now()
        for number, frame in enumerate(part):
            values = frame.values
            wanted = warm and number == 0 and tick % (ticks_a_second // spikes_a_second) == 0
            if wanted and frame.node not in spiked:
                values = values.copy()
                values[at] = 1.0
                spiked[frame.node] = now
            read_now = Frame(frame.collector, frame.node, frame.layout, np.full(len(frame), now), values)
            message = encode_frame(read_now, heads)
            while True:
                try:
                    producer.produce(FRAMES, frame.node.encode(), message)
                    break
                except Backpressure as error:
                    time.sleep(error.retry_after_seconds)
        tick += 1
        clock.sleep(max(0.0, (began + tick * SECOND // ticks_a_second - clock.now()) / SECOND))
    producer.flush()
    return spiked


def delays(box: Inbox, spiked: dict[str, int]) -> list[float]:
    """Return the seconds from reading to webhook of each spike that was told."""
    found: dict[str, float] = {}
    for one in box.taken():
        document: dict[str, Any] = one.document
        text = json.dumps(document)
        for node, at in spiked.items():
            if f"node/{node}" in text and node not in found:
                found[node] = (one.received_at - at) / SECOND
    return sorted(found.values())


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks kafka_latency", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1563, help="each 160 samples a second (default: 250,000 a second)")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--warm-seconds", type=float, default=30.0)
    parser.add_argument("--spikes", type=int, default=4, help="a second")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(broker())
        box = stack.enter_context(inbox())
        (place / "rules").mkdir()
        (place / "rules" / "bench.toml").write_text(RULES)
        (place / "bench.toml").write_text(CONFIG.format(kafka=server.plaintext, webhook=box.url))
        command = [sys.executable, "-m", "cli"]
        config = ["--config", str(place / "bench.toml")]
        subprocess.run(
            [*command, "doctor", *config, "--fix"], env=environment(), check=False, stdout=subprocess.DEVNULL
        )
        log = stack.enter_context((place / "log").open("ab"))
        for role in ("score", "alert"):
            child = subprocess.Popen(
                [*command, "run", role, *config, "--health-port", "0"], env=environment(), stdout=log, stderr=log
            )
            stack.callback(child.wait, 10)
            stack.callback(child.kill)
        bus = KafkaBus(read(place / "bench.toml").bus.kafka)
        spiked = tell(Fleet(args.nodes, interval_seconds=1), bus, args.seconds, args.warm_seconds, args.spikes)
        time.sleep(10.0)
        bus.close()
        took = delays(box, spiked)
        if not took:
            raise SystemExit(f"no webhook came: {(place / 'log').read_text()[-2000:]}")
        p50, p99 = (float(np.quantile(took, share)) for share in (0.5, 0.99))
        row = {
            "samples_per_second": args.nodes * SERIES_PER_NODE, "spikes": len(spiked), "told": len(took),
            "p50_seconds": round(p50, 2), "p99_seconds": round(p99, 2), "longest_seconds": round(took[-1], 2),
        }  # fmt: skip
    print(json.dumps(row) if args.json else "\n".join(f"{name:20} {value:>10,}" for name, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
