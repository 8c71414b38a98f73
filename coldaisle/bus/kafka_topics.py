"""Looks whether Kafka is as it must be, and makes it so when asked to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from coldaisle.bus.kafka_client import Murmurs, connect, connection, listen_quietly, ours
from coldaisle.bus.kafka_settings import KafkaConfig
from coldaisle.checkup import Finding, FindingSeverity
from coldaisle.clock import Clock
from coldaisle.errors import ColdaisleError

_OLDEST_BROKER = (3, 3)
"""The first release whose KRaft mode its makers call fit for production."""
_CLOCK_WARNING_SECONDS = 1.0
_CLOCK_ERROR_SECONDS = 10.0
"""Beyond this, messages that the broker stamps look late or early to the pipeline."""
_MEND = "run `coldaisle doctor --fix`"


def check(config: KafkaConfig, clock: Clock) -> list[Finding]:
    """Look without touching anything. Raises ConfigError where a certificate cannot be read."""
    murmurs = listen_quietly()
    try:
        with _admin(config) as admin:
            return [
                Finding("kafka", "ok", f"answers at {', '.join(config.servers)}"),
                *_brokers(admin, config, clock),
                *_topics(admin, config),
            ]
    except kafka_errors.KafkaError as error:
        return [_unreachable(config, murmurs, error)]


def fix(config: KafkaConfig, clock: Clock) -> list[Finding]:
    """Make missing topics, add partitions, set what differs; return what was done and how it stands then."""
    murmurs = listen_quietly()
    try:
        with _admin(config) as admin:
            done = [Finding(f"kafka topic {name}", "ok", text) for name, text in _mend(admin, config)]
    except kafka_errors.KafkaError as error:
        return [_unreachable(config, murmurs, error)]
    return done + check(config, clock)


def wanted(config: KafkaConfig, topic: str) -> dict[str, str]:
    """Return the settings that ``topic`` must have on the brokers."""
    return {
        "retention.ms": str(round(config.topics[topic].retention_hours * 3_600_000)),
        # The brokers' time never goes back within a partition and is the same whenever a message is read again.
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(config.max_message_bytes + 1024),
        # Keep what producers compressed as it is.
        "compression.type": "producer",
        # No topic of ours holds only the newest message of each key: compaction would lose frames and findings.
        "cleanup.policy": "delete",
        # With acks=all a message is durable on so many brokers, and one of three may be away.
        "min.insync.replicas": str(max(1, config.replication - 1)),
    }


@contextmanager
def _admin(config: KafkaConfig) -> Iterator[Any]:
    admin = connect(KafkaAdminClient, connection(config))
    try:
        yield admin
    finally:
        admin.close()


def _unreachable(config: KafkaConfig, murmurs: Murmurs, error: Exception) -> Finding:
    if isinstance(error, kafka_errors.KafkaTimeoutError):
        text = f"no answer at {', '.join(config.servers)}: {murmurs.reason()}"
        return Finding("kafka", "error", text, "start it, or correct the section [bus.kafka]")
    meant: ColdaisleError = ours(error, "a look at its topics")
    return Finding("kafka", "error", str(meant), "grant the user Describe on the cluster and on our topics")


def _brokers(admin: Any, config: KafkaConfig, clock: Clock) -> Iterator[Finding]:
    brokers = admin.describe_cluster()["brokers"]
    for broker in brokers:
        number = broker.get("broker_id", broker.get("node_id"))
        version = tuple(admin.get_broker_version_data(number).broker_version)
        text = f"version {'.'.join(map(str, version))} or newer"
        if version < _OLDEST_BROKER:
            least = ".".join(map(str, _OLDEST_BROKER))
            yield Finding(f"kafka broker {number}", "warning", text, f"tested with 4.x; upgrade to {least} or newer")
        else:
            yield Finding(f"kafka broker {number}", "ok", text)
    if config.replication > len(brokers):
        yield Finding(
            "kafka brokers",
            "error",
            f"{len(brokers)} answer, but bus.kafka.replication is {config.replication}",
            f"start more, or set bus.kafka.replication to {len(brokers)}",
        )
    yield from _clock_difference(admin, clock)


def _clock_difference(admin: Any, clock: Clock) -> Iterator[Finding]:
    before = clock.now()
    try:
        quorum = admin.describe_metadata_quorum()
    except kafka_errors.KafkaError:
        quorum = {}
    after = clock.now()
    theirs = _leader_time(quorum)
    if theirs is None:
        yield Finding("kafka clock", "ok", "the brokers do not tell their time to this user")
        return
    # The answer was written somewhere between; what lies within that time is no difference.
    seconds = max(before / 1e9 - theirs, theirs - after / 1e9, 0.0)
    text = f"differs from ours by {seconds:.1f} s"
    if seconds < _CLOCK_WARNING_SECONDS:
        yield Finding("kafka clock", "ok", text)
    else:
        severity: FindingSeverity = "error" if seconds >= _CLOCK_ERROR_SECONDS else "warning"
        yield Finding("kafka clock", severity, text, "run chrony or another NTP client on the brokers and here")


def _leader_time(quorum: Mapping[str, Any]) -> float | None:
    """Return Unix seconds of the controller in charge, the only broker that tells its time."""
    for topic in quorum.get("topics", ()):
        for partition in topic.get("partitions", ()):
            for voter in partition.get("current_voters", ()):
                if voter.get("replica_id") == partition.get("leader_id"):
                    stamp = voter.get("last_caught_up_timestamp", -1)
                    return stamp / 1000 if stamp > 0 else None
    return None


def _described(admin: Any, config: KafkaConfig) -> dict[str, Mapping[str, Any]]:
    """Return the topics that are there, by our names."""
    names = {config.topic(topic): topic for topic in config.topics}
    found = admin.describe_topics(list(names))
    return {names[each["name"]]: each for each in found if each["error_code"] == 0}


def _settings(admin: Any, config: KafkaConfig, topics: list[str]) -> dict[str, dict[str, str]]:
    if not topics:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, config.topic(topic)) for topic in topics]
    answer = admin.describe_configs(resources, config_filter="all").get("topic", {})
    return {
        topic: {key: str(about["value"]) for key, about in answer.get(config.topic(topic), {}).items()}
        for topic in topics
    }


def _topics(admin: Any, config: KafkaConfig) -> Iterator[Finding]:
    there = _described(admin, config)
    settings = _settings(admin, config, list(there))
    for topic in config.topics:
        part = f"kafka topic {config.topic(topic)}"
        if topic not in there:
            yield Finding(part, "error", "is missing", _MEND, fixable=True)
            continue
        problems = [*_layout(part, there[topic], config, topic), *_differences(part, settings[topic], config, topic)]
        if problems:
            yield from problems
        else:
            hours = config.topics[topic].retention_hours
            count = len(there[topic]["partitions"])
            yield Finding(part, "ok", f"{count} partitions, kept for {hours:g} h")


def _layout(part: str, described: Mapping[str, Any], config: KafkaConfig, topic: str) -> Iterator[Finding]:
    partitions = described["partitions"]
    should = config.topics[topic].partitions
    if len(partitions) < should:
        text = f"has {len(partitions)} partitions, should have {should}"
        yield Finding(part, "error", text, f"stop the roles, since keys move; then {_MEND}", fixable=True)
    elif len(partitions) > should:
        text = f"has {len(partitions)} partitions, should have {should}; Kafka cannot take partitions away"
        yield Finding(part, "warning", text, f"set bus.kafka.topics.{topic}.partitions to {len(partitions)}")
    copies = min((len(each["replica_nodes"]) for each in partitions), default=0)
    if copies < config.replication:
        text = f"has {copies} copies, should have {config.replication}"
        yield Finding(part, "error", text, "add replicas with kafka-reassign-partitions.sh")
    lacking = [each["partition_index"] for each in partitions if len(each["isr_nodes"]) < len(each["replica_nodes"])]
    if lacking:
        text = f"partitions {', '.join(map(str, lacking))} lack copies that are up to date"
        yield Finding(part, "warning", text, "start the brokers that are down")
    headless = [each["partition_index"] for each in partitions if each["leader_id"] < 0]
    if headless:
        text = f"partitions {', '.join(map(str, headless))} have no leader: nothing is read or written there"
        yield Finding(part, "error", text, "start the brokers that hold them")


def _differences(part: str, settings: Mapping[str, str], config: KafkaConfig, topic: str) -> Iterator[Finding]:
    for key, should in wanted(config, topic).items():
        value = settings.get(key, "not known")
        if value != should:
            yield Finding(part, "error", f"{key} is {value}, should be {should}", _MEND, fixable=True)


def _mend(admin: Any, config: KafkaConfig) -> Iterator[tuple[str, str]]:
    there = _described(admin, config)
    for topic, about in config.topics.items():
        name = config.topic(topic)
        if topic not in there:
            options = {
                "num_partitions": about.partitions,
                "replication_factor": config.replication,
                "configs": wanted(config, topic),
            }
            admin.create_topics({name: options}, timeout_ms=15_000)
            admin.wait_for_topics([name], timeout_ms=15_000)
            yield name, f"made, with {about.partitions} partitions"
        elif len(there[topic]["partitions"]) < about.partitions:
            admin.create_partitions({name: about.partitions}, timeout_ms=15_000)
            admin.wait_for_topics([name], timeout_ms=15_000)
            yield name, f"given {about.partitions} partitions"
    settings = _settings(admin, config, list(there))
    for topic, have in settings.items():
        differ = {key: should for key, should in wanted(config, topic).items() if have.get(key) != should}
        if differ:
            name = config.topic(topic)
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=differ)])
            yield name, f"set {', '.join(f'{key} to {value}' for key, value in differ.items())}"
