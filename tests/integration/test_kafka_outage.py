"""A real Kafka broker is killed and comes back under load: nothing is lost, order holds, everybody goes on."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from time import monotonic, sleep

import pytest
from kafka import KafkaConsumer as Client
from kafka.errors import KafkaConnectionError

from coldaisle.bus import Bus, Message, Producer
from coldaisle.bus.kafka import KafkaBus
from coldaisle.errors import Backpressure, Permanent, Transient
from coldaisle.selfstats import SelfStats
from tests.integration.kafka_server import KafkaServer, Unavailable, fresh_bus, fresh_config

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("kafka"),
    # kafka-python leaves sockets that were refused to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <(socket|ssl):pytest.PytestUnraisableExceptionWarning"),
]
log = logging.getLogger(__name__)
KEYS = 16


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Leave no such socket to the next test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    try:
        made = KafkaServer(tmp_path_factory.mktemp("kafka"))
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield made
    made.kill()


@pytest.fixture
def server(one: KafkaServer) -> KafkaServer:
    """A broker that runs and may be killed."""
    if not one.running:
        one.start()
    return one


class Shipper:
    """Ships numbered rounds as ours does: what could not be flushed is kept and sent again, oldest first."""

    def __init__(self, bus: Bus) -> None:
        self.done = 0
        self.away = threading.Event()
        self.stop = threading.Event()
        self._bus = bus
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        producer = self._bus.producer()
        while not self.stop.is_set():
            try:
                self._ship(producer)
                self.done += 1
            except Backpressure as error:
                sleep(error.retry_after_seconds)
            except Transient:
                self.away.set()
                sleep(0.2)
        producer.close()

    def _ship(self, producer: Producer) -> None:
        for key in range(KEYS):
            producer.produce("frames", f"n{key}".encode(), str(self.done).encode())
        producer.flush()

    def end(self) -> int:
        self.stop.set()
        self._thread.join(60.0)
        assert not self._thread.is_alive()
        return self.done


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = monotonic() + seconds
    while not condition():
        assert monotonic() < end, "waited too long"
        sleep(0.02)


def new_in_order(messages: list[Message]) -> dict[bytes, list[int]]:
    """Return what each key brought for the first time, in the order in which it came."""
    found: dict[bytes, dict[int, None]] = {}
    for message in messages:
        found.setdefault(message.key, {}).setdefault(int(message.value))
    return {key: list(numbers) for key, numbers in found.items()}


def test_a_killed_broker_costs_a_pause_and_nothing_else(server: KafkaServer) -> None:
    bus = fresh_bus(server, config=fresh_config(server, flush_seconds=3))
    shipper, consumer = Shipper(bus), bus.consumer(["frames"], "score")
    read: list[Message] = []
    heard: list[str] = []

    def work() -> None:
        messages = consumer.poll(500, 0.1)
        read.extend(messages)
        try:
            if messages:
                consumer.commit({message.partition: message.offset + 1 for message in messages})
            consumer.behind()
        except Transient as error:
            heard.append(str(error))

    def worked(condition: Callable[[], object]) -> Callable[[], object]:
        def look() -> object:
            work()
            return condition()

        return look

    until(worked(lambda: len(read) > 20 * KEYS))
    server.kill()
    until(worked(lambda: any("is away" in each for each in heard)))
    until(shipper.away.is_set)
    server.start()
    back_at = monotonic()
    seen, rounds = len(read), shipper.done
    until(worked(lambda: len(read) > seen + 20 * KEYS and shipper.done > rounds + 20))
    log.info("everybody went on %.2f s after the broker was back", monotonic() - back_at)
    done = shipper.end()
    until(worked(lambda: all(len(numbers) >= done for numbers in new_in_order(read).values())))

    assert new_in_order(read) == {f"n{key}".encode(): list(range(done)) for key in range(KEYS)}
    until(worked(lambda: sum(consumer.behind().values()) == 0))
    bus.close()


def test_processes_may_start_before_their_broker(server: KafkaServer) -> None:
    config = fresh_config(server)
    fresh_bus(server, config=config).close()
    server.kill()
    bus = KafkaBus(config)
    producer, consumer = bus.producer(), bus.consumer(["frames"], "score")
    with pytest.raises(Transient, match=r"is away: nothing answers there"):
        producer.produce("frames", b"n1", b"early")
    with pytest.raises(Transient, match="is away"):
        consumer.behind()
    server.start()

    def sent() -> bool:
        try:
            producer.produce("frames", b"n1", b"now")
            producer.flush()
        except Transient:
            return False
        return True

    until(sent)
    read: list[Message] = []
    until(lambda: read.extend(consumer.poll(10, 0.2)) or read)  # type: ignore[func-returns-value]
    assert [message.value for message in read] == [b"now"]
    bus.close()


def test_a_broker_that_dies_while_a_process_connects_is_waited_for(
    server: KafkaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = fresh_bus(server)
    producer = bus.producer()
    producer.produce("anomalies", b"one", b"told")
    producer.flush()
    asked: list[str] = []
    answers = Client.partitions_for_topic

    def reset(client: Client, topic: str) -> object:
        asked.append(topic)
        if len(asked) == 1:
            raise KafkaConnectionError(ConnectionResetError(104, "Connection reset by peer"))
        return answers(client, topic)

    monkeypatch.setattr(Client, "partitions_for_topic", reset)
    consumer = bus.consumer(("anomalies",), "alert")
    assert consumer.poll(10, 0.1) == []
    got: list[Message] = []
    until(lambda: got.extend(consumer.poll(10, 0.5)) or got)  # type: ignore[func-returns-value]
    assert [message.value for message in got] == [b"told"]
    assert len(asked) > 1
    bus.close()


def test_a_producer_bounds_what_is_not_yet_durable_and_refuses_what_is_too_large(server: KafkaServer) -> None:
    stats = SelfStats()
    config = fresh_config(server, max_in_flight_bytes=1 << 20, max_message_bytes=1 << 18, flush_seconds=1)
    producer = fresh_bus(server, stats, config=config).producer()
    with pytest.raises(Permanent, match=r"a message of 50000202 bytes exceeds the 262144 bytes of topic frames"):
        producer.produce("frames", b"n1", b"x" * 50_000_000)
    with pytest.raises(Permanent, match=r"no topic .*nonsense; run `coldaisle doctor --fix`"):
        producer.produce("nonsense", b"n1", b"x")
    producer.produce("frames", b"n1", b"x")
    producer.flush()
    server.kill()
    for _ in range(10):
        producer.produce("frames", b"n1", b"x" * 100_000)
    with pytest.raises(Backpressure, match=r"of 1048576 bytes wait for kafka"):
        producer.produce("frames", b"n1", b"x" * 100_000)
    assert stats.get("bus_refused_total", topic="frames", reason="full") == 1
    with pytest.raises(Transient, match="is away"):
        producer.flush()
    until(lambda: refused_as_away(producer))
    with pytest.raises(Transient):
        producer.close()


def refused_as_away(producer: Producer) -> bool:
    try:
        producer.produce("frames", b"n1", b"x")
    except Backpressure:
        return False
    except Transient as error:
        return "is away" in str(error)
    return False
