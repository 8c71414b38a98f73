"""The platform's metrics about itself."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple

from coldaisle.series import Labels, labels


class Described(NamedTuple):
    """A self-metric: its kind (``counter`` or ``gauge``) and meaning."""

    kind: str
    meaning: str


class SelfStats:
    """
    Counters and gauges of one process, safe to use from any thread.

    Whatever is dropped anywhere is counted here with its ``reason``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[tuple[str, Labels], float] = {}
        self._described: dict[str, Described] = {}

    def describe(self, name: str, kind: str, meaning: str) -> None:
        """Give ``name`` its kind and meaning, shown in the Prometheus text."""
        self._described[name] = Described(kind, meaning)

    def add(self, name: str, amount: float = 1.0, **pairs: str) -> None:
        """Raise the counter ``name`` by ``amount``."""
        key = (name, labels(**pairs))
        with self._lock:
            self._values[key] = self._values.get(key, 0.0) + amount

    def set(self, name: str, value: float, **pairs: str) -> None:
        """Set the gauge ``name``."""
        with self._lock:
            self._values[(name, labels(**pairs))] = value

    def get(self, name: str, **pairs: str) -> float:
        """Return one value; zero where nothing was ever counted."""
        with self._lock:
            return self._values.get((name, labels(**pairs)), 0.0)

    def total(self, name: str) -> float:
        """Return the sum of ``name`` over all its labels."""
        with self._lock:
            return sum(value for (have, _), value in self._values.items() if have == name)

    def rows(self) -> list[tuple[str, Labels, float]]:
        """Return everything, sorted by name and labels."""
        with self._lock:
            return sorted((name, pairs, value) for (name, pairs), value in self._values.items())

    def text(self) -> str:
        """Return everything in the Prometheus text format 0.0.4."""
        return prometheus_text(self.rows(), self._described)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def prometheus_text(rows: Iterable[tuple[str, Labels, float]], described: dict[str, Described]) -> str:
    """Return ``rows``, sorted by name, in the Prometheus text format 0.0.4."""
    lines: list[str] = []
    last = ""
    for name, pairs, value in rows:
        if name != last:
            last = name
            about = described.get(name, Described("counter" if name.endswith("_total") else "gauge", ""))
            if about.meaning:
                lines.append(f"# HELP {name} {about.meaning}")
            lines.append(f"# TYPE {name} {about.kind}")
        inside = ",".join(f'{key}="{_escape(text)}"' for key, text in pairs)
        lines.append(f"{name}{{{inside}}} {value:.17g}" if inside else f"{name} {value:.17g}")
    return "\n".join(lines) + "\n"
