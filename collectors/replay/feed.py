"""Plays a recording step by step, its samples and events side by side in order of time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from math import isfinite

import numpy as np

from coldaisle.clock import SECOND
from coldaisle.event import Event
from coldaisle.frame import Block
from coldaisle.store.recording import Recording
from coldaisle.topology import Topology
from collectors.port import Step

LONGEST_STEP_SECONDS = 60.0


class ReplayFeed:
    """
    A Feed over a recording.

    A step holds what happened in ``[now - step_seconds, now)``; steps without samples come too, so that
    silence can be seen. Without ``step_seconds`` it is the recording's own median interval, 60 s at most.
    """

    def __init__(self, recording: Recording, step_seconds: float | None = None) -> None:
        if step_seconds is None:
            own = recording.interval_seconds
            step_seconds = min(max(own, 1.0), LONGEST_STEP_SECONDS) if isfinite(own) else 1.0
        if step_seconds <= 0:
            raise ValueError(f"a step cannot last {step_seconds} s")
        self.recording = recording
        self.step_ns = round(step_seconds * SECOND)

    @property
    def span(self) -> tuple[int, int]:
        """Times of the first and the last sample, Unix ns."""
        return self.recording.span

    def topology(self) -> Topology:
        """Return a new copy of the recording's graph."""
        return self.recording.topology()

    def steps(self) -> Iterator[Step]:
        """Yield the recording's steps; events outside the samples' span come in steps of their own."""
        events = self.recording.events()
        times = [event.timestamp for event in events]
        taken = 0
        first = True
        for now, block in self.recording.blocks(self.step_ns):
            if first:
                # Events before the first sample keep their own time.
                before = bisect_left(times, now - self.step_ns)
                yield from self._events_alone(events[:before])
                taken, first = before, False
            until = bisect_left(times, now, lo=taken)
            yield Step(now, block, tuple(events[taken:until]))
            taken = until
        yield from self._events_alone(events[taken:])

    def _events_alone(self, events: list[Event]) -> Iterator[Step]:
        empty = Block(self.recording.layout, np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        waiting: list[Event] = []
        for event in events:
            if waiting and self._end_of(event) != self._end_of(waiting[0]):
                yield Step(self._end_of(waiting[0]), empty, tuple(waiting))
                waiting = []
            waiting.append(event)
        if waiting:
            yield Step(self._end_of(waiting[0]), empty, tuple(waiting))

    def _end_of(self, event: Event) -> int:
        return (event.timestamp // self.step_ns + 1) * self.step_ns
