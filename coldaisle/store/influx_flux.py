"""Questions in Flux and their answers as columns; text from outside stands in them only quoted."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from numpy.typing import NDArray

from coldaisle.errors import Permanent
from coldaisle.matcher import Matcher, Operator
from coldaisle.store.influx_lines import encode, encode_metric, encode_name

EARLIEST, LATEST = -9_223_372_036_854_775_806, 9_223_372_036_854_775_806
"""The first and last instant (ns) that InfluxDB can hold."""

_OWN_COLUMNS = frozenset({"", "result", "table", "_start", "_stop", "_time", "_value", "_field", "_measurement"})
_TYPES = {"_time": pa.timestamp("ns", tz="UTC"), "_value": pa.float64(), "table": pa.int64()}


def quoted(text: str) -> str:
    r"""Return ``text`` as a string of Flux. ``${`` would begin an expression and is broken up (as ``\x24{``)."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\x24{")
    return '"' + plain.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t") + '"'


def source(bucket: str, span: tuple[int, int], *conditions: str) -> str:
    """Return the pipeline that reads ``span`` (ns, both ends included) of ``bucket`` where all conditions hold."""
    start, stop = max(span[0], EARLIEST), min(span[1], LATEST - 1) + 1
    text = f"from(bucket: {quoted(bucket)}) |> range(start: time(v: {start}), stop: time(v: {stop}))"
    return text + (f" |> filter(fn: (r) => {' and '.join(conditions)})" if conditions else "")


def is_metric(metric: str) -> str:
    """Return the condition that a row is of ``metric``."""
    return f"r._measurement == {quoted(encode_metric(metric))}"


def is_field(*names: str) -> str:
    """Return the condition that a row is one of these fields."""
    return "(" + " or ".join(f"r._field == {quoted(name)}" for name in names) + ")"


def pushed(matchers: Sequence[Matcher]) -> list[str]:
    """Return the conditions that InfluxDB can check by itself: a label equals a text. The rest is checked here."""
    return [
        f"r[{quoted(encode_name(each.name))}] == {quoted(encode(each.value))}"
        for each in matchers
        if each.operator is Operator.EQUAL and each.value
    ]


def one_of(keys: Iterable[Mapping[str, str]]) -> str:
    """Return the condition that a row has the tags of one of ``keys``; names and values as InfluxDB has them."""
    rows = (" and ".join(f"r[{quoted(name)}] == {quoted(value)}" for name, value in key.items()) for key in keys)
    return "(" + " or ".join(f"({row})" for row in rows) + ")"


def keep(*columns: str) -> str:
    """Return the step that drops all other columns."""
    return f" |> keep(columns: [{', '.join(quoted(column) for column in columns)}])"


class Table(NamedTuple):
    """The rows of one group and one yield: the tags that they share, their times (ns) and values."""

    tags: dict[str, str]
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    texts: Mapping[str, Any]  # the other columns, as Arrow has them

    def column(self, name: str) -> list[str]:
        """Return a column of text."""
        return [str(text) for text in self.texts[name].to_pylist()]


def tables(answer: bytes) -> Iterator[Table]:
    """
    Yield the tables of an answer in CSV without annotations.

    Read in columns, a block of equal columns at a time: of the repeated tags only the first row is looked at.
    Raises Permanent where it is no such answer.
    """
    for block in answer.split(b"\r\n\r\n"):
        if block.strip():
            yield from _tables_of(block.strip(b"\r\n") + b"\r\n")


def _tables_of(block: bytes) -> Iterator[Table]:
    header = next(csv.reader([block[: block.index(b"\r\n")].decode()]))
    types = {name: _TYPES.get(name, pa.string()) for name in header}
    try:
        options = pc.ConvertOptions(column_types=types, strings_can_be_null=False)
        read = pc.read_csv(io.BytesIO(block), pc.ReadOptions(use_threads=False), convert_options=options)
        read = read.combine_chunks()
    except pa.ArrowInvalid as error:
        raise Permanent(f"InfluxDB's answer cannot be read: {str(error)[:200]}") from error
    if not read.num_rows:
        return
    columns = {name: read.column(name).chunk(0) for name in header}
    group = columns["table"].to_numpy(zero_copy_only=False)
    result = columns["result"].dictionary_encode().indices.to_numpy(zero_copy_only=False)
    bounds = [0, *(np.flatnonzero((np.diff(group) != 0) | (np.diff(result) != 0)) + 1).tolist(), len(group)]
    times, values = _column(columns, "_time", np.int64), _column(columns, "_value", np.float64)
    tags = [name for name in header if name not in _OWN_COLUMNS]
    rest = [name for name in header if name not in _TYPES]
    for first, last in pairwise(bounds):
        own = {name: text for name in tags if (text := columns[name][first].as_py())}
        texts = {name: columns[name].slice(first, last - first) for name in rest}
        yield Table(own, times[first:last], values[first:last], texts)


def _column(columns: Mapping[str, Any], name: str, kind: type[np.generic]) -> NDArray[Any]:
    if name not in columns:
        return np.zeros(len(columns["table"]), kind)
    return np.asarray(columns[name].to_numpy(zero_copy_only=False)).astype(kind)
