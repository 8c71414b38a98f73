"""What the runner asks of a collector, and what a recording or a simulated hall offers instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from coldaisle.event import Event
from coldaisle.frame import Block, Sample


class Unread(NamedTuple):
    """Something that a scrape should have read and could not; the runner counts it, nobody invents a zero."""

    what: str  # the file, the line or the call, for the log
    reason: str  # few words from a small set: ``permission``, ``missing``, ``malformed``, ``deadline``


class Collector(Protocol):
    """
    Reads one kind of hardware or service.

    Schedule, jitter, deadline, isolation, ``collector_up`` and duration belong to the runner.
    """

    @property
    def name(self) -> str:
        """The collector's word in configuration and in the label ``collector``."""
        ...

    def collect(self, now: int) -> Iterable[Sample | Event | Unread]:
        """
        Read once. ``now`` is Unix nanoseconds, for values that carry no time of their own.

        Raises Transient when the source does not answer, Permanent when it never will.
        """
        ...

    def close(self) -> None:
        """Let go of the source; safe to call twice."""
        ...


class Step(NamedTuple):
    """What a whole hall said between two instants: its samples side by side and its events, sorted by time."""

    now: int  # the end of the step, Unix ns
    block: Block
    events: tuple[Event, ...]


class Feed(Protocol):
    """Plays a whole hall, step by step: a simulator or a recording."""

    def steps(self) -> Iterator[Step]:
        """Yield steps in order of time; a recording ends, a simulated hall need not."""
        ...
