"""Poison on a real Kafka broker: it becomes dead letters, which are listed, shown, replayed and dropped."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest

from cli import deadletters
from coldaisle.bus import FRAMES, Bus, Consumer, Message
from coldaisle.clock import SystemClock
from coldaisle.codec import encode_frame
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from pipeline.deadletter import DeadLetters
from pipeline.reader import Reader
from tests.integration.kafka_server import KafkaServer, fresh_bus

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("kafka")]


def frame_at(timestamp: int) -> bytes:
    sample = Sample(Series("node_power_watts", labels(node="n1")), timestamp, 1.0)
    return encode_frame(Frame.of("host", "n1", [sample]))


def type_(bus: Bus, *words: str) -> int:
    parser = argparse.ArgumentParser()
    deadletters.add_arguments(parser)
    return deadletters.run_on(bus, parser.parse_args(words))


def poll(consumer: Consumer, count: int) -> list[Message]:
    found: list[Message] = []
    for _ in range(60):
        found += consumer.poll(100, 1.0)
        if len(found) >= count:
            break
    return found


def listed(bus: Bus, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    type_(bus, "list", "--json")
    return {each["id"]: each for each in json.loads(capsys.readouterr().out)["dead_letters"]}


def test_poison_goes_through_kafka_and_back(kafka_server: KafkaServer, capsys: pytest.CaptureFixture[str]) -> None:
    bus, stats, now = fresh_bus(kafka_server), SelfStats(), SystemClock().now()
    good = frame_at(now)
    producer = bus.producer()
    poison = {
        b"cut": good[:200], b"old": frame_at(5), b"json": b'{"a": 1}',
        b"large": b"\xff\xff\xff\xff" + b"\0" * 2_000_000,
    }  # fmt: skip
    for key, value in poison.items():
        producer.produce(FRAMES, key, value, {"trace": key.decode()})
    producer.produce(FRAMES, b"n1", good)
    producer.flush()

    consumer = bus.consumer((FRAMES,), "score")
    messages = poll(consumer, 5)
    letters = DeadLetters(producer, stats, by="score")
    frames, _ = Reader(letters, stats).read(messages)
    letters.flush()
    assert len(frames) == 1
    origins = {message.key: "/".join(map(str, (*message.partition, message.offset))) for message in messages}

    found = listed(bus, capsys)
    assert set(found) == {origins[key] for key in poison}
    assert "dated 1970-01-01" in found[origins[b"old"]]["reason"]
    assert (found[origins[b"large"]]["bytes"], found[origins[b"large"]]["whole"]) == (2_000_004, False)
    assert found[origins[b"json"]]["headers"] == {"trace": "json"}

    assert type_(bus, "replay", origins[b"cut"], origins[b"json"]) == 0
    again = {message.key: message for message in poll(consumer, 2)}
    assert {key: (message.value, dict(message.headers)) for key, message in again.items()} == {
        key: (poison[key], {"trace": key.decode()}) for key in (b"cut", b"json")
    }
    assert type_(bus, "drop", origins[b"old"]) == 0
    assert set(listed(bus, capsys)) == {origins[b"large"]}
    consumer.close()
    producer.close()
    bus.close()
