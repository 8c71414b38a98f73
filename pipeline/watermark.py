"""Says up to which event time everything has been seen."""

from __future__ import annotations

from coldaisle.state import Kept, State


class Watermark:
    """
    The event time reached, less the lateness we allow. It never goes back.

    Event time is the latest timestamp seen, never ahead of processing time (one fast clock must not
    make everyone else late); while nothing comes it moves on with processing time.
    """

    def __init__(self, lateness_ns: int) -> None:
        self._lateness = lateness_ns
        self._latest: int | None = None
        self._seen_at = 0  # processing time when ``_latest`` last moved

    @property
    def latest(self) -> int | None:
        """The event time reached; None before the first sample."""
        return self._latest

    @property
    def value(self) -> int | None:
        """What is older is late; None before the first sample."""
        return None if self._latest is None else self._latest - self._lateness

    def observe(self, timestamp: int, now: int) -> None:
        """Take note of the newest timestamp of what came at processing time ``now``."""
        seen = min(timestamp, now)
        if self._latest is None or seen > self._latest:
            self._latest = seen
            self._seen_at = now

    def advance(self, now: int) -> None:
        """Let time pass without data."""
        if self._latest is None or now <= self._seen_at:
            return
        self._latest += now - self._seen_at
        self._seen_at = now

    def resume(self, now: int) -> None:
        """Say that nobody listened until ``now``: the time that passed is no evidence."""
        self._seen_at = max(self._seen_at, now)

    def state(self) -> State:
        """Return what a snapshot keeps."""
        return {"latest": self._latest, "seen_at": self._seen_at}

    def restore(self, state: State) -> None:
        """Take back what ``state`` returned. Raises Permanent."""
        kept = Kept(state)
        self._latest, self._seen_at = kept.maybe_integer("latest"), kept.integer("seen_at")
