"""Events as files of JSON lines by date, each written in one piece."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path

from coldaisle.clock import DAY, rfc3339
from coldaisle.codec import encode_event, event_from_json
from coldaisle.errors import Permanent, Transient
from coldaisle.event import Event
from coldaisle.selfstats import SelfStats
from coldaisle.store.recording_writer import sync
from coldaisle.store.segments import TEMPORARY, reason


class EventFiles:
    """Files below ``date=YYYY-MM-DD/``. The same event written twice is one event."""

    def __init__(self, folder: Path, stats: SelfStats) -> None:
        self._folder = folder
        self._stats = stats

    def write(self, events: Sequence[Event]) -> None:
        """Write ``events``, a file for each day. Raises Transient that names the folder."""
        days: dict[str, list[Event]] = {}
        for event in events:
            days.setdefault(rfc3339(event.timestamp)[:10], []).append(event)
        for day, several in days.items():
            folder = self._folder / f"date={day}"
            name = uuid.uuid4().hex
            temporary = folder / f".{name}{TEMPORARY}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                temporary.write_bytes(b"".join(encode_event(event) + b"\n" for event in several))
                sync(temporary)
                temporary.rename(folder / f"{name}.jsonl")
                sync(folder)
                sync(self._folder)
            except OSError as error:
                temporary.unlink(missing_ok=True)
                raise Transient(f"{self._folder}: events cannot be written: {reason(error)}") from error

    def read(self, start: int, end: int) -> list[Event]:
        """Return the events of [start, end] in no order; a broken line is counted and passed over."""
        found: list[Event] = []
        days = {rfc3339(start)[:10], rfc3339(end)[:10]} if end - start < DAY else None
        for folder in sorted(self._folder.glob("date=*")):
            day = folder.name.removeprefix("date=")
            if not rfc3339(max(start, 0))[:10] <= day <= rfc3339(end)[:10] or (days is not None and day not in days):
                continue
            for path in sorted(folder.glob("*.jsonl")):
                found += self._in_file(path)
        return [event for event in found if start <= event.timestamp <= end]

    def _in_file(self, path: Path) -> list[Event]:
        events: list[Event] = []
        try:
            lines = path.read_bytes().splitlines()
        except OSError as error:
            raise Transient(f"{path}: cannot be read: {reason(error)}") from error
        for line in lines:
            try:
                events.append(event_from_json(json.loads(line)))
            except (ValueError, Permanent):
                self._stats.add("store_events_dropped_total", reason="unreadable")
        return events

    def retain(self, oldest: int) -> None:
        """Delete the days that ended before ``oldest`` (ns)."""
        day = rfc3339(max(oldest, 0))[:10]
        for folder in sorted(self._folder.glob("date=*")):
            if folder.name.removeprefix("date=") < day:
                for path in folder.iterdir():
                    path.unlink(missing_ok=True)
                folder.rmdir()
