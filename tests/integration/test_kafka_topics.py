"""What `doctor` finds on a real Kafka broker and mends; logging in by certificate and password."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator

import pytest

from coldaisle.bus import kafka_topics
from coldaisle.bus.kafka import KafkaBus
from coldaisle.bus.kafka_settings import KafkaConfig
from coldaisle.checkup import Finding
from coldaisle.clock import SECOND, ManualClock, SystemClock
from coldaisle.errors import Permanent, Transient
from tests.integration.kafka_server import PASSWORD, USER, KafkaServer, fresh_config

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("kafka"),
    # kafka-python leaves sockets that were refused to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <(socket|ssl):pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Leave no such socket to the next test."""
    yield
    gc.collect()


@pytest.fixture
def login(kafka_server: KafkaServer) -> dict[str, object]:
    return {
        "servers": (kafka_server.sasl_tls,),
        "security": "sasl_tls",
        "ca_file": kafka_server.ca_file,
        "user": USER,
        "password": PASSWORD,
    }


def texts(findings: list[Finding], severity: str) -> list[str]:
    return [f"{finding.part}: {finding.text}" for finding in findings if finding.severity == severity]


def test_topics_are_made_only_when_asked_for_and_then_as_they_should_be(kafka_server: KafkaServer) -> None:
    config, clock = fresh_config(kafka_server, 3), SystemClock()
    for _ in range(2):
        missing = [finding for finding in kafka_topics.check(config, clock) if finding.severity == "error"]
        assert [finding.part for finding in missing] == [f"kafka topic {config.topic(name)}" for name in config.topics]
        assert {(finding.text, finding.fixable) for finding in missing} == {("is missing", True)}
    with pytest.raises(Permanent, match=r"no topic .*frames; run `coldaisle doctor --fix`"):
        KafkaBus(config).partitions("frames")
    assert texts(kafka_topics.fix(config, clock), "error") == []
    assert KafkaBus(config).partitions("frames") == 3
    assert texts(kafka_topics.check(config, clock), "ok")[-1].endswith("deadletters: 3 partitions, kept for 336 h")


def test_what_differs_is_named_and_mended_and_partitions_never_vanish(kafka_server: KafkaServer) -> None:
    config, clock = fresh_config(kafka_server, 3), SystemClock()
    kafka_topics.fix(config, clock)
    more = {name: {"partitions": 5 if name == "frames" else 2, "retention_hours": 1} for name in config.topics}
    wanted = config.model_validate(config.model_dump() | {"topics": more})
    frames, events = wanted.topic("frames"), wanted.topic("events")
    found = kafka_topics.check(wanted, clock)
    assert f"kafka topic {frames}: has 3 partitions, should have 5" in texts(found, "error")
    assert f"kafka topic {frames}: retention.ms is 259200000, should be 3600000" in texts(found, "error")
    too_many = f"kafka topic {events}: has 3 partitions, should have 2; Kafka cannot take partitions away"
    assert too_many in texts(found, "warning")
    mended = kafka_topics.fix(wanted, clock)
    assert texts(mended, "error") == []
    assert f"kafka topic {frames}: given 5 partitions" in texts(mended, "ok")
    assert too_many in texts(mended, "warning")


def test_a_clock_that_differs_and_brokers_that_are_too_few_are_errors(kafka_server: KafkaServer) -> None:
    config = fresh_config(kafka_server, replication=3)
    behind = ManualClock(SystemClock().now() - 60 * SECOND)
    errors = texts(kafka_topics.check(config, behind), "error")
    assert any(
        each.startswith(("kafka clock: differs from ours by 60", "kafka clock: differs from ours by 59"))
        for each in errors
    )
    assert "kafka brokers: 1 answer, but bus.kafka.replication is 3" in errors


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_messages_pass_over_tls_with_a_password(
    kafka_server: KafkaServer, login: dict[str, object], mechanism: str
) -> None:
    config = fresh_config(kafka_server, 1, mechanism=mechanism, compression="zstd", **login)
    assert texts(kafka_topics.fix(config, SystemClock()), "error") == []
    assert PASSWORD not in repr(config)
    pass_one_message(config)


def test_messages_pass_over_tls_with_a_certificate_of_our_own(kafka_server: KafkaServer) -> None:
    config = fresh_config(
        kafka_server,
        1,
        servers=(kafka_server.tls,),
        security="tls",
        ca_file=kafka_server.ca_file,
        client_cert_file=kafka_server.client_cert_file,
        client_key_file=kafka_server.client_key_file,
    )
    assert texts(kafka_topics.fix(config, SystemClock()), "error") == []
    pass_one_message(config)


def pass_one_message(config: KafkaConfig) -> None:
    bus = KafkaBus(config)
    producer, consumer = bus.producer(), bus.consumer(["frames"], "score")
    producer.produce("frames", b"n1", b"hello")
    producer.flush()
    assert [message.value for message in consumer.poll(10, 20.0)] == [b"hello"]
    bus.close()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"password": "canary-wrong"}, r"user.* password.* wrong"),
        ({"ca_file": None}, "its certificate is not signed by ca_file"),
        (
            {"security": "plaintext", "ca_file": None, "user": None, "password": None},
            "it hangs up on us: user, password or security is wrong",
        ),
    ],
)
def test_what_is_wrong_with_the_login_is_said_without_the_secret(
    kafka_server: KafkaServer, login: dict[str, object], wrong: dict[str, object], reason: str
) -> None:
    config = fresh_config(kafka_server, 1, **(login | wrong), connect_seconds=1, away_seconds=1)
    (finding,) = kafka_topics.check(config, SystemClock())
    assert finding.severity == "error"
    assert re.search(reason, finding.text)
    with pytest.raises(Transient, match=reason) as refused:
        KafkaBus(config).producer().produce("frames", b"n1", b"x")
    assert "canary" not in finding.text + finding.remedy + str(refused.value)
