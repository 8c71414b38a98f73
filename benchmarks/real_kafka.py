"""A real Kafka broker for benchmarks, and a fleet's telemetry in it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.bench_fleet import Fleet
from coldaisle.bus import FRAMES
from coldaisle.bus.kafka import KafkaBus
from coldaisle.bus.kafka_settings import KafkaConfig
from coldaisle.errors import Backpressure
from tests.integration.kafka_server import KafkaServer


@contextmanager
def broker() -> Iterator[KafkaServer]:
    """Run a broker for as long as the context lasts."""
    with tempfile.TemporaryDirectory() as place, KafkaServer(Path(place) / "kafka") as server:
        yield server


def produced(config: KafkaConfig, fleet: Fleet, scrapes: int) -> int:
    """Send ``scrapes`` of a fleet; return how many samples that were."""
    bus = KafkaBus(config)
    producer, samples = bus.producer(), 0
    for second in range(scrapes * fleet.interval_seconds):
        frames = fleet.frames(second)
        for frame, message in zip(frames, fleet.encode(frames), strict=True):
            while True:
                try:
                    producer.produce(FRAMES, frame.node.encode(), message)
                    break
                except Backpressure as error:
                    time.sleep(error.retry_after_seconds)
            samples += len(frame)
    producer.flush()
    bus.close()
    return samples
