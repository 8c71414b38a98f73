"""Influx line protocol to frames, so that Telegraf can feed the same topic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from coldaisle.errors import Permanent
from coldaisle.frame import Frame
from coldaisle.plausible import refuse_absurd_time
from coldaisle.selfstats import SelfStats
from coldaisle.series import Layout, Series, labels_of
from coldaisle.telegraf_names import PLUGINS, Plugin, Renamed

MOST_LINES_BYTES = 2 << 20
"""Of one message; Telegraf sends a line or some thousand, and Kafka takes 1 MiB unless told otherwise."""
MOST_LINE_SAMPLES = 20_000
"""Of one message; each is an object for a moment."""
_MOST_REFUSED = 1_000  # beyond, it is no line protocol and refused as a whole

# The grammar: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
# Possessive repeats (++, *+) never go back: a long word costs its length, not its square.
_BEGIN = re.compile(r"(?:[^\\ \n]++|\\.)++")  # measurement and tags, up to the first space
_MEASUREMENT = re.compile(r"(?:[^\\, \n]++|\\.)++")
_TAG = re.compile(r",((?:[^\\,= \n]++|\\.)++)=((?:[^\\,= \n]++|\\.)++)")
_FIELD = re.compile(r'((?:[^\\,= \n]++|\\.)++)=("(?:[^"\\]++|\\.)*+"|[^", \n\\]++)', re.DOTALL)
_TIME = re.compile(r" +([-+]?\d{1,20})(?!\d)")
_END = re.compile(r" *+\r?(?:\n|$)")
_BLANK = re.compile(r"(?:[ \t\r]*+(?:#[^\n]*+)?\n)++|[ \t\r]*+(?:#[^\n]*+)?\Z")
_ESCAPED = re.compile(r"\\([,= ])")
_QUOTED = re.compile(r'\\(["\\])')

_FLOAT = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_INTEGER = re.compile(r"[-+]?\d{1,19}i|\d{1,20}u")
_BOOLEANS = dict.fromkeys(("t", "T", "true", "True", "TRUE"), 1.0) | dict.fromkeys(
    ("f", "F", "false", "False", "FALSE"), 0.0
)

_NODE_TAGS = ("node", "host")
_TEXTS_DROPPED = "line_protocol_fields_dropped_total"
_AS_IT_IS = Plugin({}, {})


class Refused(NamedTuple):
    """A line that is not understood."""

    number: int  # from 1
    text: str
    reason: str


class Lines(NamedTuple):
    """What came of a message: its frames, and the lines that are poison."""

    frames: list[Frame]
    refused: list[Refused]


class _Head(NamedTuple):
    """What a measurement with its tags means."""

    node: str
    series: dict[str, tuple[Series, Renamed | None]]  # by field
    prefix: str
    pairs: tuple[tuple[str, str], ...]
    known: Mapping[str, Renamed]


_Newest = dict[tuple[str, Series, int], float]


class LineReader:
    """Reads messages of line protocol; remembers measurements with their tags, as they come again and again."""

    def __init__(self, stats: SelfStats | None = None, capacity: int = 65_536) -> None:
        self._stats = stats
        self._capacity = capacity
        self._heads: dict[str, _Head] = {}
        self._layouts: dict[tuple[Series, ...], Layout] = {}

    def read(self, data: bytes, collector: str, received_at: int = 0) -> Lines:
        """
        Return the frames that ``data``, lines with ns timestamps, holds, and the lines that are refused.

        A metric is ``measurement_field`` or what :mod:`coldaisle.telegraf_names` calls it; labels are the tags;
        the node is the tag ``node``, or else ``host``, which then becomes the label ``node``. Booleans are 1
        and 0. Fields of text are dropped and counted. The later of two samples of one series at one time wins;
        a series with several times fills several frames of its node. A line dated before 2000 or more than a
        day after ``received_at`` is refused, unless that is before 2000 itself. Raises Permanent where no line
        can be read: not UTF-8, too large.
        """
        if len(data) > MOST_LINES_BYTES:
            raise Permanent(f"line protocol: has {len(data):,} bytes; at most {MOST_LINES_BYTES:,} are read")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise Permanent(f"line protocol: is not UTF-8 at byte {error.start}") from error
        newest: _Newest = {}
        refused: list[Refused] = []
        texts = number = counted = position = 0
        while position < len(text):
            blank = _BLANK.match(text, position)
            if blank is not None:
                position = max(blank.end(), position + 1)
                continue
            start = position
            try:
                dropped, position = self._line(text, position, newest, received_at)
                texts += dropped
            except (ValueError, Permanent) as error:
                number += text.count("\n", counted, start)
                counted = start
                end = text.find("\n", start)
                position = len(text) if end < 0 else end + 1
                refused.append(Refused(number + 1, text[start:position].rstrip("\n"), str(error)))
                if len(refused) > _MOST_REFUSED:
                    raise Permanent(f"line protocol: line {refused[0].number}: {refused[0].reason}") from error
            if len(newest) > MOST_LINE_SAMPLES:
                raise Permanent(f"line protocol: has more than {MOST_LINE_SAMPLES:,} samples in one message")
        if texts and self._stats is not None:
            self._stats.add(_TEXTS_DROPPED, texts, collector=collector, reason="text")
        return Lines(self._frames(newest, collector), refused)

    def _frames(self, newest: _Newest, collector: str) -> list[Frame]:
        """Fill frames so that each holds a series once: the first frame the first time, and so on."""
        turns: dict[tuple[str, int], tuple[list[Series], list[int], list[float]]] = {}
        seen: dict[Series, int] = {}
        for (node, series, timestamp), value in newest.items():
            turn = seen.get(series, 0)
            seen[series] = turn + 1
            rows = turns.setdefault((node, turn), ([], [], []))
            rows[0].append(series)
            rows[1].append(timestamp)
            rows[2].append(value)
        return [
            Frame(collector, node, self._layout(tuple(series)), np.array(times, np.int64), np.array(values, np.float64))
            for (node, _), (series, times, values) in turns.items()
        ]

    def _layout(self, series: tuple[Series, ...]) -> Layout:
        known = self._layouts.get(series)
        if known is None:
            if len(self._layouts) >= self._capacity // 8:
                self._layouts.clear()
            known = self._layouts[series] = Layout(series)
        return known

    def _line(self, text: str, position: int, newest: _Newest, received_at: int) -> tuple[int, int]:
        """Read one line into ``newest``; return how many fields of text it had, and where the next line begins."""
        begin = _BEGIN.match(text, position)
        head = self._head("" if begin is None else begin[0])
        if begin is not None:
            position = begin.end()
        words, timestamp, end = _rest(text, position)
        refuse_absurd_time(timestamp, received_at)
        texts = 0
        fields: list[tuple[str, float]] = []
        for name, word in words:
            value = _value(word)
            if value is None:
                texts += 1
            else:
                fields.append((name, value))
        for name, value in fields:
            series, renamed = head.series.get(name) or _series(head, name)
            number = value if renamed is None else renamed.offset + renamed.scale * value
            newest[(head.node, series, timestamp)] = number
        return texts, end

    def _head(self, text: str) -> _Head:
        known = self._heads.get(text)
        if known is None:
            if len(self._heads) >= self._capacity:
                self._heads.clear()
            known = self._heads[text] = _head(text)
        return known


def decode_lines(data: bytes, collector: str, stats: SelfStats | None = None) -> list[Frame]:
    """
    Return the frames of ``data`` as :meth:`LineReader.read` does, where every line must be understood.

    Raises Permanent that names the first line that is not, and what is wrong with it.
    """
    lines = LineReader(stats).read(data, collector)
    if lines.refused:
        raise Permanent(f"line protocol: line {lines.refused[0].number}: {lines.refused[0].reason}")
    return lines.frames


class Line(NamedTuple):
    """One line as it stands: nothing renamed, texts without their quotes."""

    measurement: str
    tags: tuple[tuple[str, str], ...]
    fields: dict[str, float | str]
    timestamp: int


def parse_line(text: str) -> Line:
    """Return what one line says. Raises ValueError with the reason."""
    begin = _BEGIN.match(text)
    measurement, tags = _key("" if begin is None else begin[0])
    words, timestamp, _ = _rest(text, 0 if begin is None else begin.end())
    fields: dict[str, float | str] = {}
    for name, word in words:
        number = _value(word)
        fields[_plain(name)] = _QUOTED.sub(r"\1", word[1:-1]) if number is None else number
    return Line(measurement, tuple(tags.items()), fields, timestamp)


def _rest(text: str, position: int) -> tuple[list[tuple[str, str]], int, int]:
    """Read fields and timestamp; return the fields' names and values as written, the time, and the line's end."""
    while text[position : position + 1] == " ":
        position += 1
    words: list[tuple[str, str]] = []
    while True:
        found = _FIELD.match(text, position)
        if found is None:
            raise ValueError(f"expected field=value at {_near(text, position)}")
        words.append((found[1], found[2]))
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
    return words, timestamp, end.end()


def _key(text: str) -> tuple[str, dict[str, str]]:
    """Read a measurement and its tags. Raises ValueError."""
    measurement = _MEASUREMENT.match(text)
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
    if position < len(text):
        raise ValueError(f"expected a tag or a space at {_near(text, position)}")
    return _plain(measurement[0]), tags


def _head(text: str) -> _Head:
    prefix, tags = _key(text)
    tag_of_node = next((name for name in _NODE_TAGS if name in tags), None)
    if tag_of_node is None:
        raise ValueError("has neither a tag node nor a tag host")
    node = tags.pop(tag_of_node)
    plugin = PLUGINS.get(prefix, _AS_IT_IS)
    if plugin.only is not None and tags.get(plugin.only[0]) != plugin.only[1]:
        plugin = _AS_IT_IS
    named = {plugin.tags.get(name, name): value for name, value in tags.items()}
    pairs = labels_of([*((name, value) for name, value in named.items() if name not in (None, "node")), ("node", node)])
    return _Head(node, {}, prefix, pairs, plugin.fields)


def _series(head: _Head, field: str) -> tuple[Series, Renamed | None]:
    name = _plain(field)
    renamed = head.known.get(name)
    series = Series(f"{head.prefix}_{name}" if renamed is None else renamed.metric, head.pairs)
    if len(head.series) < 4096:
        head.series[field] = series, renamed
    return series, renamed


def _value(text: str) -> float | None:
    """Return a field's number; None for a text."""
    if text.startswith('"'):
        return None
    if _FLOAT.fullmatch(text):
        number = float(text)
        if abs(number) == float("inf"):
            raise ValueError(f"field value {text[:40]!r} is too large")
        return number
    if _INTEGER.fullmatch(text):
        return float(text[:-1])
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    raise ValueError(f"field value {text[:40]!r} is neither a number, a boolean nor a quoted text")


def _plain(text: str) -> str:
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def _near(text: str, position: int) -> str:
    rest = text[position : position + 20].partition("\n")[0]
    return repr(rest) if rest else "the end"
