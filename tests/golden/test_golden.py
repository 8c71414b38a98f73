"""Whatever any writer of ours ever wrote is read by every later reader; what a newer one wrote is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coldaisle.bus import DEADLETTERS, Message, Partition
from coldaisle.codec import anomaly_to_json, decode_anomaly, decode_event, decode_frame, encode_frame, event_to_json
from coldaisle.deadletter import Letter, decode_letter
from coldaisle.errors import Permanent
from coldaisle.selfstats import SelfStats
from coldaisle.snapshot import Snapshot
from collectors.spool import Spool
from tests.golden.examples import FORMATS, GOLDEN, frame_to_json, snapshot_to_json, spool_to_json


def read_spool(data: bytes, folder: Path) -> Any:
    (folder / "000000000001.spool").write_bytes(data)
    found = Spool(folder, 1 << 20, SelfStats()).take(100)
    assert found is not None
    return spool_to_json(found.messages)


def files(name: str) -> list[Path]:
    return sorted((GOLDEN / name).glob(f"*.{FORMATS[name][0]}"))


def read_letter(data: bytes, _: Path) -> Any:
    record = json.loads(data)
    message = Message(
        Partition(DEADLETTERS, 0), 1, bytes.fromhex(record["key"]), bytes.fromhex(record["value"]), record["headers"], 0
    )
    letter = decode_letter(message)
    assert isinstance(letter, Letter)
    return {
        "origin": letter.id,
        "reason": letter.reason,
        "value": letter.value.hex(),
        "headers": letter.headers,
        "key": letter.key.hex(),
    }


READERS: dict[str, Callable[[bytes, Path], Any]] = {
    "frame": lambda data, _: frame_to_json(decode_frame(data)),
    "event": lambda data, _: event_to_json(decode_event(data)),
    "anomaly": lambda data, _: anomaly_to_json(decode_anomaly(data)),
    "spool": read_spool,
    "deadletter": read_letter,
    "snapshot": lambda data, _: snapshot_to_json(Snapshot.from_bytes(data, "watch", 3)),
}


@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name in READERS for path in files(name)], ids=lambda value: str(value)[-20:]
)
def test_what_was_ever_written_is_still_read(name: str, path: Path, tmp_path: Path) -> None:
    means = json.loads(path.with_suffix(".means").read_text(encoding="utf-8"))
    read = READERS[name](path.read_bytes(), tmp_path)
    # A later reader may know more than the golden file says, never less.
    if isinstance(means, dict):
        read = {key: read[key] for key in means}
    else:
        read = [row[: len(old)] for row, old in zip(read, means, strict=True)]
    assert read == means


def test_every_format_has_golden_files_and_todays_writer_is_among_them(tmp_path: Path) -> None:
    for name, (_, example) in FORMATS.items():
        kept = [path.read_bytes() for path in files(name)]
        assert kept, name
        assert example().data in kept, f"{name} is written otherwise now: run python -m tests.golden.write and commit"


def test_a_newer_dead_letter_is_refused_by_name() -> None:
    message = Message(Partition(DEADLETTERS, 0), 1, b"frames/0/1", b"", {"dead-letter": "2", "origin": "x"}, 0)
    with pytest.raises(Permanent, match=r"has version '2'; this reader knows 1 .a newer Coldaisle wrote it"):
        decode_letter(message)


def test_a_newer_writer_is_refused_by_name() -> None:
    from tests.golden.examples import FORMATS as examples

    frame = decode_frame(examples["frame"][1]().data)
    newer = encode_frame(frame)
    at = newer.index(b"coldaisle.version")
    value_at = newer.rindex(b"\x01\x00\x00\x001\x00", 0, at)
    newer = newer[: value_at + 4] + b"2" + newer[value_at + 5 :]
    with pytest.raises(Permanent, match=r"version '2'; this reader knows '1' .a newer Coldaisle wrote it; upgrade"):
        decode_frame(newer)
    for name, decode in (("event", decode_event), ("anomaly", decode_anomaly)):
        document = json.loads(examples[name][1]().data)
        with pytest.raises(Permanent, match=r"version 2; this reader knows 1 .a newer Coldaisle wrote it; upgrade"):
            decode(json.dumps({**document, "version": 2}).encode())
