"""Runs ``coldaisle`` as its users do: a process of its own, seen only through its output, files and port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[2]
_ADDRESS = re.compile(r"http://\S+")
_STARTS_WITHIN_SECONDS = 60.0


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the surroundings of a child: this checkout's code, whatever folder it runs in."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **(extra or {})}


@dataclass(frozen=True)
class Finished:
    """What a command that has ended left behind."""

    code: int
    out: str
    err: str

    def refused(self, *words: str, after: str | None = None) -> str:
        """
        Assert a refusal as it should be, one line that holds ``words``; return the line.

        Lines that hold ``after`` may stand before it: a role that waited for a server before it knew better.
        """
        assert self.code == 2, f"exit code {self.code}: {self.err}"
        assert "Traceback" not in self.err
        *before, line = self.err.splitlines()
        assert all(after is not None and after in other for other in before), self.err
        assert line.startswith("coldaisle: ")
        for word in words:
            assert word in line, f"{word!r} is not in {line!r}"
        return line


def coldaisle(*words: object, cwd: Path, env: Mapping[str, str] | None = None, **options: Any) -> Finished:
    """Run a command to its end."""
    command = [sys.executable, "-m", "cli", *map(str, words)]
    done = subprocess.run(
        command, cwd=cwd, env=environment(env), capture_output=True, text=True, timeout=120, check=False, **options
    )
    return Finished(done.returncode, done.stdout, done.stderr)


class Running:
    """A command that serves."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.address = self.line = ""
        self.seconds_to_address = 0.0
        self._began = time.monotonic()
        self._told = threading.Event()
        self._out: list[str] = []
        self._err: list[str] = []
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._read_out, self._read_err)]
        for reader in self._readers:
            reader.start()

    def seconds_so_far(self) -> float:
        """Return how long it has been running."""
        return time.monotonic() - self._began

    def wait_for_address(self) -> str:
        """Return its address as soon as it has told it."""
        self._told.wait(_STARTS_WITHIN_SECONDS)
        assert self.address, f"told no address: {self.out}{self.err}"
        return self.address

    def _read_out(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._out.append(line)
            found = _ADDRESS.search(line)
            if found and not self.address:
                self.seconds_to_address = time.monotonic() - self._began
                self.address, self.line = found.group(), line
                self._told.set()
        self._told.set()

    def _read_err(self) -> None:
        assert self.process.stderr is not None
        self._err.extend(iter(self.process.stderr.readline, ""))

    def get(self, path: str, **params: Any) -> Any:
        """Return the JSON that ``path`` answers."""
        answer = httpx.get(self.address + path, params=params, timeout=20, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def text(self, path: str) -> str:
        """Return the text that ``path`` answers."""
        answer = httpx.get(self.address + path, timeout=20, trust_env=False)
        answer.raise_for_status()
        return answer.text

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Post JSON; return the JSON that comes back."""
        answer = httpx.post(self.address + path, json=dict(body), timeout=20, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def terminate(self, within_seconds: float = 10.0) -> int:
        """Ask for an orderly stop; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self._ended(within_seconds)

    def kill(self) -> None:
        """End it at this instant."""
        self.process.send_signal(signal.SIGKILL)
        assert self._ended(10.0) == -signal.SIGKILL, self.err

    @property
    def err(self) -> str:
        """What it has said on stderr so far."""
        return "".join(self._err)

    @property
    def out(self) -> str:
        """What it has printed so far."""
        return "".join(self._out)

    def let_go(self) -> None:
        """Close its pipes, once it has ended."""
        for reader in self._readers:
            reader.join(5.0)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _ended(self, within_seconds: float) -> int:
        code = self.process.wait(within_seconds)
        for reader in self._readers:
            reader.join(5.0)
        return code


@contextmanager
def launched(*words: object, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Start a command that serves; it may not have told its address yet. Kills what is left at the end."""
    command = [sys.executable, "-m", "cli", *map(str, words)]
    process = subprocess.Popen(
        command, cwd=cwd, env=environment(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    house = Running(process)
    try:
        yield house
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(10)
        house.let_go()


@contextmanager
def running(*words: object, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Start a command that serves; yield it once it has told its address."""
    with launched(*words, cwd=cwd, env=env) as house:
        house.wait_for_address()
        yield house


def until(found: Any, within_seconds: float, every_seconds: float = 0.1) -> Any:
    """Ask ``found`` until it answers something true; return that."""
    end = time.monotonic() + within_seconds
    while True:
        answer = found()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {within_seconds:g} s"
        time.sleep(every_seconds)  # a real process in real time
