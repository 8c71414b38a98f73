"""Finds and reads labelled data to judge detectors by."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from cli import score_files
from cli.moments import span
from coldaisle.clock import SECOND
from coldaisle.errors import ConfigError

Floats = NDArray[np.float64]

LABEL = "label"
"""The column that marks anomalous rows, whatever the case of its letters."""
DEFAULT_INTERVAL = "1m"
START = 1_700_000_000 * SECOND
"""When a file without times begins: labels and scores do not depend on it."""
_NPZ = ".npz"
_MOST_VALUES = 1 << 28


@dataclass(frozen=True)
class Place:
    """One labelled file: where it lies, the set that it belongs to, and the time between rows where it names none."""

    path: Path
    group: str
    interval_ns: int

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.name[: -len(_NPZ)] if self.path.name.endswith(_NPZ) else score_files.stem(self.path)


@dataclass(frozen=True)
class Case:
    """One entity with its labels, in order of time."""

    name: str
    group: str
    metrics: tuple[str, ...]
    history: Floats  # [n, metrics] normal life before the rows; may be empty
    timestamps: NDArray[np.int64]  # of history and rows, Unix ns
    values: Floats  # [rows, metrics], NaN = missing
    labels: NDArray[np.bool_]  # [rows]

    @property
    def interval_seconds(self) -> float:
        """The median time between two rows."""
        steps = np.diff(self.timestamps)
        steps = steps[steps > 0]
        return float(np.median(steps)) / SECOND if len(steps) else 1.0

    @property
    def days(self) -> float:
        """How long the rows last."""
        return max(len(self.values) * self.interval_seconds / 86_400.0, 1e-9)


@dataclass(frozen=True)
class Found:
    """What the arguments of ``evaluate`` mean."""

    places: tuple[Place, ...]
    recordings: tuple[Path, ...]
    unlabelled: int  # tables in folders that have no labels


def find(paths: Sequence[Path], intervals: Sequence[str]) -> Found:
    """
    Return what ``paths`` mean: files, recordings, or folders of files; ``intervals`` as ``5m`` or ``FOLDER=5m``.

    Raises ConfigError where nothing labelled is there.
    """
    known = _intervals(intervals)
    places: list[Place] = []
    recordings: list[Path] = []
    unlabelled = 0
    for path in paths:
        if path.is_dir() and (path / "samples.parquet").exists():
            recordings.append(path)
        elif path.is_dir():
            for file in sorted(path.iterdir()):
                if not _is_table(file):
                    continue
                if _has_labels(file):
                    places.append(_place(file, known))
                else:
                    unlabelled += 1
        elif not path.is_file():
            raise ConfigError(f"{path}: no such file or folder")
        elif not _is_table(path):
            raise ConfigError(f"{path}: neither npz, CSV, Parquet nor a recording; there is nothing to evaluate")
        elif not _has_labels(path):
            raise ConfigError(f"{path}: no column {LABEL!r}; without labels nothing can be judged")
        else:
            places.append(_place(path, known))
    if not places and not recordings:
        raise ConfigError(f"{', '.join(map(str, paths))}: nothing labelled there (npz with labels, CSV with {LABEL!r})")
    return Found(tuple(places), tuple(recordings), unlabelled)


def read(place: Place) -> Case:
    """Read one file. Raises ConfigError that names it and what is wrong."""
    return _read_npz(place) if place.path.name.endswith(_NPZ) else _read_table(place)


def _intervals(told: Sequence[str]) -> Mapping[str, int]:
    found = {"": span(DEFAULT_INTERVAL, "--interval")}
    for text in told:
        folder, _, length = text.rpartition("=")
        found[folder] = span(length, "--interval")
        if found[folder] <= 0:
            raise ConfigError(f"--interval {text!r}: rows cannot stand at the same time; give the time between two")
    return found


def _place(path: Path, intervals: Mapping[str, int]) -> Place:
    group = path.resolve().parent.name or "files"
    return Place(path, group, intervals.get(group, intervals[""]))


def _is_table(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith((_NPZ, *score_files.KNOWN_ENDINGS))


def _has_labels(path: Path) -> bool:
    if path.name.endswith(_NPZ):
        return True
    return any(name.lower() == LABEL for name in _columns(path))


def _columns(path: Path) -> list[str]:
    try:
        if path.name.lower().endswith(".parquet"):
            return [str(name) for name in parquet.read_schema(path).names]
        return [str(name) for name in pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns]
    except pd.errors.EmptyDataError:
        return []
    except (ValueError, OSError, EOFError, pa.ArrowException) as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{path}: cannot be read ({why}); is it whole?") from error


def _read_npz(place: Place) -> Case:
    arrays = {name: _array(place.path, name) for name in ("test", "label")}
    values, labels = _plain(place.path, "test", arrays["test"]), arrays["label"].ravel()
    train = _array(place.path, "train", needed=False)
    history = values[:0] if train is None else _plain(place.path, "train", train)
    if len(labels) != len(values):
        raise ConfigError(f"{place.path}: {len(labels)} labels for {len(values)} rows; each row needs one")
    if history.shape[1] != values.shape[1]:
        raise ConfigError(f"{place.path}: train has {history.shape[1]} columns, test {values.shape[1]}")
    times = START + np.arange(len(history) + len(values), dtype=np.int64) * place.interval_ns
    metrics = tuple(f"m{number}" for number in range(1, values.shape[1] + 1))
    return Case(place.name, place.group, metrics, history, times, values, labels > 0)


def _array(path: Path, name: str, needed: bool = True) -> Any:
    """Return one array of an npz file; no pickle is ever opened."""
    try:
        with np.load(path, allow_pickle=False) as held:
            if name not in held.files:
                if needed:
                    raise ConfigError(f"{path}: no array {name!r}; it needs test and label, and may have train")
                return None
            return held[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise ConfigError(f"{path}: cannot be read as npz: {error}") from error


def _plain(path: Path, name: str, array: Any) -> Floats:
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2) or not array.size or array.size > _MOST_VALUES:
        raise ConfigError(f"{path}: {name} has shape {array.shape} of {array.dtype}; rows of numbers are needed")
    plain = np.atleast_2d(array.astype(np.float64).T).T
    return np.where(np.isfinite(plain), plain, np.nan)


def _read_table(place: Place) -> Case:
    table = score_files.read(place.path, None, ())
    labelled = [number for number, name in enumerate(table.metrics) if name.lower() == LABEL]
    if not labelled:
        raise ConfigError(
            f"{place.path}: the column {LABEL!r} holds no numbers; mark anomalous rows with 1, others with 0"
        )
    kept = [number for number in range(len(table.metrics)) if number not in labelled]
    if not kept:
        raise ConfigError(f"{place.path}: no numeric column beside time and {LABEL!r}; there is nothing to score")
    order = np.argsort(table.timestamps, kind="stable")
    values = table.values[order]
    metrics = tuple(table.metrics[number] for number in kept)
    rows = values[:, kept]
    return Case(place.name, place.group, metrics, rows[:0], table.timestamps[order], rows, values[:, labelled[0]] > 0)
