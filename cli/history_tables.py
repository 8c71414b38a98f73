"""CSV and Parquet tables as a stream of Arrow batches, with how much of them has been read."""

from __future__ import annotations

import gzip
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from coldaisle.errors import ConfigError

_BLOCK_BYTES = 4 << 20
_PARQUET_ROWS = 1 << 18
_BROKEN = (pa.ArrowException, OSError, EOFError, zlib.error)
_NULLS = ["", "NA", "N/A", "na", "n/a", "nan", "NaN", "NAN", "null", "NULL", "None"]

Progress = Callable[[int], None]
"""Told how many bytes of the file have been read so far."""


@dataclass(frozen=True, slots=True)
class Table:
    """How a table is written: the names of its columns where it has no header, and what parts its cells."""

    columns: tuple[str, ...] = ()  # empty = the first line says
    delimiter: str = ","


def is_parquet(path: Path) -> bool:
    """Return whether ``path`` holds Parquet, by its name or its first bytes. Raises ConfigError."""
    if path.suffix.lower() in (".parquet", ".pq"):
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PAR1"
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def batches(path: Path, table: Table, progress: Progress, dropped: Counter[str]) -> Iterator[Any]:
    """
    Yield record batches of ``path``: Parquet as it is typed, CSV with every column as text.

    A row with more or fewer cells than the header is counted in ``dropped``. Raises ConfigError, one line
    that names the file and what is wrong with it.
    """
    try:
        if is_parquet(path):
            yield from _parquet(path, progress)
        else:
            yield from _csv(path, table, progress, dropped)
    except _BROKEN as error:
        raise ConfigError(f"{path}: {_reason(error)}") from error


def _parquet(path: Path, progress: Progress) -> Iterator[Any]:
    size = path.stat().st_size
    with pq.ParquetFile(path) as file:
        rows, seen = max(file.metadata.num_rows, 1), 0
        for batch in file.iter_batches(_PARQUET_ROWS, use_threads=False):
            yield batch
            seen += batch.num_rows
            progress(size * seen // rows)


def _csv(path: Path, table: Table, progress: Progress, dropped: Counter[str]) -> Iterator[Any]:
    def skip(row: Any) -> str:
        dropped[f"has {row.actual_columns} cells, expected {row.expected_columns}"] += 1
        return "skip"

    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        source: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=raw) if zipped else raw
        # The header tells which columns to read as text: Arrow would guess types from the first block only.
        names = list(table.columns) or _header(path, table, zipped)
        reader = pc_csv.open_csv(
            pa.PythonFile(source, mode="r"),
            read_options=pc_csv.ReadOptions(
                use_threads=False, block_size=_BLOCK_BYTES, column_names=list(table.columns) or None
            ),
            parse_options=pc_csv.ParseOptions(delimiter=table.delimiter, invalid_row_handler=skip),
            convert_options=pc_csv.ConvertOptions(
                column_types={name: pa.string() for name in names},
                strings_can_be_null=True,
                null_values=_NULLS,
            ),
        )
        for done, batch in enumerate(reader, start=1):
            yield batch
            # Arrow reads ahead: what was delivered is scaled to the bytes of the file, compressed or not.
            share = min(done * _BLOCK_BYTES / max(source.tell(), 1), 1.0)
            progress(int(raw.tell() * share))


def _header(path: Path, table: Table, zipped: bool) -> list[str]:
    opener: Callable[..., Any] = gzip.open if zipped else open
    with opener(path, "rb") as file:
        line = file.readline(1 << 20)
    if not line.strip():
        raise ConfigError(f"{path}: is empty; expected a table with a header")
    read = pc_csv.read_csv(pa.BufferReader(line), parse_options=pc_csv.ParseOptions(delimiter=table.delimiter))
    names = list(read.schema.names)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(f"{path}: column {twice[0]!r} is there twice; give each its own name")
    return names


def _reason(error: Exception) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, EOFError) or "Compressed file ended" in text:
        return "the gzip data ends too early; the file is not whole, fetch it again"
    if isinstance(error, zlib.error | gzip.BadGzipFile):
        return f"the gzip data is broken: {text}; fetch the file again"
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read: {os.strerror(error.errno)}"
    return f"is not a table that can be read: {text[:200]}"
