"""The command ``coldaisle deadletters``, as a person and as a script use it."""

from __future__ import annotations

import argparse
import json
from base64 import b64decode
from pathlib import Path

import pytest

from cli import deadletters
from cli.main import main
from coldaisle.bus import DEADLETTERS, EVENTS, FRAMES, Message, Partition
from coldaisle.bus.memory import MemoryBus
from coldaisle.clock import SECOND, ManualClock
from coldaisle.codec import decode_event, decode_frame
from coldaisle.errors import ConfigError
from coldaisle.event import Event
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.store.influx_lines import event_line, head
from pipeline.deadletter import DeadLetters

NOW = 1_763_780_400 * SECOND


class Desk:
    """A bus with three dead letters and somebody who types commands."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW)
        self.bus = MemoryBus(self.clock)
        self.letters = DeadLetters(self.bus.producer(), SelfStats(), by="score")
        self.put(FRAMES, 7, b"n1", b"\x00garbage", "frame: is not an Arrow stream", {"trace": "abc"})
        self.put(EVENTS, 3, b"n2", b'{"version": 9}', "event: has version 9")
        self.put(FRAMES, 8, b"n1", b"\x00" * 2_000_000, "frame: has 2,000,000 bytes")

    def put(
        self, topic: str, offset: int, key: bytes, value: bytes, reason: str, headers: dict[str, str] | None = None
    ) -> None:
        self.letters.put(Message(Partition(topic, 0), offset, key, value, headers or {}, NOW - SECOND), reason)
        self.clock.advance(1)

    def type(self, *words: str) -> int:
        parser = argparse.ArgumentParser()
        deadletters.add_arguments(parser)
        return deadletters.run_on(self.bus, parser.parse_args(words))

    def messages(self, topic: str) -> list[Message]:
        return self.bus.reader((topic,)).poll(100, 0.0)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_the_list_says_where_each_came_from_how_large_it_is_and_why(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.type("list") == 0
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith("2025-11-22T03:00:00  frames/0/7 ")
    assert first.endswith("8 B  frame: is not an Arrow stream")
    assert "events/0/3" in second
    assert "2,000,000 B" in third
    assert desk.type("list", "--topic", "events", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["total"], document["dead_letters"][0]["id"]) == (1, "events/0/3")
    assert desk.type("list", "--reason", "no such reason") == 1


def test_one_is_shown_with_all_that_is_known_of_it(
    desk: Desk, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert desk.type("show", "frames/0/7", "-o", str(tmp_path / "bytes")) == 0
    shown = capsys.readouterr().out
    for part in ("is not an Arrow stream", "score", "b'n1'", "header trace:", "abc", "00 67 61 72", ".garbage"):
        assert part in shown
    assert (tmp_path / "bytes").read_bytes() == b"\x00garbage"
    assert desk.type("show", "frames/0/8", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["bytes"] == 2_000_000
    assert document["whole"] is False
    assert len(b64decode(document["value_base64"])) == 65_536
    assert desk.type("show", "frames/0/99") == 1


def test_replaying_sends_the_original_again_and_says_so(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert desk.type("replay", "frames/0/7", "--note", "reader mended") == 0
    (again,) = desk.messages(FRAMES)
    assert (again.key, again.value, dict(again.headers)) == (b"n1", b"\x00garbage", {"trace": "abc"})
    capsys.readouterr()
    desk.type("list", "--settled", "--json")
    listed = {each["id"]: each for each in json.loads(capsys.readouterr().out)["dead_letters"]}
    assert listed["frames/0/7"]["settled"] == "replayed"
    assert listed["frames/0/7"]["note"] == "reader mended"
    desk.type("list", "--json")
    assert [each["id"] for each in json.loads(capsys.readouterr().out)["dead_letters"]] == ["events/0/3", "frames/0/8"]


def test_what_is_not_here_as_a_whole_is_not_replayed_and_says_why(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.type("replay", "--all") == 1
    said = capsys.readouterr()
    assert "2 replayed" in said.out
    assert "frames/0/8: only the first 65,536 of 2,000,000 bytes are kept" in said.err
    assert len(desk.messages(FRAMES)) == len(desk.messages(EVENTS)) == 1


def test_what_is_dropped_stays_dropped_when_a_role_reads_it_again_after_a_crash(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.type("drop", "--topic", "frames") == 0
    desk.put(FRAMES, 7, b"n1", b"\x00garbage", "frame: is not an Arrow stream")
    capsys.readouterr()
    desk.type("list", "--json")
    assert [each["id"] for each in json.loads(capsys.readouterr().out)["dead_letters"]] == ["events/0/3"]


def test_one_letter_of_two_roles_is_listed_once(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    DeadLetters(desk.bus.producer(), SelfStats(), by="store").put(
        Message(Partition(EVENTS, 0), 3, b"n2", b'{"version": 9}', {}, NOW), "event: has version 9"
    )
    desk.type("list", "--topic", "events", "--json")
    (only,) = json.loads(capsys.readouterr().out)["dead_letters"]
    assert (only["by"], only["copies"]) == (["score", "store"], 2)


def test_a_line_that_a_store_refused_is_replayed_as_the_sample_or_event_that_it_was(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    series = Series("gpu_power_watts", labels(node="n 1", gpu="GPU-a", empty=""))
    event = Event("xid", "79", NOW, labels(node="n1"), 'fell "off"', {"pid": "1"})
    desk.letters.put_line(f"{head(series)} value=301.5 {NOW}".encode(), "field type conflict")
    desk.letters.put_line(event_line(event), "field type conflict")
    desk.type("list", "--topic", "store", "--json")
    assert len(json.loads(capsys.readouterr().out)["dead_letters"]) == 2
    assert desk.type("replay", "--topic", "store") == 0
    (frame,) = [decode_frame(message.value) for message in desk.messages(FRAMES)]
    assert (frame.node, frame.layout.series, frame.values.tolist()) == ("n 1", (series,), [301.5])
    assert decode_event(desk.messages(EVENTS)[0].value) == event

    desk.letters.put_line(event_line(event), "field type conflict")
    capsys.readouterr()
    desk.type("list", "--topic", "store", "--json")
    assert len(json.loads(capsys.readouterr().out)["dead_letters"]) == 1, "refused again: it waits again"


def test_what_a_newer_version_wrote_is_said_and_left(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.bus.producer().produce(DEADLETTERS, b"x", b"", {"dead-letter": "2"})
    assert desk.type("list") == 0
    assert "a newer Coldaisle wrote it" in capsys.readouterr().err


def test_saying_nothing_changes_nothing(desk: Desk) -> None:
    with pytest.raises(ConfigError, match="say which to drop"):
        desk.type("drop")
    with pytest.raises(ConfigError, match="say which to replay"):
        desk.type("replay", "frames/0/7", "--all")


def test_without_a_bus_between_processes_it_says_what_to_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deadletters", "list"]) == 2
    assert 'bus.kind = "kafka" by --config F' in capsys.readouterr().err
