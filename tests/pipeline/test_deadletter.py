"""What becomes of poison, and when there is too much of it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from hashlib import sha256

import pytest

from coldaisle.bus import DEADLETTERS, EVENTS, FRAMES, Message, Partition
from coldaisle.clock import DAY, HOUR, SECOND
from coldaisle.codec import LINE_PROTOCOL, encode_event, encode_frame
from coldaisle.deadletter import MOST_LETTER_BYTES, Letter, decode_letter
from coldaisle.errors import Permanent
from coldaisle.event import Event
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from pipeline.deadletter import DeadLetters
from pipeline.reader import Reader

NOW = 1_763_780_400 * SECOND


class Box:
    """A producer that keeps what is sent."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def produce(self, topic: str, key: bytes, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        assert topic == DEADLETTERS
        self.messages.append(Message(Partition(topic, 0), len(self.messages), key, value, headers or {}, NOW))

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def letters(self) -> list[Letter]:
        found = [decode_letter(message) for message in self.messages]
        return [each for each in found if isinstance(each, Letter)]


def message(value: bytes, topic: str = FRAMES, key: bytes = b"n1", offset: int = 5, **headers: str) -> Message:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Message(Partition(topic, 2), offset, key, value, named, NOW)


def frame_at(timestamp: int) -> bytes:
    series = Series("node_power_watts", labels(node="n1"))
    return encode_frame(Frame.of("host", "n1", [Sample(series, timestamp, 1.0)]))


GOOD = frame_at(NOW)
NEWER = GOOD.replace(b"\x01\x00\x00\x001\x00\x00\x00", b"\x01\x00\x00\x002\x00\x00\x00")

