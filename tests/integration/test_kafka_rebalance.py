"""A group on a real Kafka broker grows from one member to three and shrinks to two, under load."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from itertools import pairwise
from time import monotonic, sleep

import pytest

from coldaisle.bus import Bus, Consumer, Message, Partition
from tests.integration.kafka_server import KafkaServer, fresh_bus, fresh_config
from tests.integration.programme import environment

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("kafka")]
log = logging.getLogger(__name__)
KEYS = 40
PAUSE_LIMIT_SECONDS = 5.0


class Snapshots:
    """What members save and load: where each partition goes on, and the last number seen of each of its keys."""

    def __init__(self) -> None:
        self.saved: dict[Partition, tuple[int, dict[bytes, int]]] = {}
        self.counted: dict[tuple[bytes, int], int] = {}
        self.wrong: list[str] = []
        self.seen_at: dict[Partition, list[float]] = {}


class Member:
    """Counts each message once, keeps the state of its partitions with their offsets, saves it as they go."""

    def __init__(self, bus: Bus, snapshots: Snapshots) -> None:
        self.snapshots = snapshots
        self.state: dict[Partition, tuple[int, dict[bytes, int]]] = {}
        self.consumer: Consumer = bus.consumer(["frames"], "score", self)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def gained(self, partitions: frozenset[Partition]) -> Mapping[Partition, int]:
        for partition in partitions:
            offset, last = self.snapshots.saved.get(partition, (0, {}))
            self.state[partition] = offset, dict(last)
        return {partition: self.state[partition][0] for partition in partitions}

    def losing(self, partitions: frozenset[Partition]) -> None:
        self.save(partitions)
        self.lost(partitions)

    def lost(self, partitions: frozenset[Partition]) -> None:
        for partition in partitions:
            self.state.pop(partition, None)

    def save(self, partitions: frozenset[Partition]) -> None:
        for partition in partitions:
            self.snapshots.saved[partition] = self.state[partition]
        self.consumer.commit({partition: self.state[partition][0] for partition in partitions})

    def run(self) -> None:
        while not self.stop.is_set():
            for message in self.consumer.poll(200, 0.2):
                self.work(message)
        self.consumer.close()

    def work(self, message: Message) -> None:
        number = int(message.value)
        offset, last = self.state[message.partition]
        if message.offset != offset or number != last.get(message.key, -1) + 1:
            self.snapshots.wrong.append(f"{message} after {offset}, {last.get(message.key)}")
        counted = self.snapshots.counted
        counted[message.key, number] = counted.get((message.key, number), 0) + 1
        self.state[message.partition] = message.offset + 1, last | {message.key: number}
        self.snapshots.seen_at.setdefault(message.partition, []).append(monotonic())

    def leave(self) -> None:
        self.stop.set()
        self.thread.join(30.0)


class Load:
    """Numbers its messages from 0 under each key, without a pause, until told to stop."""

    def __init__(self, bus: Bus) -> None:
        self.produced = 0
        self.stop = threading.Event()
        self._bus = bus
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        producer = self._bus.producer()
        while not self.stop.is_set():
            for key in range(KEYS):
                producer.produce("frames", f"n{key}".encode(), str(self.produced).encode())
            producer.flush()
            self.produced += 1
            self.stop.wait(0.02)
        producer.close()

    def end(self) -> int:
        self.stop.set()
        self._thread.join(30.0)
        return self.produced


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end, "waited too long"
        sleep(0.05)


def longest_pause(seen_at: Mapping[Partition, list[float]]) -> float:
    return max(later - earlier for times in seen_at.values() for earlier, later in pairwise(times))


def test_members_come_and_go_and_each_message_counts_once(kafka_server: KafkaServer) -> None:
    bus, snapshots = fresh_bus(kafka_server, partitions=6), Snapshots()
    load = Load(bus)
    members = [Member(bus, snapshots)]
    until(lambda: len(members[0].state) == 6 and snapshots.counted)
    members += [Member(bus, snapshots), Member(bus, snapshots)]
    until(lambda: sorted(len(member.state) for member in members) == [2, 2, 2])
    members[0].leave()
    until(lambda: sorted(len(member.state) for member in members[1:]) == [3, 3])
    produced = load.end()
    until(lambda: len(snapshots.counted) == KEYS * produced)
    for member in members[1:]:
        member.leave()
    bus.close()

    assert snapshots.wrong == []
    assert set(snapshots.counted.values()) == {1}
    pause = longest_pause(snapshots.seen_at)
    log.info("%d messages, longest pause of a partition %.2f s", KEYS * produced, pause)
    assert pause < PAUSE_LIMIT_SECONDS


READER = """
import sys
from coldaisle.bus.kafka import KafkaBus
from coldaisle.bus.kafka_settings import KafkaConfig
consumer = KafkaBus(KafkaConfig.model_validate_json(sys.argv[1])).consumer(["frames"], "score")
read = 0
while True:
    read += len(consumer.poll(100, 0.2))
    print(read, flush=True)
"""


def test_a_member_that_was_killed_is_replaced_and_its_work_is_done_again(kafka_server: KafkaServer) -> None:
    config = fresh_config(kafka_server, 2, session_seconds=2)
    bus = fresh_bus(kafka_server, config=config)
    producer = bus.producer()
    for number in range(10):
        producer.produce("frames", f"n{number}".encode(), str(number).encode())
    producer.close()
    with subprocess.Popen(
        [sys.executable, "-c", READER, config.model_dump_json()], stdout=subprocess.PIPE, text=True, env=environment()
    ) as victim:
        assert victim.stdout is not None
        assert any(line.strip() == "10" for line in victim.stdout)
        victim.kill()

    heir = bus.consumer(["frames"], "score")
    read: list[Message] = []
    end = monotonic() + 30.0
    while len(read) < 10 and monotonic() < end:
        read += heir.poll(100, 0.2)
    assert sorted(int(message.value) for message in read) == list(range(10))
    heir.close()
    bus.close()
