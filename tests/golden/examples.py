"""What the golden files hold: one example of each format, with everything in it that the format can say."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from coldaisle.anomaly import Anomaly, Contribution, Phase, Window
from coldaisle.bus import DEADLETTERS, EVENTS, FRAMES, Message, Partition
from coldaisle.clock import SECOND
from coldaisle.codec import anomaly_to_json, encode_anomaly, encode_event, encode_frame, event_to_json
from coldaisle.event import Event
from coldaisle.frame import Frame
from coldaisle.selfstats import SelfStats
from coldaisle.series import Layout, Series, labels
from coldaisle.severity import Severity
from coldaisle.snapshot import Snapshot
from collectors.spool import Spool, Waiting
from pipeline.deadletter import DeadLetters

GOLDEN = Path(__file__).parent
AT = 1_763_780_400 * SECOND


class Written(NamedTuple):
    """The bytes that today's writer makes, and what every later reader must understand of them."""

    data: bytes
    means: Any  # JSON


def _frame() -> Written:
    layout = Layout(
        [
            Series("gpu_power_watts", labels(gpu="GPU-a", node="n1")),
            Series("gpu_temperature_celsius", labels(gpu="GPU-a", node="n1")),
            Series("sensor_température_celsius", labels(node="n1", sensor='inlet "A", left')),
        ]
    )
    times = np.array([AT, AT, AT + 1], np.int64)
    frame = Frame("nvml", "n1", layout, times, np.array([301.5, math.nan, -0.0]), sender="9f86d081884c7d65")
    return Written(encode_frame(frame), frame_to_json(frame))


def frame_to_json(frame: Frame) -> dict[str, Any]:
    """Return everything that a frame says."""
    return {
        "collector": frame.collector,
        "node": frame.node,
        "series": [[series.metric, dict(series.labels)] for series in frame.layout.series],
        "timestamps": frame.timestamps.tolist(),
        "values": [None if math.isnan(value) else value for value in frame.values.tolist()],
        "digest": frame.layout.digest,
        "sender": frame.sender,
    }


def _event() -> Written:
    event = Event("xid", "79", AT, labels(gpu="GPU-a", node="n1"), "GPU has fallen off the bus", {"pid": "4711"})
    return Written(encode_event(event), event_to_json(event))


def _anomaly() -> Written:
    anomaly = Anomaly(
        id="0123456789abcdef", phase=Phase.CLOSED, rule="gpu_hot", detector="peers", version="1",
        severity=Severity.PAGE, entity="gpu/GPU-a", started_at=AT, updated_at=AT + SECOND, ended_at=AT + SECOND,
        score=0.97, explanation="81 °C, its peers read 61 °C",
        series=Series("gpu_temperature_celsius", labels(gpu="GPU-a", node="n1")),
        observed=81.0, expected=61.0, low=math.nan, high=math.inf, tail_probability=1e-9,
        contributions=(Contribution("gpu/GPU-a", "gpu_temperature_celsius", 1.0, 81.0, None),),
        peers=("gpu/GPU-b", "gpu/GPU-c"), members=("gpu/GPU-a",), summary="hot", action="Look.", runbook="docs/x.md",
        window=Window(
            "gpu_temperature_celsius", "°C", (AT, AT + SECOND), (60.0, None), (61.0, 61.0), (None, 59.0), (63.0, 63.0),
            {"gpu/GPU-b": (61.0, None)}, 90.0,
        ),
    )  # fmt: skip
    return Written(encode_anomaly(anomaly), anomaly_to_json(anomaly))


def _spool() -> Written:
    messages = [
        Waiting(FRAMES, b"n1", b"\x00first", AT),
        Waiting(EVENTS, b"n\xff2", b"second", AT + 1),
        Waiting(FRAMES, b"", b"", AT + 2),
    ]
    with TemporaryDirectory() as folder:
        spool = Spool(Path(folder), 1 << 20, SelfStats())
        for message in messages:
            spool.append(message)
        spool.seal()
        (segment,) = Path(folder).iterdir()
        data = segment.read_bytes()
    return Written(data, spool_to_json(messages))


def spool_to_json(messages: Iterable[Waiting]) -> list[list[Any]]:
    """Return everything that a segment holds."""
    return [[each.topic, each.key.hex(), each.value.hex(), each.at] for each in messages]


class _Kept:
    """A producer that keeps one message."""

    def __init__(self) -> None:
        self.message: tuple[str, bytes, bytes, dict[str, str]] = ("", b"", b"", {})

    def produce(self, topic: str, key: bytes, value: bytes, headers: Any = None) -> None:
        self.message = (topic, key, value, dict(headers or {}))

    def flush(self) -> None: ...

    def close(self) -> None: ...


def _deadletter() -> Written:
    kept = _Kept()
    poison = Message(Partition(FRAMES, 3), 17, b"n1", b"\x00garbage", {"content-type": "text/plain"}, AT)
    DeadLetters(kept, SelfStats()).put(poison, "frame: is not an Arrow stream")
    topic, key, value, headers = kept.message
    assert topic == DEADLETTERS
    record = {"key": key.hex(), "value": value.hex(), "headers": headers}
    means = {
        "origin": "frames/3/17", "reason": "frame: is not an Arrow stream", "value": b"\x00garbage".hex(),
        "headers": {"content-type": "text/plain"}, "key": b"n1".hex(),
    }  # fmt: skip
    return Written(json.dumps(record, indent=1, sort_keys=True).encode(), means)


def _snapshot() -> Written:
    parts: dict[str, dict[str, Any]] = {
        "table": {
            "last": np.array([AT, -1], np.int64),
            "value": np.array([[1.5, -0.0], [math.inf, 2.0**-1074]]),
            "used": np.array([True, False]),
            "one": np.array(7, np.uint8),
            "none": np.zeros((64, 0), np.float32),
        },
        "words": {"text": "Grüße", "number": 0.1, "large": 2**63, "nested": [[1, None, {"a": True}]]},
        "nothing": {},
    }
    snapshot = Snapshot("watch", 3, AT, {Partition(FRAMES, 2): 17, Partition(EVENTS, 0): 0}, parts)
    return Written(snapshot.to_bytes(), snapshot_to_json(snapshot))


def snapshot_to_json(snapshot: Snapshot) -> dict[str, Any]:
    """Return everything that a snapshot says."""

    def told(value: Any) -> Any:
        return [str(value.dtype), [*value.shape], value.tobytes().hex()] if isinstance(value, np.ndarray) else value

    return {
        "kind": snapshot.kind,
        "version": snapshot.version,
        "made_at": snapshot.made_at,
        "offsets": [[*partition, offset] for partition, offset in snapshot.offsets.items()],
        "parts": {name: {key: told(value) for key, value in part.items()} for name, part in snapshot.parts.items()},
    }


FORMATS: dict[str, tuple[str, Callable[[], Written]]] = {
    "frame": ("arrow", _frame),
    "event": ("json", _event),
    "anomaly": ("json", _anomaly),
    "spool": ("spool", _spool),
    "deadletter": ("record", _deadletter),
    "snapshot": ("snapshot", _snapshot),
}
"""Format -> how its files' names end, and what writes one."""
