"""Makes inputs for the fuzzing of codecs: valid messages, mutated, and messages that lie about their structure."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from coldaisle.anomaly import Anomaly, Contribution, Phase, Window
from coldaisle.clock import SECOND
from coldaisle.codec import anomaly_to_json, encode_frame, event_to_json
from coldaisle.event import Event
from coldaisle.frame import Frame
from coldaisle.series import Layout, Series, labels
from coldaisle.severity import Severity

AT = 1_763_780_400 * SECOND
_NUMBERS: dict[str, tuple[float, ...]] = {
    "<i": (0, 1, -1, 2**31 - 1, -(2**31), 1 << 20, 255),
    "<q": (0, 1, -1, 2**63 - 1, -(2**63), 1 << 40, 1 << 32, 1 << 24),
    "<d": (float("nan"), float("inf"), 1e308),
    "<h": (0, -1, 32767),
}
_INTERESTING = tuple(struct.pack(code, value) for code, values in _NUMBERS.items() for value in values)
_WRONG: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**63, 10**400, 1.5, float("nan"), "", "\ud800", "NaN", "x" * 5_000, [], {}, "1e999"),
    *([[]] * 300, {str(n): n for n in range(200)}, {"\udfff": "a"}, ["a", {"b": 1}]),
)
_VALUES = tuple(json.dumps(value) for value in _WRONG)
_LINES = (
    b"nvidia_smi,compute_mode=Default,host=n1,index=0,name=H100\\ SXM,pstate=P0,uuid=GPU-a fan_speed=0i,"
    b'memory_used=549i,temperature_gpu=53i,driver_version="550.54",utilization_gpu=100i 1763780400000000000\n',
    b"cpu,cpu=cpu-total,host=n1 usage_idle=97.5,usage_user=2,usage_iowait=0.1 1763780400000000000\n"
    b"cpu,cpu=cpu0,host=n1 usage_idle=97.5 1763780400000000000\n",
    b'net,host=n2,interface=eth\\,0 up=t,bytes_recv=18446744073709551615u,note="a\\"b,\nc" 1763780400000000001\n',
    b"# comment\n\nm\\ x,node=a\\ b f\\ 1=-1.5e-3,g=F 5\r\nm,node=c f=1 -6",
)
_LINE_TOKENS = (
    b",", b"=", b" ", b"\\", b'"', b"\n", b"\r", b"#", b"host=n1", b"node=", b"m", b"1i", b"1u", b"1e999", b"nan",
    b"inf", b"0x1", b"1_0", b"t", b"TRUE", b"\xff", b"\0", "\u2028".encode(), "é".encode(), b"1763780400000000000",
    b"9223372036854775808", b"-9223372036854775808", b"host=n1 f=1 5\n", b'f="', b"\\,", b"\\=", b"\\ ", b"a" * 300,
    b"99999999999999999999i", b"\xed\xa0\x80",
)  # fmt: skip


def frames() -> list[Frame]:
    """Return valid frames of several shapes."""
    found = []
    for rows in (0, 1, 3, 40):
        layout = Layout(Series(f"m{i % 7}_watts", labels(node="n1", gpu=f"GPU-{i}")) for i in range(rows))
        values = np.linspace(-1.0, 1.0, rows)
        found.append(Frame("nvml", "n1", layout, np.arange(rows) + AT, values, sender="s" * (rows % 2)))
    return found


_COLUMNS: tuple[Callable[[int], pa.Array], ...] = (
    pa.nulls,
    lambda rows: pa.array([None] * rows, pa.float64()),
    lambda rows: pa.array([[1]] * rows),
    lambda rows: pa.array([{"a": 1}] * rows),
    lambda rows: pa.array([b"\xff"] * rows),
    lambda rows: pa.array(["a" * 1_000] * rows, pa.large_string()),
    lambda rows: pa.array(["a"] * rows, pa.string_view()),
    lambda rows: pa.array([1] * rows, pa.timestamp("s")),
    lambda rows: pa.array([True] * rows),
    lambda rows: pa.array(np.zeros(rows, np.float16)),
    lambda rows: pa.array([1] * rows, pa.decimal128(5)),
    lambda rows: pa.RunEndEncodedArray.from_arrays(pa.array([rows], pa.int32()), pa.array(["m"])),
)


class Inputs:
    """An endless, repeatable row of inputs for each codec."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._arrow = [encode_frame(frame) for frame in frames()]
        self._tables = [pa.ipc.open_stream(data).read_all() for data in self._arrow]
        self._arrow += [_rewritten(table, "lz4") for table in self._tables]
        self._arrow += [_rewritten(table, "zstd") for table in self._tables]
        self._event = json.dumps(event_to_json(Event("xid", "79", AT, labels(node="n1"), "fell off", {"pid": "1"})))
        self._anomaly = json.dumps(anomaly_to_json(_anomaly()))
        self._makers: tuple[Callable[[], bytes], ...] = (self.arrow, self.arrow, self.event, self.anomaly, self.lines)

    def next(self) -> tuple[str, bytes]:
        """Return the next input, and the name of the codec that it is meant for."""
        make = self._chance.choice(self._makers)
        return make.__name__, make()

    def arrow(self) -> bytes:
        """Return a frame that is mutated, or one whose structure lies."""
        if self._chance.random() < 0.1:
            made = self._lying()
            if self._chance.random() < 0.5:
                return made
            return self._mutated(made)
        return self._mutated(self._chance.choice(self._arrow))

    def event(self) -> bytes:
        """Return an event with wrong fields, or broken JSON."""
        return self._document(self._event)

    def anomaly(self) -> bytes:
        """Return an anomaly with wrong fields, or broken JSON."""
        return self._document(self._anomaly)

    def lines(self) -> bytes:
        """Return line protocol that is mutated, or a row of its words in any order."""
        chance = self._chance
        if chance.random() < 0.4:
            return b"".join(chance.choice(_LINE_TOKENS) for _ in range(chance.randint(1, 30)))
        text = b"".join(chance.choice(_LINES) for _ in range(chance.randint(1, 3)))
        if chance.random() < 0.5:
            at = chance.randrange(len(text))
            text = text[:at] + chance.choice(_LINE_TOKENS) + text[at:]
        return self._mutated(text)

    def _mutated(self, data: bytes) -> bytes:
        chance = self._chance
        whole = bytearray(data)
        for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
            if not whole:
                break
            at = chance.randrange(len(whole))
            match chance.randrange(9):
                case 0:
                    whole[at] = chance.randrange(256)
                case 1:
                    whole[at] ^= 1 << chance.randrange(8)
                case 2:
                    del whole[at : at + chance.choice((1, 4, 8, 100))]
                case 3:
                    whole[at:at] = chance.randbytes(chance.choice((1, 4, 8, 64)))
                case 4:
                    del whole[at:]
                case 5:
                    whole[at:at] = whole[at : at + chance.choice((8, 64, 1000))] * chance.choice((1, 2, 30))
                case 6:
                    other = chance.choice(self._arrow)
                    start = chance.randrange(len(other))
                    whole[at : at + 64] = other[start : start + 64]
                case _:
                    at -= at % chance.choice((1, 4, 8))
                    word = chance.choice(_INTERESTING)
                    whole[at : at + len(word)] = word
        return bytes(whole)

    def _document(self, valid: str) -> bytes:
        chance = self._chance
        document: Any = json.loads(valid)
        for _ in range(chance.randint(0, 3)):
            where: Any = document
            key: Any = chance.choice(list(where))
            while isinstance(where[key], dict | list) and where[key] and chance.random() < 0.7:
                where = where[key]
                key = chance.choice(list(where)) if isinstance(where, dict) else chance.randrange(len(where))
            where[key] = self._value()
        text = json.dumps(document).encode()
        return text if chance.random() < 0.4 else self._mutated(text)

    def _value(self) -> Any:
        chance = self._chance
        if chance.random() < 0.2:
            deep: Any = 1
            for _ in range(chance.choice((5, 50, 400))):
                deep = [deep] if chance.random() < 0.5 else {"a": deep}
            return deep
        return json.loads(chance.choice(_VALUES))

    def _lying(self) -> bytes:
        """Return a well-formed stream that is no frame: other types, other counts, other metadata."""
        chance = self._chance
        table = chance.choice(self._tables[1:])
        rows = table.num_rows
        about = dict(table.schema.metadata)
        match chance.randrange(8):
            case 0:
                about[chance.choice(list(about))] = chance.choice((b"", b"\xff", b"9", b"x" * 100_000))
            case 1:
                del about[chance.choice(list(about))]
            case 2:
                table = table.set_column(chance.randrange(4), "metric", self._column(rows))
            case 3:
                number = chance.randrange(4)
                table = table.set_column(number, table.column_names[number], self._column(rows))
            case 4:
                return _rewritten(table, None, about, batches=chance.choice((0, 2, 50)))
            case 5:
                return _rewritten(table, chance.choice(("lz4", "zstd")), about)
            case 6:
                words = pa.array([chance.choice(("{}", "[]", '{"a":1}', '{"b":"","a":""}', "{" * 900, "nul"))] * rows)
                table = table.set_column(1, "labels", words.dictionary_encode())
            case _:
                index = pa.array(np.full(rows, chance.choice((-1, 0, 5, 2**31 - 1)), np.int32))
                column = pa.DictionaryArray.from_arrays(index, pa.array(["m_watts"]), safe=False)
                table = table.set_column(0, "metric", column)
        return _rewritten(table, None, about)

    def _column(self, rows: int) -> pa.Array:
        return self._chance.choice(_COLUMNS)(rows)


def _rewritten(table: pa.Table, compression: str | None, about: Any = None, batches: int = 1) -> bytes:
    schema = table.schema.with_metadata(about if about is not None else table.schema.metadata)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        for _ in range(batches):
            writer.write_table(table.cast(schema) if table.schema != schema else table)
    return bytes(sink.getvalue())


def _anomaly() -> Anomaly:
    window = Window("m", "watts", (AT, AT + 1), (1.0, None), (1.0, 1.0), (0.0, 0.0), (2.0, 2.0), {"gpu/b": (1.0, 2.0)})
    return Anomaly(
        id="i", phase=Phase.OPENED, rule="r", detector="peers", version="1", severity=Severity.PAGE, entity="gpu/a",
        started_at=AT, updated_at=AT, score=0.5, explanation="hot", series=Series("m", labels(node="n1")),
        observed=1.0, contributions=(Contribution("gpu/a", "m", 1.0, 1.0, None),), peers=("gpu/b",),
        members=("gpu/a",), window=window,
    )  # fmt: skip
