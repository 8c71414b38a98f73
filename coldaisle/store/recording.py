"""A recording: a folder of samples, events, topology and truth that can be played again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from coldaisle.errors import ConfigError
from coldaisle.event import Event
from coldaisle.frame import Block
from coldaisle.series import Layout
from coldaisle.store.recording_samples import SampleFile
from coldaisle.store.recording_words import EVENTS, SAMPLES, TOPOLOGY, TRUTH, Truth, read_events, read_truth
from coldaisle.store.recording_writer import RecordingWriter
from coldaisle.topology import Topology, load

__all__ = ["Recording", "RecordingWriter", "Truth"]


class Recording:
    """
    Reads a recording, whoever wrote it. Everything is checked on opening.

    Raises ConfigError, one line that names the file, the field and what was expected.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            what = "is a file" if self.path.exists() else "no such folder"
            raise ConfigError(f"{self.path}: {what}; a recording is a folder with {SAMPLES} in it")
        self._samples = SampleFile(self.path / SAMPLES)
        self._events = read_events(self.path / EVENTS) if (self.path / EVENTS).exists() else []
        self._truth = read_truth(self.path / TRUTH) if (self.path / TRUTH).exists() else []
        self.topology()
        self._interval: float | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._samples)

    @property
    def layout(self) -> Layout:
        """Every series of the recording; the layout of all its blocks."""
        return self._samples.layout

    @property
    def span(self) -> tuple[int, int]:
        """The times of the first and the last sample (or event, where there is no sample), Unix ns."""
        if self._samples.span is not None:
            return self._samples.span
        if self._events:
            return self._events[0].timestamp, self._events[-1].timestamp
        raise ConfigError(f"{self.path}: holds neither samples nor events")

    @property
    def interval_seconds(self) -> float:
        """The median time between two samples of one series; NaN where no series has two."""
        if self._interval is None:
            self._interval = self._samples.interval_seconds()
        return self._interval

    def topology(self) -> Topology:
        """Return a new copy of the physical graph; an empty one where no file declares it."""
        path = self.path / TOPOLOGY
        return load(path) if path.exists() else Topology()

    def events(self) -> list[Event]:
        """Return the events, sorted by time."""
        return list(self._events)

    def truth(self) -> list[Truth]:
        """Return the faults that are known to have been there, sorted by start; empty where no file says."""
        return list(self._truth)

    def blocks(self, step_ns: int) -> Iterator[tuple[int, Block]]:
        """
        Yield ``(end of step, its samples)``, where ``end - step_ns <= timestamp < end``; ends are multiples of
        ``step_ns``. Steps without samples come too (up to 100,000 in a row), so that silence can be seen.
        """
        return self._samples.blocks(step_ns)
