"""Influx line protocol to frames, so that Telegraf can feed the same topic."""

from __future__ import annotations

import re
from typing import NamedTuple

from coldaisle.errors import Permanent
from coldaisle.frame import Frame, Sample
from coldaisle.selfstats import SelfStats
from coldaisle.series import Labels, Series, labels_of

# The grammar: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
_MEASUREMENT = re.compile(r"(?:[^\\, \n]|\\.)+")
_TAG = re.compile(r",((?:[^\\,= \n]|\\.)+)=((?:[^\\,= \n]|\\.)+)")
_FIELD = re.compile(r'((?:[^\\,= \n]|\\.)+)=("(?:[^"\\]|\\.)*"|[^", \n\\]+)', re.DOTALL)
_TIME = re.compile(r" +([-+]?\d{1,20})")
_END = re.compile(r" *\r?(?:\n|$)")
_BLANK = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|$)")
_ESCAPED = re.compile(r"\\([,= ])")

_FLOAT = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_INTEGER = re.compile(r"[-+]?\d{1,19}i|\d{1,20}u")
_TRUE = frozenset({"t", "T", "true", "True", "TRUE"})
_FALSE = frozenset({"f", "F", "false", "False", "FALSE"})

_NODE_TAGS = ("node", "host")
_TEXTS_DROPPED = "line_protocol_fields_dropped_total"


class _Row(NamedTuple):
    node: str
    series: Series
    timestamp: int
    value: float


def decode_lines(data: bytes, collector: str, stats: SelfStats | None = None) -> list[Frame]:
    """
    Return the frames that ``data``, lines of Influx line protocol with ns timestamps, holds.

    A metric is ``measurement_field``; labels are the tags; the node is the tag ``node``, or else ``host``,
    which then becomes the label ``node``. Booleans are 1 and 0. Fields of text are dropped and counted in
    ``stats``. The later of two samples of one series at one time wins; a series with several times fills
    several frames of its node. Raises Permanent that names the line and what is wrong with it.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Permanent(f"line protocol: is not UTF-8 at byte {error.start}") from error
    newest: dict[tuple[str, Series, int], float] = {}
    dropped = 0
    position = 0
    while position < len(text):
        blank = _BLANK.match(text, position)
        if blank is not None:
            position = max(blank.end(), position + 1)
            continue
        start = position
        try:
            rows, texts, position = _line(text, position)
        except ValueError as error:
            number = text.count("\n", 0, start) + 1
            raise Permanent(f"line protocol: line {number}: {error}") from error
        dropped += texts
        for row in rows:
            newest[(row.node, row.series, row.timestamp)] = row.value
    if dropped and stats is not None:
        stats.add(_TEXTS_DROPPED, dropped, collector=collector, reason="text")
    return _frames(newest, collector)


def _frames(newest: dict[tuple[str, Series, int], float], collector: str) -> list[Frame]:
    """Fill frames so that each holds a series once: the first frame the first time, and so on."""
    turns: dict[tuple[str, int], list[Sample]] = {}
    seen: dict[Series, int] = {}
    for (node, series, timestamp), value in newest.items():
        turn = seen.get(series, 0)
        seen[series] = turn + 1
        turns.setdefault((node, turn), []).append(Sample(series, timestamp, value))
    return [Frame.of(collector, node, samples) for (node, _), samples in turns.items()]


def _line(text: str, position: int) -> tuple[list[_Row], int, int]:
    """Read one line; return its rows, how many fields of text it had, and where the next line begins."""
    measurement = _MEASUREMENT.match(text, position)
    if measurement is None:
        raise ValueError("lacks a measurement")
    position = measurement.end()
    tags: dict[str, str] = {}
    while tag := _TAG.match(text, position):
        name = _plain(tag[1])
        if name in tags:
            raise ValueError(f"tag {name!r} is given twice")
        tags[name] = _plain(tag[2])
        position = tag.end()
    if text[position : position + 1] != " ":
        raise ValueError(f"expected a tag or a space at {_near(text, position)}")
    node, pairs = _node(tags)
    while text[position : position + 1] == " ":
        position += 1
    fields: list[tuple[str, float]] = []
    texts = 0
    while True:
        found = _FIELD.match(text, position)
        if found is None:
            raise ValueError(f"expected field=value at {_near(text, position)}")
        value = _value(found[2])
        if value is None:
            texts += 1
        else:
            fields.append((_plain(found[1]), value))
        position = found.end()
        if text[position : position + 1] != ",":
            break
        position += 1
    moment = _TIME.match(text, position)
    if moment is None:
        raise ValueError("lacks a timestamp; let the sender stamp what it read")
    timestamp = int(moment[1])
    if not -(2**63) <= timestamp < 2**63:
        raise ValueError(f"timestamp {timestamp} does not fit 64 bits of nanoseconds")
    end = _END.match(text, moment.end())
    if end is None:
        raise ValueError(f"expected the end of the line at {_near(text, moment.end())}")
    name = _plain(measurement[0])
    rows = [_Row(node, Series(f"{name}_{field}", pairs), timestamp, value) for field, value in fields]
    return rows, texts, end.end()


def _node(tags: dict[str, str]) -> tuple[str, Labels]:
    for name in _NODE_TAGS:
        if name in tags:
            others = {key: value for key, value in tags.items() if key != name}
            return tags[name], labels_of({**others, "node": tags[name]}.items())
    raise ValueError("has neither a tag node nor a tag host")


def _value(text: str) -> float | None:
    """Return a field's number; None for a text."""
    if text.startswith('"'):
        return None
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INTEGER.fullmatch(text):
        return float(text[:-1])
    if text in _TRUE:
        return 1.0
    if text in _FALSE:
        return 0.0
    raise ValueError(f"field value {text[:40]!r} is neither a number, a boolean nor a quoted text")


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def _near(text: str, position: int) -> str:
    rest = text[position : position + 20].partition("\n")[0]
    return repr(rest) if rest else "the end"