POISON = [
    ("truncated Arrow", message(GOOD[: len(GOOD) // 2]), "not an Arrow stream"),
    ("a wrong version", message(NEWER), "has version '2'; this reader knows '1'"),
    ("50 MB", message(b"\xff\xff\xff\xff" + b"\0" * 50_000_000), "has 50,000,004 bytes; at most"),
    ("a lying digest", message(GOOD.replace(b"node_power_watts", b"node_power_wattz")), "claims layout"),
    ("1970", message(frame_at(5 * SECOND)), "frame of 'n1': is dated 1970-01-01 00:00"),
    ("2100", message(frame_at(4_102_444_800 * SECOND)), "is dated 2100-01-01"),
    ("NaN in a line", message(b"m,host=n1 f=nan 1763780400000000000"), "line 1: field value 'nan'"),
    ("bad escape in a line", message(b"m,host=n1\\ f=1 1763780400000000000"), "line 1: "),
    ("a line in seconds", message(b"m,host=n1 f=1 1763780400"), "dated 1970-01-01"),
    ("JSON", message(b'{"a": 1}', content_type="application/json"), "has content-type 'application/json'"),
    ("nothing", message(b""), "neither an Arrow stream nor line protocol"),
    ("an event of 1970", message(encode_event(Event("xid", "79", 5, ())), EVENTS), "event 'xid': is dated 1970"),
    ("an event that is cut", message(b'{"version": 1, "kind"', EVENTS), "is not JSON"),
]


@pytest.mark.parametrize(("poison", "reason"), [case[1:] for case in POISON], ids=[case[0] for case in POISON])
def test_poison_is_kept_with_origin_reason_time_key_and_headers(poison: Message, reason: str) -> None:
    box, stats = Box(), SelfStats()
    reader = Reader(DeadLetters(box, stats, by="score"), stats)
    poison = poison._replace(headers={**poison.headers, "trace": "7"})
    good = message(GOOD, offset=6)
    frames, events = reader.read([poison, good])
    (letter,) = box.letters()
    assert letter.id == f"{poison.partition.topic}/2/5"
    assert reason in letter.reason
    assert (letter.key, letter.timestamp, letter.by) == (poison.key, NOW, "score")
    assert dict(letter.headers) == dict(poison.headers)
    assert poison.value.startswith(letter.value)
    assert letter.whole == (len(poison.value) < 800_000)
    assert len(frames) == 1, "the rest is read all the same"
    assert not events
    assert stats.get("dead_letters_total", topic=poison.partition.topic) == 1


def test_what_is_too_large_keeps_its_beginning_its_length_and_its_digest() -> None:
    box = Box()
    whole = bytes(range(256)) * 8_000
    DeadLetters(box, SelfStats()).put(message(whole), "too large")
    (letter,) = box.letters()
    assert (letter.value, letter.length) == (whole[: 64 << 10], len(whole))
    assert letter.sha256 == sha256(whole).hexdigest()
    (sent,) = box.messages
    assert len(sent.value) + sum(len(name) + len(text) for name, text in sent.headers.items()) < MOST_LETTER_BYTES


def test_huge_keys_and_headers_do_not_make_a_letter_too_large() -> None:
    box = Box()
    poison = message(b"x", key=b"k" * 1_000_000)._replace(headers={"h": "v" * 900_000})
    DeadLetters(box, SelfStats()).put(poison, "r" * 100_000 + "\ud800")
    (sent,) = box.messages
    assert len(sent.key) + len(sent.value) < 100_000
    assert sum(len(name) + len(text) for name, text in sent.headers.items()) < 100_000


def test_of_a_message_of_many_lines_only_the_bad_ones_are_dead() -> None:
    box, stats = Box(), SelfStats()
    reader = Reader(DeadLetters(box, stats), stats)
    lines = [f"m,host=n1 f={value} {NOW + number}".encode() for number, value in enumerate(("1", "nan", "3", "x"))]
    frames, _ = reader.read([message(b"\n".join(lines))])
    assert sorted(value for frame in frames if isinstance(frame, Frame) for value in frame.values.tolist()) == [1, 3]
    (letter,) = box.letters()
    assert letter.value == lines[1] + b"\n" + lines[3] + b"\n"
    assert letter.headers["content-type"] == LINE_PROTOCOL
    assert "line 2: field value 'nan'" in letter.reason
    assert "(and 1 more lines)" in letter.reason


def test_a_single_skewed_clock_is_no_poison() -> None:
    box, stats = Box(), SelfStats()
    reader = Reader(DeadLetters(box, stats), stats)
    ahead, behind = message(frame_at(NOW + 23 * HOUR)), message(frame_at(NOW - 400 * DAY))
    frames, _ = reader.read([ahead, behind])
    assert len(frames) == 2
    assert box.messages == []


def play(letters: DeadLetters, chance: random.Random, bad_nodes: int, nodes: int, messages: int) -> int:
    """Let every node send good or bad messages in random order; return how many were sent until it stopped."""
    for number in range(messages):
        node = chance.randrange(nodes)
        try:
            if node < bad_nodes:
                letters.put(message(b"x", key=b"n%d" % node), "broken")
            else:
                letters.good(key=b"n%d" % node)
        except Permanent:
            return number
    return messages


def test_one_bad_collector_among_a_hundred_stops_nobody_however_much_it_sends() -> None:
    chance = random.Random(1)
    letters = DeadLetters(Box(), SelfStats())
    for _ in range(5_000):
        letters.put(message(b"x", key=b"bad"), "broken")  # nobody else has been heard yet
    assert play(letters, chance, 0, 100, 1_000) == 1_000
    for _ in range(20_000):
        letters.put(message(b"x", key=b"bad"), "broken")


def test_a_bad_sender_that_invents_keys_stops_nobody() -> None:
    letters = DeadLetters(Box(), SelfStats())
    for number in range(2_000):
        letters.put(message(b"x", key=b"random-%d" % number), "broken")
        letters.good(key=b"n%d" % (number % 100))


@pytest.mark.parametrize(("bad", "stops"), [(100, True), (60, True), (40, False), (2, False)])
def test_most_senders_gone_bad_stop_the_role_and_fewer_do_not(bad: int, stops: bool) -> None:
    letters = DeadLetters(Box(), SelfStats())
    sent = play(letters, random.Random(2), bad, 100, 20_000)
    assert (sent < 2_000) == stops
    assert stops or sent == 20_000


def test_who_went_bad_long_after_it_was_good_counts_as_bad() -> None:
    letters = DeadLetters(Box(), SelfStats())
    assert play(letters, random.Random(3), 0, 10, 100_000) == 100_000
    assert play(letters, random.Random(3), 10, 10, 20_000) < 10_000
