"""What Telegraf's Kafka output writes is read, named as our own, and scored like our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from coldaisle.anomaly import Anomaly
from coldaisle.bus import FRAMES, Message, Partition
from coldaisle.clock import SECOND
from coldaisle.codec import encode_frame
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Series, labels
from coldaisle.topology import Topology
from pipeline.deadletter import DeadLetters
from pipeline.engine_settings import EngineSettings
from pipeline.reader import Reader
from pipeline.rule_examples import FirstLevel, PlainPeers, PlainTails
from pipeline.rules import load
from pipeline.scoring import Engine

RULES = load(Path(__file__).parents[2] / "config" / "rules")
START = 1_763_780_400 * SECOND
NODES, GPUS, SECONDS, APART = 2, 4, 120, 5


class Telegraf:
    """
    Writes metrics as Telegraf 1.3x does: one metric a message, the key from ``routing_tag = "host"``, no header.

    Tags sorted by name, fields as the plug-in gives them: integers with ``i``, floats, booleans, texts in
    quotes; nanoseconds; a newline at the end. Escapes as its influx serializer writes them.
    """

    def message(self, name: str, tags: Mapping[str, str], fields: Mapping[str, object], at: int) -> Message:
        words = ",".join([self._escaped(name), *(f"{key}={self._escaped(tags[key])}" for key in sorted(tags))])
        line = f"{words} {','.join(f'{key}={self._value(value)}' for key, value in fields.items())} {at}\n"
        return Message(Partition(FRAMES, 0), 0, tags["host"].encode(), line.encode(), {}, at)

    @staticmethod
    def _escaped(text: str) -> str:
        return text.replace(",", r"\,").replace("=", r"\=").replace(" ", r"\ ")

    @staticmethod
    def _value(value: object) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return f"{value}i"
        if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return repr(value)


def celsius(gpu: str, second: int) -> int:
    """Every GPU at some 60 °C; one grows hot after a minute."""
    return 95 if gpu == "GPU-n1-2" and second >= 60 else 60 + second % 2


def from_telegraf(node: str, second: int, at: int) -> list[Message]:
    agent = Telegraf()
    found = []
    for number in range(GPUS):
        gpu = f"GPU-{node}-{number}"
        tags = {
            "host": node, "uuid": gpu, "index": str(number), "name": "NVIDIA H100 80GB, HBM3",
            "compute_mode": "Default", "pstate": f"P{second % 3}",
        }  # fmt: skip
        fields = {
            "temperature_gpu": celsius(gpu, second), "utilization_gpu": 97, "memory_used": 1024, "fan_speed": 0,
            "driver_version": '550.54 "LTS"', "power_draw": 300.5,
        }  # fmt: skip
        found.append(agent.message("nvidia_smi", tags, fields, at))
    load = {"load1": 1.5, "n_users": 2, "uptime_format": "1 day,  2:03"}
    return [*found, agent.message("system", {"host": node}, load, at)]


def from_us(node: str, second: int, at: int) -> list[Message]:
    samples = []
    for number in range(GPUS):
        gpu = f"GPU-{node}-{number}"
        where = labels(gpu=gpu, node=node)
        values = {
            "gpu_temperature_celsius": float(celsius(gpu, second)), "gpu_utilization_ratio": 97 * 0.01,
            "gpu_memory_used_bytes": 1024.0 * (1 << 20), "gpu_fan_speed_ratio": 0.0, "gpu_power_watts": 300.5,
        }  # fmt: skip
        samples += [Sample(Series(metric, where), at, value) for metric, value in values.items()]
    samples.append(Sample(Series("node_load_average", labels(node=node)), at, 1.5))
    samples.append(Sample(Series("system_n_users", labels(node=node)), at, 2.0))
    frame = Frame.of("telegraf", node, samples)
    return [Message(Partition(FRAMES, 0), 0, node.encode(), encode_frame(frame), {}, at)]


def play(say: object, stats: SelfStats) -> tuple[list[Anomaly], set[Series]]:
    """Read what ``say`` sends, second by second, and score it."""
    assert callable(say)
    settings = EngineSettings(allowed_lateness_seconds=0.0)
    engine = Engine([FirstLevel(), PlainPeers()], PlainTails(), RULES, Topology(), settings, stats)
    reader = Reader(DeadLetters(Nowhere(), stats), stats)
    found: list[Anomaly] = []
    for second in range(SECONDS):
        at = START + APART * second * SECOND
        messages = [message for node in range(NODES) for message in say(f"n{node}", second, at)]
        frames, _ = reader.read(messages)
        found += engine.process(frames, at)
    return found, set(engine.view().series)


class Nowhere:
    """A producer for dead letters that must not come."""

    def produce(self, topic: str, key: bytes, value: bytes, headers: Mapping[str, str] | None = None) -> None:
        raise AssertionError(f"{value!r}: {headers}")

    def flush(self) -> None: ...

    def close(self) -> None: ...


def test_telegrafs_gpus_are_scored_like_our_own() -> None:
    stats = SelfStats()
    found, series = play(from_telegraf, stats)
    expected, expected_series = play(from_us, SelfStats())
    assert series == expected_series
    assert found == expected
    assert {each.entity for each in found} == {"gpu/GPU-n1-2"}, [each.rule for each in found]
    assert stats.total("dead_letters_total") == 0
    dropped = stats.get("line_protocol_fields_dropped_total", collector="telegraf", reason="text")
    assert dropped == NODES * (GPUS + 1) * SECONDS


def test_a_message_may_hold_many_lines_too() -> None:
    one_a_message = [message for node in range(NODES) for message in from_telegraf(f"n{node}", 7, START)]
    together = one_a_message[0]._replace(value=b"".join(message.value for message in one_a_message))
    stats = SelfStats()
    reader = Reader(DeadLetters(Nowhere(), stats), stats)
    frames, _ = reader.read([together])
    assert sorted(frame.node for frame in frames if isinstance(frame, Frame)) == ["n0", "n1"]
    assert sum(map(len, frames)) == NODES * (GPUS * 5 + 2)
