"""Columns of a history as numbers: times in Unix nanoseconds, values as floats."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coldaisle.clock import SECOND
from coldaisle.errors import ConfigError
from coldaisle.frame import Times, Values
from coldaisle.store.recording_words import parse_moment

_UTC = pa.timestamp("ns", tz="UTC")
_NOT_A_NUMBER = "has a value that is not a number"


def times_of(column: Any, where: str) -> tuple[Times, np.ndarray]:
    """
    Return times (Unix ns) and which rows have one.

    Texts are ISO 8601 (UTC where they name no zone) or epochs; epochs are s, ms, us or ns by their size.
    Raises ConfigError that names ``where`` and the text.
    """
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        moments = _cast(column, where)
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        moments = _epochs(column.cast(pa.float64(), safe=False), column)
    else:
        # Many rows share a time; each is parsed once.
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        if pa.types.is_null(coded.dictionary.type):
            return np.zeros(len(column), np.int64), np.zeros(len(column), bool)
        moments = _parsed(coded.dictionary.cast(pa.string()), where).take(coded.indices)
    present = moments.is_valid().to_numpy(zero_copy_only=False)
    return moments.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), present


def _cast(column: Any, where: str) -> Any:
    try:
        kind = column.type
        if pa.types.is_timestamp(kind) and kind.tz is not None:
            return column.cast(_UTC)
        return column.cast(pa.timestamp("ns")).cast(pa.int64()).cast(_UTC)
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{where}: a time lies outside 1677 to 2262") from error


def _epochs(numbers: Any, exact: Any) -> Any:
    largest = pc.max(pc.abs(numbers)).as_py() or 0.0
    digits = next((i for i, limit in enumerate((1e11, 1e14, 1e17)) if largest < limit), 3)
    factor = (SECOND, 1_000_000, 1_000, 1)[digits]
    if pa.types.is_integer(exact.type):
        return pc.multiply(exact.cast(pa.int64()), factor).cast(_UTC)
    # A float of seconds is good to a fraction of a microsecond; more digits would be noise.
    micros = np.round(numbers.to_numpy(zero_copy_only=False) * (factor / 1_000))
    missing = ~np.isfinite(micros)
    return pa.array(np.where(missing, 0, micros).astype(np.int64) * 1_000, mask=missing).cast(_UTC)


def _parsed(texts: Any, where: str) -> Any:
    for kind in (_UTC, pa.timestamp("ns")):
        try:
            return texts.cast(kind).cast(pa.int64()).cast(_UTC)
        except pa.ArrowInvalid:
            continue  # another form of time; the last one below names what fits none
    for number in (pa.int64(), pa.float64()):
        try:
            exact = texts.cast(number)
            return _epochs(exact.cast(pa.float64()), exact)
        except pa.ArrowInvalid:
            continue
    moments: list[int | None] = []
    for text in texts.to_pylist():
        try:
            moments.append(None if text is None else parse_moment(text.strip()))
        except (ValueError, OverflowError) as error:
            raise ConfigError(
                f"{where}: {text[:60]!r} is neither an ISO 8601 time nor an epoch; name the column with --time-column"
            ) from error
    return pa.array(moments, pa.int64()).cast(_UTC)


def values_of(column: Any, dropped: Counter[str]) -> tuple[Values, np.ndarray]:
    """Return values and which rows hold a number; what is no number is NaN and counted in ``dropped``."""
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan), np.zeros(len(column), bool)
    try:
        numbers = column.cast(pa.float64(), safe=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        numbers = _numbers_among(column, dropped)
    present = numbers.is_valid().to_numpy(zero_copy_only=False)
    return numbers.to_numpy(zero_copy_only=False), present


def _numbers_among(column: Any, dropped: Counter[str]) -> Any:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        dropped[_NOT_A_NUMBER] += len(column) - column.null_count
        return pa.nulls(len(column), pa.float64())
    trimmed = pc.utf8_trim_whitespace(column)
    good = pc.match_substring_regex(trimmed, r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$")
    dropped[_NOT_A_NUMBER] += int(pc.sum(pc.invert(good)).as_py() or 0)
    plain = pc.replace_substring_regex(pc.if_else(good, trimmed, None), r"^\+", "")
    return plain.cast(pa.float64())
