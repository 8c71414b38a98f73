"""Makes windows anew whose samples came later than InfluxDB's own tasks look back: after an outage, from a spool."""

from __future__ import annotations

import gzip
import json
import logging
import threading
from pathlib import Path

import numpy as np

from coldaisle.clock import HOUR, MINUTE, Clock
from coldaisle.errors import ColdaisleError, ConfigError
from coldaisle.frame import Times
from coldaisle.selfstats import SelfStats
from coldaisle.store.influx_server import InfluxServer
from coldaisle.store.influx_tiers import LATE, LATE_HOURS, downsample_flux, tiers_of

_LOG = logging.getLogger(__name__)
_QUIET_SECONDS = 30.0
"""Late samples come in bursts; an hour is made anew after the burst, not in the midst of it."""
_PATIENCE_SECONDS = 300.0
_FILE = "late-hours.json"
_WIDE = 48 * HOUR


class LateWindows:
    """
    Takes note of the hours that late samples belong to, and lets InfluxDB make their windows anew, in a thread.

    With a ``folder`` the hours survive the process. Where nobody set up the buckets of windows there is nothing
    to make, which is counted.
    """

    def __init__(self, server: InfluxServer, clock: Clock, folder: Path | None, stats: SelfStats) -> None:
        self._server, self._clock, self._stats = server, clock, stats
        self._tiers = tiers_of(server.config)
        self._file = folder / _FILE if folder else None
        self._changed = threading.Condition()
        self._hours: set[int] = self._load()
        self._making: set[int] = set()
        self._closed = False
        stats.describe("store_late_hours_total", "counter", "Hours whose windows were made anew for late samples.")
        stats.describe("store_late_hours_dropped_total", "counter", "Hours that could not be made anew, by reason.")
        self._thread = threading.Thread(target=self._run, name="influx-late", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many hours are still to be made anew."""
        with self._changed:
            return len(self._hours)

    def note(self, times: Times) -> None:
        """Take note that samples of these times (ns) reached InfluxDB."""
        late = times[times < self._clock.now() - LATE + 2 * MINUTE]
        if len(late):
            self._add(np.unique(late // HOUR).tolist())

    def note_body(self, body: bytes, first: int, last: int) -> None:
        """Do the same for gzipped lines whose times lie between ``first`` and ``last`` (ns)."""
        if last - first < _WIDE:
            self.note(np.arange(first // HOUR * HOUR, last + 1, HOUR).clip(first, last))
        else:
            lines = gzip.decompress(body).splitlines()
            self.note(np.array([int(line.rsplit(b" ", 1)[1]) for line in lines], np.int64))

    def close(self) -> None:
        """Stop; what is still to be made is made by the next process if there is a folder."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def make(self, hour: int) -> None:
        """Make the windows of an hour (in hours since 1970) anew. Raises what ``InfluxServer.query`` raises."""
        _, minutes, hours = self._tiers
        span = (hour * HOUR, hour * HOUR + HOUR - 1)
        self._server.query(downsample_flux(self._tiers, minutes, span), minutes.bucket, _PATIENCE_SECONDS)
        # A younger hour is made of its minutes by the task itself, and perhaps it is not over yet.
        if span[1] < self._clock.now() - LATE_HOURS + HOUR:
            self._server.query(downsample_flux(self._tiers, hours, span), hours.bucket, _PATIENCE_SECONDS)

    def _add(self, hours: list[int]) -> None:
        with self._changed:
            if not self._hours.issuperset(hours):
                self._hours.update(hours)
                self._save()
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._hours and not self._closed:
                    self._changed.wait()
                self._changed.wait_for(lambda: self._closed, _QUIET_SECONDS)
                due = sorted(self._hours)
            for hour in due:
                if self._closed:
                    return
                try:
                    self._make_or_count(hour)
                except ColdaisleError as error:
                    _LOG.warning("windows of late samples cannot be made yet: %s", error)
                    break
            if self._closed:
                return

    def _make_or_count(self, hour: int) -> None:
        with self._changed:
            self._hours.discard(hour)  # before it is made: what comes meanwhile makes it once more
            self._making = {hour}
        try:
            self.make(hour)
            self._stats.add("store_late_hours_total")
        except ConfigError as error:
            _LOG.warning("windows of late samples are not made: %s", error)
            self._stats.add("store_late_hours_dropped_total", reason="nobody makes windows")
        except ColdaisleError:
            self._add([hour])
            raise
        with self._changed:
            self._making = set()
            self._save()

    def _load(self) -> set[int]:
        if self._file is None or not self._file.exists():
            return set()
        try:
            return {int(hour) for hour in json.loads(self._file.read_text(encoding="utf-8"))}
        except (OSError, ValueError) as error:
            _LOG.warning("%s: cannot be read, so windows of late samples stay as they are: %s", self._file, error)
            self._stats.add("store_late_hours_dropped_total", reason="unreadable")
            return set()

    def _save(self) -> None:
        if self._file is None:
            return
        temporary = self._file.with_suffix(".tmp")
        try:
            temporary.write_text(json.dumps(sorted(self._hours | self._making)), encoding="utf-8")
            temporary.rename(self._file)
        except OSError as error:
            _LOG.warning("%s: cannot be written: %s", self._file, error.strerror)
