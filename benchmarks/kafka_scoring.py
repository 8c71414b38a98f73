"""Kafka to scored to findings out: one, two and four members beside a bare poll-and-decode loop on the same topic."""

from __future__ import annotations

import argparse
import json
import multiprocessing as mp
import os
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event as Flag
from pathlib import Path
from typing import Any, NamedTuple

import kafka

from benchmarks.real_kafka import broker, produced
from cli.bench_fleet import Fleet
from cli.rules_folder import rules_folder
from coldaisle.bus import FRAMES
from coldaisle.bus.kafka import KafkaBus
from coldaisle.bus.kafka_settings import KafkaConfig
from coldaisle.bus.kafka_topics import fix
from coldaisle.clock import SystemClock
from coldaisle.codec import LayoutCache, decode_frame
from coldaisle.errors import Transient
from coldaisle.selfstats import SelfStats
from coldaisle.store.snapshots import FolderSnapshots
from coldaisle.topology import Topology
from models.calibrate import TailCalibrator
from models.level import Level
from models.peers import Peers
from pipeline.court import Bar
from pipeline.engine_settings import EngineSettings
from pipeline.rules import load
from pipeline.score_role import Pace, ScoreRole
from pipeline.shards import Workshop

PARTITIONS = 8
_SNAPSHOT_SECONDS = 15.0


class Progress(NamedTuple):
    """What a member writes and its parent reads."""

    samples: Any  # shared double
    processor_seconds: Any
    waiting: Any  # messages
    stop: Flag


def role_of(bus: KafkaBus, folder: Path, stats: SelfStats) -> ScoreRole:
    """Return a member as `coldaisle run score` makes it, with the shipped settings."""
    settings, rules = EngineSettings(), load(rules_folder(None))

    def bar() -> Bar:
        return Bar((Level(), Peers()), TailCalibrator(2, 64), rules, settings, stats)

    workshop = Workshop(bar, Topology, rules, settings, stats, PARTITIONS, PARTITIONS)
    return ScoreRole(bus, workshop, FolderSnapshots(folder, stats), SystemClock(), Pace(_SNAPSHOT_SECONDS))


def member(config: KafkaConfig, folder: Path, progress: Progress) -> None:
    """Score until told to stop."""
    stats = SelfStats()
    bus = KafkaBus(config, stats)
    role = role_of(bus, folder, stats)
    while not progress.stop.is_set():
        try:
            role.step(0.2)
            progress.waiting.value = float(role.lag())
        except Transient:
            time.sleep(0.05)
        progress.samples.value = stats.total("samples_total")
        progress.processor_seconds.value = time.process_time()
    # No orderly end: what it would save is not what is measured.
    os._exit(0)


def bare(config: KafkaConfig, samples: int) -> tuple[float, float]:
    """Return samples a second, of the wall and of the processor, that kafka-python polls and `decode_frame` decodes."""
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=list(config.servers), auto_offset_reset="earliest", enable_auto_commit=False
    )
    consumer.assign([kafka.TopicPartition(config.topic(FRAMES), number) for number in range(PARTITIONS)])
    consumer.seek_to_beginning()
    layouts, got = LayoutCache(), 0
    began, processor = time.perf_counter(), time.process_time()
    while got < samples:
        for messages in consumer.poll(500, max_records=2000).values():
            got += sum(len(decode_frame(message.value, layouts)) for message in messages)
    wall, processor = time.perf_counter() - began, time.process_time() - processor
    consumer.close()
    return got / wall, got / processor


def scored(config: KafkaConfig, folder: Path, members: int, samples: int) -> tuple[float, float]:
    """Return samples a second, of the wall and of one processor, from two fifths of the log to its end."""
    context = mp.get_context("spawn")
    crew = [
        Progress(context.Value("d", 0.0), context.Value("d", 0.0), context.Value("d", 1.0), context.Event())
        for _ in range(members)
    ]
    children = [context.Process(target=member, args=(config, folder, each), daemon=True) for each in crew]
    for child in children:
        child.start()
    try:
        _until(lambda: sum(each.samples.value for each in crew) >= 0.4 * samples, children)
        first, began = sum(each.samples.value for each in crew), time.perf_counter()
        used = sum(each.processor_seconds.value for each in crew)
        _until(
            lambda: sum(each.samples.value for each in crew) >= samples and not sum(e.waiting.value for e in crew),
            children,
        )
        done = sum(each.samples.value for each in crew) - first
        used = sum(each.processor_seconds.value for each in crew) - used
        return done / (time.perf_counter() - began), done / used
    finally:
        for each in crew:
            each.stop.set()
        for child in children:
            child.join(10)


def restarted(config: KafkaConfig, folder: Path) -> float:
    """Return the seconds from a new member to its first sample scored, all series restored from their snapshots."""
    stats = SelfStats()
    first = role_of(KafkaBus(config, stats), folder, stats)
    while stats.get("shards", stage="watch") < PARTITIONS or first.lag():
        first.step(0.2)
    first.close()
    began = time.perf_counter()
    stats = SelfStats()
    bus = KafkaBus(config, stats)
    second = role_of(bus, folder, stats)
    while stats.get("shards", stage="watch") < PARTITIONS or stats.get("shards", stage="court") < PARTITIONS:
        second.step(0.05)
    took = time.perf_counter() - began
    assert stats.get("series") > 0
    second.close()
    bus.close()
    return took


def _until(done: Callable[[], bool], children: list[Any]) -> None:
    deadline = time.monotonic() + 300
    while not done():
        if time.monotonic() > deadline or any(child.exitcode not in (None, 0) for child in children):
            raise SystemExit("a member failed or took longer than five minutes")
        time.sleep(0.02)


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks kafka_scoring", description=__doc__)
    parser.add_argument("--nodes", type=int, default=625, help="of 160 series each (default: 100,000 series)")
    parser.add_argument("--scrapes", type=int, default=45, help="the detectors say nothing before 32")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with broker() as server, tempfile.TemporaryDirectory() as place:
        for members in args.members:
            config = KafkaConfig(servers=(server.plaintext,), prefix=f"m{members}.")
            fix(config, SystemClock())
            samples = produced(config, Fleet(args.nodes), args.scrapes)
            wall, processor = bare(config, samples)
            folder = Path(place) / str(members)
            mine, of_processor = scored(config, folder, members, samples)
            rows.append({
                "members": members, "bare_per_second": round(wall), "bare_per_processor_second": round(processor),
                "scored_per_second": round(mine), "scored_per_processor_second": round(of_processor),
                "ratio": round(mine / wall, 3), "processor_ratio": round(of_processor / processor, 3),
            })  # fmt: skip
            if members == args.members[-1]:
                rows[-1]["restart_seconds"] = round(restarted(config, folder), 2)
    if args.json:
        print(json.dumps(rows))
        return 0
    print(f"{args.nodes * 160:,} series, {PARTITIONS} partitions, {args.scrapes} scrapes; samples a second")
    print("members   bare poll+decode   scored   ratio   scored a processor second   ratio")
    for row in rows:
        print(
            f"{row['members']:7d} {row['bare_per_second']:18,d} {row['scored_per_second']:8,d} {row['ratio']:7.2f} "
            f"{row['scored_per_processor_second']:27,d} {row['processor_ratio']:7.2f}"
        )
    print(f"a member restarts with all series restored in {rows[-1]['restart_seconds']} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
