"""The data folder: held by one process, with the incidents' database in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coldaisle.errors import ConfigError

_LOCK = ".lock"
ELSEWHERE = "name another folder with --data DIR"


@contextmanager
def alone_in(folder: Path, elsewhere: str = ELSEWHERE) -> Iterator[None]:
    """Hold ``folder`` alone: a second writer would take the first one's unfinished segments for wreckage."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); {elsewhere}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        taken = "another Coldaisle writes here; stop it" if isinstance(error, BlockingIOError) else error.strerror
        raise ConfigError(f"{folder}: {taken}, or {elsewhere}") from error
    try:
        yield
    finally:
        os.close(lock)  # the system lets go of it too when the process is killed
