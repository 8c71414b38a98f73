"""Brings lines to InfluxDB; what it refuses is found by halving and handed over with the reason."""

from __future__ import annotations

import gzip
import logging
import re
from collections.abc import Callable
from typing import NamedTuple

from coldaisle.errors import Permanent
from coldaisle.selfstats import SelfStats
from coldaisle.store.influx_server import InfluxServer, RefusedLines, TooLarge, zipped

_LOG = logging.getLogger(__name__)

Reject = Callable[[bytes, str], None]
"""Takes a line that InfluxDB will never accept, and why."""

_DROPPED = re.compile(r"dropped[= ](\d+)")
_TOO_OLD = re.compile("(beyond|outside) retention policy")  # the words differ between releases of InfluxDB 2


class _Refused(NamedTuple):
    line: bytes
    reason: str


class Delivery:
    """Sends batches; ``reject`` is told of every line that was refused, after the rest of its batch was taken."""

    def __init__(self, server: InfluxServer, stats: SelfStats, reject: Reject | None = None) -> None:
        self._server, self._stats, self._reject = server, stats, reject
        self.most_lines = server.config.batch_samples
        stats.describe("store_lines_dropped_total", "counter", "Lines that InfluxDB refused for good, by reason.")

    def send(self, bucket: str, lines: bytes) -> None:
        """Return when InfluxDB has ``lines``. Raises what ``InfluxServer.call`` raises; then send all of them again."""
        try:
            self._write(bucket, lines)
        except (RefusedLines, TooLarge) as error:
            self._settle(self._halved(bucket, lines.splitlines(keepends=True), error))

    def send_zipped(self, bucket: str, body: bytes) -> None:
        """Do the same with gzipped lines."""
        if not self._server.config.gzip:
            self.send(bucket, gzip.decompress(body))
            return
        try:
            self._server.write(bucket, body, zipped=True)
        except (RefusedLines, TooLarge) as error:
            lines = gzip.decompress(body).splitlines(keepends=True)
            self._settle(self._halved(bucket, lines, error))

    def _write(self, bucket: str, lines: bytes) -> None:
        if self._server.config.gzip:
            self._server.write(bucket, zipped(lines), zipped=True)
        else:
            self._server.write(bucket, lines, zipped=False)

    def _halved(self, bucket: str, lines: list[bytes], error: Permanent) -> list[_Refused]:
        """Return the lines that are refused by themselves; about 2 log2(n) requests for each that stands alone."""
        refused: list[_Refused] = []
        waiting: list[tuple[list[bytes], Permanent]] = [(lines, error)]
        while waiting:
            part, why = waiting.pop()
            dropped = _DROPPED.search(str(why)) if isinstance(why, RefusedLines) else None
            if dropped and _TOO_OLD.search(str(why)):
                # InfluxDB took the others. Nothing to keep: it would delete these lines now.
                self._stats.add("store_lines_dropped_total", int(dropped[1]), reason="older than the bucket keeps")
            elif len(part) == 1 or (dropped and int(dropped[1]) == len(part)):
                refused += [_Refused(line, str(why)) for line in part]
            else:
                middle = len(part) // 2
                for half in (part[:middle], part[middle:]):
                    try:
                        self._write(bucket, b"".join(half))
                    except (RefusedLines, TooLarge) as again:
                        waiting.append((half, again))
        return refused

    def _settle(self, refused: list[_Refused]) -> None:
        for line, reason in refused:
            if self._reject is not None:
                self._reject(line.rstrip(b"\n"), reason)
            self._stats.add("store_lines_dropped_total", reason="refused")
        if refused:
            line, reason = refused[0]
            _LOG.warning("InfluxDB refuses %d lines, the first of them %r: %s", len(refused), line[:200], reason)
