"""Which series a store holds: one line each in a file that only grows, so that looking one up reads no sample."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from coldaisle.errors import Transient
from coldaisle.series import Series
from coldaisle.store.recording_writer import sync


class SeriesIndex:
    """
    The series by metric. Written before the segments that need it, so it never lacks one.

    Another process that reads the same folder sees what is added on :meth:`refresh`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_metric: dict[str, dict[Series, None]] = {}
        self._read_bytes = 0

    def metrics(self) -> list[str]:
        """Return the names of all metrics, sorted."""
        return sorted(self._by_metric)

    def of(self, metric: str) -> list[Series]:
        """Return the series of ``metric``, sorted."""
        return sorted(self._by_metric.get(metric, ()))

    def __contains__(self, series: Series) -> bool:
        return series in self._by_metric.get(series.metric, ())

    def refresh(self) -> None:
        """Read the lines that were added since; one that is not whole yet is left for next time."""
        try:
            size = self._path.stat().st_size
            if size < self._read_bytes:  # written anew after a retention
                self._by_metric, self._read_bytes = {}, 0
            if size == self._read_bytes:
                return
            with self._path.open("rb") as file:
                file.seek(self._read_bytes)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        for line in whole.splitlines():
            try:
                metric, pairs = json.loads(line)
                self._note(Series(metric, tuple((name, value) for name, value in pairs)))
            except (ValueError, TypeError):
                continue  # a crash may leave a torn line; the segments still know the series (rebuild)

    def add(self, series: Iterable[Series]) -> None:
        """Write down the series that are new; they are durable on return. Raises Transient."""
        new = [each for each in series if each not in self]
        if not new:
            return
        try:
            fresh = not self._path.exists()
            with self._path.open("ab") as file:
                file.write(_lines(new))
                file.flush()
                os.fsync(file.fileno())
            if fresh:
                sync(self._path.parent)
        except OSError as error:
            raise Transient(f"{self._path}: cannot be written: {error.strerror}") from error
        self.refresh()
        for each in new:
            self._note(each)

    def rewrite(self, series: Iterable[Series]) -> None:
        """Keep only ``series``. Raises Transient."""
        kept = list(series)
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        try:
            temporary.write_bytes(_lines(kept))
            sync(temporary)
            temporary.rename(self._path)
            sync(self._path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise Transient(f"{self._path}: cannot be written: {error.strerror}") from error
        self._by_metric, self._read_bytes = {}, 0
        self.refresh()

    def repair(self) -> str | None:
        """End a torn last line, so that the next one is not lost with it; return what was done."""
        try:
            with self._path.open("rb+") as file:
                data = file.read()
                if not data or data.endswith(b"\n"):
                    return None
                file.truncate(data.rfind(b"\n") + 1)
        except FileNotFoundError:
            return None
        return f"{self._path}: cut a line that was not finished when the last run ended"

    def _note(self, series: Series) -> None:
        self._by_metric.setdefault(series.metric, {})[series] = None


def _lines(series: Iterable[Series]) -> bytes:
    rows = (json.dumps([metric, pairs], ensure_ascii=False, separators=(",", ":")) for metric, pairs in series)
    return "".join(f"{row}\n" for row in rows).encode()
