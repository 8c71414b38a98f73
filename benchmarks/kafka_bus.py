"""Measures our Kafka consumer and producer beside the bare client in the same run, with frames of 160 samples."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from kafka import KafkaConsumer, KafkaProducer
from kafka.structs import TopicPartition

from coldaisle.bus.kafka import KafkaBus
from coldaisle.bus.kafka_settings import KafkaConfig
from coldaisle.clock import SECOND
from coldaisle.codec import LayoutCache, decode_frame, encode_frame
from coldaisle.frame import Frame
from coldaisle.series import Layout, Series, labels
from tests.integration.kafka_server import KafkaServer, fresh_bus, fresh_config

SAMPLES = 160
NODES = 64
PARTITIONS = 8


def frames(count: int) -> list[tuple[bytes, bytes]]:
    """Return ``count`` frames with their keys: 8 GPUs of a node, 20 metrics each."""
    names = [(f"metric_{metric}", gpu) for gpu in range(8) for metric in range(SAMPLES // 8)]
    layouts = [
        Layout(tuple(Series(metric, labels(node=f"n{node}", gpu=f"GPU-{node}-{gpu}")) for metric, gpu in names))
        for node in range(NODES)
    ]
    chance = np.random.default_rng(1)
    found = []
    for number in range(count):
        node = number % NODES
        at = np.full(SAMPLES, 1_790_000_000 * SECOND + number // NODES * 10 * SECOND, dtype=np.int64)
        frame = Frame("nvml", f"n{node}", layouts[node], at, chance.normal(400.0, 5.0, SAMPLES).round(1))
        found.append((f"n{node}".encode(), encode_frame(frame)))
    return found


def bare_produce(config: KafkaConfig, messages: list[tuple[bytes, bytes]]) -> float:
    """Return seconds of the library alone, told to do the same."""
    producer = KafkaProducer(
        bootstrap_servers=list(config.servers), acks="all", compression_type="lz4", batch_size=256 << 10, linger_ms=5
    )
    began = time.perf_counter()
    for key, value in messages:
        producer.send(config.topic("frames"), value=value, key=key)
    producer.flush()
    seconds = time.perf_counter() - began
    producer.close()
    return seconds


def our_produce(bus: KafkaBus, messages: list[tuple[bytes, bytes]]) -> float:
    """Return seconds of ours."""
    producer = bus.producer()
    producer.produce("frames", *messages[0])
    producer.flush()
    began = time.perf_counter()
    for key, value in messages:
        producer.produce("frames", key, value)
    producer.flush()
    seconds = time.perf_counter() - began
    producer.close()
    return seconds


def _count(batches: Iterator[int], wanted: int) -> float:
    began = time.perf_counter()
    read = 0
    for size in batches:
        read += size
        if read >= wanted:
            return time.perf_counter() - began
    raise AssertionError("it ended early")


def bare_consume(config: KafkaConfig, wanted: int) -> float:
    """Return seconds of the library alone: poll and decode."""
    consumer = KafkaConsumer(bootstrap_servers=list(config.servers), auto_offset_reset="earliest", group_id=None)
    consumer.assign([TopicPartition(config.topic("frames"), number) for number in range(PARTITIONS)])
    consumer.seek_to_beginning()
    layouts = LayoutCache()

    def batches() -> Iterator[int]:
        while True:
            got = 0
            for records in consumer.poll(timeout_ms=500, max_records=2000).values():
                for record in records:
                    decode_frame(record.value, layouts)
                got += len(records)
            yield got

    seconds = _count(batches(), wanted)
    consumer.close()
    return seconds


def our_consume(bus: KafkaBus, wanted: int) -> float:
    """Return seconds of ours: poll, in order of time, and decode."""
    consumer, layouts = bus.reader(["frames"]), LayoutCache()

    def batches() -> Iterator[int]:
        while True:
            messages = consumer.poll(2000, 0.5)
            for message in messages:
                decode_frame(message.value, layouts)
            yield len(messages)

    seconds = _count(batches(), wanted)
    consumer.close()
    return seconds


def report(what: str, count: int, bare: list[float], ours: list[float]) -> None:
    """Print one line: both rates, and ours as a part of the bare one."""
    rates = [count / statistics.median(seconds) for seconds in (bare, ours)]
    print(
        f"{what:28} bare {rates[0]:9,.0f} frames/s {rates[0] * SAMPLES:12,.0f} samples/s"
        f"   ours {rates[1]:9,.0f} frames/s {rates[1] * SAMPLES:12,.0f} samples/s   ratio {rates[1] / rates[0]:.2f}"
    )


def main() -> None:
    """Start a broker, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    messages = frames(args.frames)
    size = sum(len(value) for _, value in messages) / len(messages)
    print(f"{args.frames:,} frames of {SAMPLES} samples, {size:,.0f} bytes each, {PARTITIONS} partitions, lz4")
    with tempfile.TemporaryDirectory() as folder, KafkaServer(Path(folder)) as server:
        bare: dict[str, list[float]] = {"produce": [], "consume": []}
        ours: dict[str, list[float]] = {"produce": [], "consume": []}
        measures: list[Callable[[], None]] = []
        for number in range(args.rounds):
            config = fresh_config(server, PARTITIONS)
            bus = fresh_bus(server, config=config)
            measures = [
                lambda: bare["produce"].append(bare_produce(config, messages)),  # noqa: B023 - called at once
                lambda: ours["produce"].append(our_produce(bus, messages)),  # noqa: B023
                lambda: bare["consume"].append(bare_consume(config, 2 * args.frames)),  # noqa: B023
                lambda: ours["consume"].append(our_consume(bus, 2 * args.frames)),  # noqa: B023
            ]
            # In turns, so that neither always finds the machine as the other left it.
            for measure in measures if number % 2 == 0 else [measures[1], measures[0], measures[3], measures[2]]:
                measure()
            bus.close()
        report("produce, durable", args.frames, bare["produce"], ours["produce"])
        report("poll and decode", 2 * args.frames, bare["consume"], ours["consume"])


if __name__ == "__main__":
    main()
