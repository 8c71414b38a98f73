"""What was fetched from several partitions is handed out in the order of time, and each partition in its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldaisle.bus import Message, Partition
from coldaisle.bus.kafka_merge import Merge
from coldaisle.bus.kafka_settings import KafkaConfig
from coldaisle.config import parse
from coldaisle.errors import ConfigError

A, B = Partition("frames", 0), Partition("frames", 1)


def stretch(partition: Partition, *times: int, first: int = 0) -> list[Message]:
    return [Message(partition, first + number, b"", b"", {}, at) for number, at in enumerate(times)]


def times_of(merge: Merge, count: int = 100) -> list[int]:
    return [message.timestamp for message in merge.take(count)]


def test_nothing_runs_ahead_of_a_partition_that_holds_more() -> None:
    merge = Merge()
    merge.add(A, stretch(A, 1, 2, 3))
    merge.add(B, stretch(B, 2, 4, 6))
    merge.release(behind=[A])
    assert times_of(merge, 2) == [1, 2]
    assert times_of(merge) == [2, 3]
    assert merge.waiting == {B}
    merge.release(behind=[A])
    assert not merge.ready
    merge.release(behind=[])
    assert times_of(merge) == [4, 6]


def test_what_was_fetched_of_a_partition_that_went_is_forgotten() -> None:
    merge = Merge()
    merge.add(A, stretch(A, 1, 3))
    merge.add(B, stretch(B, 2, 4))
    merge.release(behind=[])
    assert times_of(merge, 1) == [1]
    merge.forget({B})
    assert times_of(merge) == [3]


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(st.integers(0, 50), max_size=8), st.booleans()), max_size=12))
def test_nothing_is_lost_and_each_partition_keeps_its_order(rounds: list[tuple[bool, list[int], bool]]) -> None:
    merge, given_out = Merge(), list[Message]()
    sent: dict[Partition, int] = {A: 0, B: 0}
    for to_a, times, hold in rounds:
        partition = A if to_a else B
        merge.add(partition, stretch(partition, *times, first=sent[partition]))
        sent[partition] += len(times)
        merge.release(behind=[A] if hold else [])
        given_out += merge.take(3)
    merge.release(behind=[])
    while merge.ready:
        given_out += merge.take(3)
    for partition, count in sent.items():
        assert [each.offset for each in given_out if each.partition == partition] == list(range(count))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"servers": ["kafka1"]}, "'kafka1' is no address; write host:port"),
        ({"security": "sasl_tls"}, "needs user and password"),
        ({"password": "canary"}, "used by security sasl_tls only"),
        ({"topics": {"frame": {"partitions": 3}}}, "no topic frame; there are frames"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_remedy(document: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        parse(document, KafkaConfig, "coldaisle.toml")
    assert "canary" not in str(refused.value)


def test_a_topic_keeps_what_is_not_said_of_it() -> None:
    config = parse({"topics": {"frames": {"partitions": 32}}}, KafkaConfig, "coldaisle.toml")
    assert (config.topics["frames"].partitions, config.topics["frames"].retention_hours) == (32, 72)
    assert config.topics["events"].partitions == 4
