"""Time as a parameter."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Protocol

SECOND = 1_000_000_000
"""Nanoseconds."""
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Clock(Protocol):
    """Tells the time in Unix nanoseconds and waits."""

    def now(self) -> int:
        """Return Unix nanoseconds, UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` of this clock."""
        ...


class SystemClock:
    """The machine's clock; the only place that reads it."""

    def now(self) -> int:
        """Return Unix nanoseconds, UTC."""
        return time.time_ns()  # noqa: TID251 - this is the one place

    def sleep(self, seconds: float) -> None:
        """Block the thread."""
        if seconds > 0:
            time.sleep(seconds)


class ManualClock:
    """A clock that stands still until it is told to move; sleeping moves it."""

    def __init__(self, start: int = 0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> int:
        """Return the time it was last set to."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move forward by ``seconds`` at once."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Move forward by ``seconds``."""
        with self._lock:
            self._now += round(seconds * SECOND)

    def set(self, now: int) -> None:
        """Move to ``now``; never back."""
        with self._lock:
            self._now = max(self._now, now)


class ScaledClock:
    """Runs ``speed`` times as fast as another clock, from ``start``; a simulated hall lives by it."""

    def __init__(self, clock: Clock, start: int, speed: float) -> None:
        if speed <= 0:
            raise ValueError(f"a clock cannot run at {speed} times the speed of time")
        self._clock, self._start, self._speed = clock, start, speed
        self._origin = clock.now()

    def now(self) -> int:
        """Return the scaled time."""
        return self._start + round((self._clock.now() - self._origin) * self._speed)

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` of this clock."""
        self._clock.sleep(seconds / self._speed)


def rfc3339(timestamp: int) -> str:
    """Return ``timestamp`` (ns) as ``2026-11-22T03:12:00Z``, with milliseconds only where there are any."""
    seconds, rest = divmod(timestamp, SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    milliseconds = rest // 1_000_000
    return f"{text}.{milliseconds:03d}Z" if milliseconds else f"{text}Z"


def parse_rfc3339(text: str) -> int:
    """Return Unix nanoseconds of an RFC 3339 time; one without a zone is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    whole = moment.replace(microsecond=0)
    return round(whole.timestamp()) * SECOND + moment.microsecond * 1_000
