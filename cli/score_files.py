"""Reads the tables that ``coldaisle score`` is given, and writes its answers."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from coldaisle.errors import ConfigError

KNOWN_ENDINGS = (".csv", ".csv.gz", ".parquet")
EARLIEST_EPOCH_SECONDS = 10**8
"""3 March 1973. Smaller numbers in the time column count rows, or time from a start that nobody knows."""
MOST_MINUTES = 1e8
STEPS_LOOKED_AT = 50
NO_TIMES = ""
"""Given in place of a column's name: the file has none that holds times."""
FEWEST_STEPS = 50
MOST_BACK = 0.25
"""Numbers that go back, and forth, in more than this share of the steps are no times unless somebody says so."""


class Table(NamedTuple):
    """One entity's rows, in the order of the file."""

    path: Path
    timestamp_name: str
    given: list[str]  # the times as they stand in the file
    timestamps: NDArray[np.int64]  # Unix ns; where the file counts rows only, a minute a step
    metrics: tuple[str, ...]
    values: NDArray[np.float64]  # [rows, metrics], NaN = missing
    ignored: tuple[str, ...]  # columns that hold no numbers


def stem(path: Path) -> str:
    """Return the file's name without the ending that says its format."""
    for ending in KNOWN_ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.stem


def find(paths: Collection[Path]) -> list[Path]:
    """Return the files that ``paths`` mean, a folder standing for its own CSV and Parquet files. Raises ConfigError."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.name.lower().endswith(KNOWN_ENDINGS))
            if not inside:
                raise ConfigError(f"{path}: no CSV or Parquet file in this folder")
            files.extend(inside)
        elif not path.is_file():
            raise ConfigError(f"{path}: no such file or folder")
        elif not path.name.lower().endswith(KNOWN_ENDINGS):
            raise ConfigError(f"{path}: neither CSV nor Parquet; name it *.csv, *.csv.gz or *.parquet")
        else:
            files.append(path)
    return files


def read(path: Path, timestamp: str | None, exclude: Collection[str]) -> Table:
    """
    Read one file. Raises ConfigError, naming file and column, for what cannot be scored.

    ``timestamp`` None means the first column, NO_TIMES that there is none: rows are then a minute apart. Columns
    that hold no numbers are ignored and named.
    """
    frame = _frame(path, timestamp)
    columns = [str(name) for name in frame.columns]
    frame.columns = pd.Index(columns)
    if not columns:
        raise ConfigError(f"{path}: the file is empty; it needs a header and a time column")
    if timestamp == NO_TIMES:
        columns = [NO_TIMES, *columns]
        frame.insert(0, NO_TIMES, np.arange(len(frame)))
    name = columns[0] if timestamp is None else timestamp
    if name not in columns:
        raise ConfigError(f"{path}: no column {name!r}; it has {', '.join(columns[:6])}; choose with --timestamp")
    unknown = sorted(set(exclude) - set(columns))
    if unknown:
        raise ConfigError(f"{path}: no column {unknown[0]!r} to exclude; it has {', '.join(columns[:6])}")
    if len(frame) == 0:
        raise ConfigError(f"{path}: the file has a header but no rows")
    rest = [column for column in columns if column != name and column not in exclude]
    metrics = [column for column in rest if _is_numeric(frame[column])]
    if not metrics:
        raise ConfigError(f"{path}: no numeric column beside {name!r}; there is nothing to score")
    values = frame[metrics].to_numpy(dtype=np.float64, na_value=np.nan)
    values = np.where(np.isfinite(values), values, np.nan)
    given, timestamps = _times(path, name, frame[name])
    if timestamp is None and frame[name].dtype.kind != "M" and _is_number(given[0]):
        _refuse_wandering(path, name, given, timestamps)
    ignored = tuple(column for column in rest if column not in metrics)
    return Table(path, name, given, timestamps, tuple(metrics), values, ignored)


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_complex_dtype(column)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _frame(path: Path, timestamp: str | None) -> pd.DataFrame:
    try:
        if path.name.lower().endswith(".parquet"):
            return pd.read_parquet(path)
        head = pd.read_csv(path, nrows=0, encoding="utf-8-sig")
        name = timestamp if timestamp is not None else (head.columns[0] if len(head.columns) else None)
        as_given: Mapping[str, type[str]] = {} if name is None else {str(name): str}
        with warnings.catch_warnings():
            # A row with more fields than the header would otherwise lose them with a warning only.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(path, dtype=as_given, encoding="utf-8-sig", index_col=False, low_memory=False)
    except pd.errors.EmptyDataError:
        raise ConfigError(f"{path}: the file is empty; it needs a header and a time column") from None
    except (ValueError, OSError, EOFError, pd.errors.ParserWarning) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{path}: cannot be read ({why}); is it whole?") from error


def _times(path: Path, name: str, column: pd.Series) -> tuple[list[str], NDArray[np.int64]]:
    """Return the times as given and as Unix ns. Raises ConfigError naming the first row that is no time."""
    if isinstance(column.dtype, np.dtype | pd.DatetimeTZDtype) and column.dtype.kind == "M":
        moments = pd.DatetimeIndex(column)
        moments = moments.tz_localize("UTC") if moments.tz is None else moments.tz_convert("UTC")
        _refuse_missing(path, name, column, np.asarray(moments.isna()))
        given = ["" if pd.isna(moment) else str(pd.Timestamp(moment).isoformat()) for moment in column]
        return given, moments.as_unit("ns").asi8
    given = ["" if pd.isna(text) else str(text) for text in column]
    numbers = pd.to_numeric(column, errors="coerce")
    if len(column) and bool(numbers.notna().all()):
        return given, _epoch(path, name, given, numbers)
    texts = pd.Series(given)
    moments = pd.DatetimeIndex(pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce"))
    _refuse_missing(path, name, texts, np.asarray(moments.isna()))
    return given, moments.as_unit("ns").asi8


def _epoch(path: Path, name: str, given: list[str], numbers: pd.Series) -> NDArray[np.int64]:
    """
    Return Unix ns of an epoch in s, ms, us or ns; its size tells which (all are years 1973 to 5138).

    Smaller numbers (0, 1, 2, ... or seconds since a start) are no date: they count steps of unknown length, and
    the usual step is taken for a minute. The budget of false events a day is then one for each 1,440 steps.
    """
    wide = numbers.to_numpy(dtype=np.float64)
    largest = float(np.abs(wide).max())
    if not np.isfinite(largest) or largest >= 2**63:
        raise ConfigError(f"{path}: column {name!r} holds {given[int(np.abs(wide).argmax())]}, which is not a time")
    if largest < EARLIEST_EPOCH_SECONDS:
        return _counted(wide)
    factor = 10**9 if largest < 1e11 else 10**6 if largest < 1e14 else 10**3 if largest < 1e17 else 1
    if pd.api.types.is_integer_dtype(numbers):
        return numbers.to_numpy(dtype=np.int64) * factor
    return np.round(wide * factor).astype(np.int64)


def _counted(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    steps = np.diff(np.sort(numbers)[:STEPS_LOOKED_AT])  # the first ones only: no row may depend on a later one
    steps = steps[steps > 0]
    usual = float(np.median(steps)) if len(steps) else 1.0
    # Where steps are wildly uneven the largest number must still fit into 63 bits.
    minutes = np.clip((numbers - numbers.min()) / usual, 0.0, MOST_MINUTES)
    return np.asarray(np.round(minutes * (60 * 10**9)), np.int64)


def _refuse_missing(path: Path, name: str, column: pd.Series, bad: NDArray[np.bool_]) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        text = column.iloc[row]
        raise ConfigError(
            f"{path}: column {name!r}, row {row + 1}: {'' if pd.isna(text) else text!r} is not a time; "
            "give ISO 8601 or an epoch, or choose the column with --timestamp"
        )


def _refuse_wandering(path: Path, name: str, given: list[str], timestamps: NDArray[np.int64]) -> None:
    """Raise ConfigError where numbers that nobody called times run to and fro: they are a metric."""
    steps = np.diff(timestamps)
    if len(steps) >= FEWEST_STEPS and min((steps < 0).mean(), (steps > 0).mean()) > MOST_BACK:
        row = int(np.argmax(steps < 0)) + 1
        raise ConfigError(
            f"{path}: the first column, {name!r}, holds no times ({given[row]} follows {given[row - 1]}); choose "
            "the column with --timestamp, or say --no-timestamp and rows count as a minute apart"
        )


class Sheet(NamedTuple):
    """The answer for one table."""

    source: Path
    columns: dict[str, list[object]]


def write(sheets: Collection[Sheet], folder: Path, kind: str) -> list[Path]:
    """
    Write all ``sheets`` or none: to temporary files first, which then take their names.

    Raises ConfigError where two would have one name, one would replace an input, or the folder cannot be written.
    """
    targets = [folder / f"{stem(sheet.source)}.{kind}" for sheet in sheets]
    for place, target in enumerate(targets):
        if target in targets[:place]:
            raise ConfigError(f"{target}: two inputs would both be written here; score them into two folders")
        if any(target.resolve() == sheet.source.resolve() for sheet in sheets):
            raise ConfigError(f"{target}: the output would replace the input; choose another --output folder")
    temporary = [target.with_name(f".{target.name}.partial") for target in targets]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for sheet, partial in zip(sheets, temporary, strict=True):
            frame = pd.DataFrame(sheet.columns)
            if kind == "parquet":
                frame.to_parquet(partial, index=False)
            else:
                frame.to_csv(partial, index=False)
        for partial, target in zip(temporary, targets, strict=True):
            partial.replace(target)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot write here ({error.strerror or error}); choose another --output"
        ) from error
    finally:
        for partial in temporary:
            # Below something that is no folder there is nothing to remove.
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    return targets
