"""Keeps the last snapshots of each name, in memory or in a folder, and falls back from one that cannot be used."""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from coldaisle.errors import ConfigError, Permanent, Transient
from coldaisle.selfstats import SelfStats
from coldaisle.store.recording_writer import sync

_LOG = logging.getLogger(__name__)

GENERATIONS = 2
"""How many of each name are kept: the newest, and the one to fall back on."""
SUFFIX = ".snapshot"
REFUSED = ".corrupt"
_TEMPORARY = ".tmp"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG})

T = TypeVar("T")


class SnapshotStore(Protocol):
    """Where snapshots outlive the process. One writer a name at a time; names are letters, digits, ``_`` and ``-``."""

    def save(self, name: str, data: bytes) -> None:
        """
        Keep a snapshot and the one before it; when this returns it survives a power cut.

        Raises Transient (no room, a disk that fails), ConfigError (a place that may not be written), ValueError (a
        name that is none).
        """
        ...

    def load(self, name: str, read: Callable[[bytes], T]) -> T | None:
        """
        Return what ``read`` makes of the newest snapshot that it does not refuse with Permanent; None = there is none.

        One that is refused is set aside, counted and logged, and the one before it is tried. Raises Transient,
        ConfigError (a place that may not be read).
        """
        ...

    def names(self) -> list[str]:
        """Return the names of what is kept, sorted. Raises Transient, ConfigError."""
        ...

    def drop(self, name: str) -> None:
        """Keep nothing of ``name``; it is no error if nothing is there. Raises Transient, ConfigError."""
        ...


class MemorySnapshots:
    """Keeps snapshots for as long as the process lives."""

    def __init__(self, stats: SelfStats) -> None:
        self._stats = described(stats)
        self._kept: dict[str, list[bytes]] = {}
        self.refused: dict[str, bytes] = {}

    def save(self, name: str, data: bytes) -> None:
        """See :class:`SnapshotStore`."""
        _checked(name)
        kept = self._kept.setdefault(name, [])
        kept.append(bytes(data))
        del kept[:-GENERATIONS]

    def load(self, name: str, read: Callable[[bytes], T]) -> T | None:
        """See :class:`SnapshotStore`."""
        kept = self._kept.get(_checked(name), [])
        while kept:
            try:
                return read(kept[-1])
            except Permanent as error:
                _say_refused(self._stats, name, error)
                self.refused[name] = kept.pop()
        return None

    def names(self) -> list[str]:
        """See :class:`SnapshotStore`."""
        return sorted(name for name, kept in self._kept.items() if kept)

    def drop(self, name: str) -> None:
        """See :class:`SnapshotStore`."""
        self._kept.pop(_checked(name), None)


class FolderSnapshots:
    """
    Keeps snapshots as files ``name.NUMBER.snapshot`` in a folder that all members who may take over a name can reach.

    A file appears whole or not at all: it is written beside its place, synced, and renamed. One that is refused is
    renamed to ``name.corrupt``, so that people can look at it; the next one that is refused takes its place.
    """

    def __init__(self, folder: Path, stats: SelfStats) -> None:
        """Make the folder where it is missing. Raises ConfigError."""
        self._folder = folder
        self._stats = described(stats)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise ConfigError(f"{folder}: is a file: give a folder for snapshots") from error
        except OSError as error:
            raise self._error(error) from error

    def save(self, name: str, data: bytes) -> None:
        """See :class:`SnapshotStore`."""
        generations = self._generations(_checked(name))
        number = max(generations, default=0) + 1
        path = self._folder / f"{name}.{number:010d}{SUFFIX}"
        temporary = path.with_suffix(_TEMPORARY)
        try:
            for left in self._folder.glob(f"{name}.*{_TEMPORARY}"):  # by somebody who died while writing
                left.unlink(missing_ok=True)
            try:
                with temporary.open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
            sync(self._folder)
            for old in sorted(generations)[: max(0, len(generations) + 1 - GENERATIONS)]:
                generations[old].unlink(missing_ok=True)
        except OSError as error:
            raise self._error(error, len(data)) from error

    def load(self, name: str, read: Callable[[bytes], T]) -> T | None:
        """See :class:`SnapshotStore`."""
        generations = self._generations(_checked(name))
        for number in sorted(generations, reverse=True):
            path = generations[number]
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue  # whoever had the name before has just saved and let go of it
            except OSError as error:
                raise self._error(error) from error
            try:
                return read(data)
            except Permanent as error:
                _say_refused(self._stats, str(path), error)
                self._set_aside(path, name)
        return None

    def names(self) -> list[str]:
        """See :class:`SnapshotStore`."""
        return sorted({path.name.partition(".")[0] for path in self._files("*")})

    def drop(self, name: str) -> None:
        """See :class:`SnapshotStore`."""
        try:
            for path in self._generations(_checked(name)).values():
                path.unlink(missing_ok=True)
        except OSError as error:
            raise self._error(error) from error

    def _generations(self, name: str) -> dict[int, Path]:
        """Return the files of a name by their number."""
        found: dict[int, Path] = {}
        for path in self._files(name):
            number = path.name.split(".")[1]
            if number.isdecimal():
                found[int(number)] = path
        return found

    def _files(self, name: str) -> list[Path]:
        try:
            # Unlike ``glob``, this says so where the folder may not be read.
            have = os.listdir(self._folder)
        except OSError as error:
            raise self._error(error) from error
        ends = [each for each in have if each.endswith(SUFFIX) and each.count(".") == 2]
        return [self._folder / each for each in ends if name in ("*", each.partition(".")[0])]

    def _set_aside(self, path: Path, name: str) -> None:
        try:
            path.replace(self._folder / f"{name}{REFUSED}")
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError, size_bytes: int = 0) -> Transient | ConfigError:
        what = error.strerror or type(error).__name__
        if error.errno in _FULL:
            return Transient(
                f"{self._folder}: no room for a snapshot of {size_bytes / 1e6:.0f} MB ({what}): free some space; "
                "until then a restart has more to read again"
            )
        if error.errno in _FORBIDDEN:
            return ConfigError(f"{self._folder}: snapshots cannot be kept here ({what}): give a writable folder")
        return Transient(f"{self._folder}: snapshots cannot be reached ({what}): look at the disk")


def described(stats: SelfStats) -> SelfStats:
    """Say in ``stats`` what a store of snapshots counts, and return it."""
    stats.describe("snapshots_refused_total", "counter", "Snapshots that could not be used and were set aside.")
    return stats


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a snapshot: letters, digits, _ and - only")
    return name


def _say_refused(stats: SelfStats, what: str, error: Permanent) -> None:
    stats.add("snapshots_refused_total")
    _LOG.warning("%s: set aside; the one before it is used, or all is read again: %s", what, error)
