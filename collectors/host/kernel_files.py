"""Reads the kernel's text files, and says why where one cannot be read."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

from collectors.port import Unread

_REASONS = {
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.ENOENT: "missing",
    errno.ENODEV: "missing",
    errno.ENODATA: "no data",
    errno.ENXIO: "no data",
    errno.EAGAIN: "no data",
}


class Unreadable(Exception):
    """One file gave no answer; carries what the runner counts."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.unread = Unread(str(path), reason)


def read_text(path: Path) -> str:
    """Return the file without the newline at its end. Raises Unreadable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\n")
    except OSError as error:
        raise Unreadable(path, _REASONS.get(error.errno or 0, "input/output")) from error


def read_number(path: Path) -> float:
    """Return the file's one number. Raises Unreadable."""
    text = read_text(path)
    try:
        return float(text)
    except ValueError as error:
        raise Unreadable(path, "malformed") from error


def rows(path: Path) -> Iterator[list[str]]:
    """Yield the words of each line. Raises Unreadable."""
    for line in read_text(path).splitlines():
        words = line.split()
        if words:
            yield words
