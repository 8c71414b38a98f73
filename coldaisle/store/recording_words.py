"""What a recording holds beside samples: its files' names, its events and its truth, a JSON object a line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coldaisle.clock import SECOND, parse_rfc3339, rfc3339
from coldaisle.errors import ConfigError
from coldaisle.event import Event
from coldaisle.series import labels_of

SAMPLES = "samples.parquet"
EVENTS = "events.jsonl"
TOPOLOGY = "topology.toml"
TRUTH = "truth.jsonl"

_FRACTION = re.compile(r"\.(\d{1,9})\d*")


@dataclass(frozen=True, slots=True)
class Truth:
    """One fault that is known to have been there; a line of ``truth.jsonl``. Times in Unix ns."""

    id: str
    fault: str
    entity: str
    affected: tuple[str, ...]
    start: int
    end: int | None  # None = it lasted
    severity: str
    full_at: int | None = None  # when a fault that builds up was fully grown; None = it struck at once


def event_to_line(event: Event) -> str:
    """Return ``event`` as a line of ``events.jsonl``."""
    return _dump(
        {
            "kind": event.kind,
            "code": event.code,
            "timestamp": moment(event.timestamp),
            "labels": dict(event.labels),
            "text": event.text,
            "attributes": dict(event.attributes),
        }
    )


def truth_to_line(truth: Truth) -> str:
    """Return ``truth`` as a line of ``truth.jsonl``."""
    return _dump(
        {
            "id": truth.id,
            "fault": truth.fault,
            "entity": truth.entity,
            "affected": list(truth.affected),
            "start": moment(truth.start),
            "end": None if truth.end is None else moment(truth.end),
            "severity": truth.severity,
        }
        | ({} if truth.full_at is None else {"full_at": moment(truth.full_at)})
    )


def read_events(path: Path) -> list[Event]:
    """Return the events of a file, sorted by time. Raises ConfigError that names file, line and field."""
    events = [
        Event(
            kind=line.text("kind"),
            code=line.text("code"),
            timestamp=line.moment("timestamp"),
            labels=labels_of(line.texts("labels").items()),
            text=line.text("text", ""),
            attributes=line.texts("attributes"),
        )
        for line in _lines(path)
    ]
    return sorted(events, key=lambda event: event.timestamp)


def read_truth(path: Path) -> list[Truth]:
    """Return the faults of a file, sorted by their start. Raises ConfigError that names file, line and field."""
    faults = [
        Truth(
            id=line.text("id"),
            fault=line.text("fault"),
            entity=line.text("entity"),
            affected=line.words("affected"),
            start=line.moment("start"),
            end=None if line.missing("end") else line.moment("end"),
            severity=line.text("severity", "page"),
            full_at=None if line.missing("full_at") else line.moment("full_at"),
        )
        for line in _lines(path)
    ]
    return sorted(faults, key=lambda fault: fault.start)


def moment(timestamp: int) -> str:
    """Return ``timestamp`` (ns) as RFC 3339 with as many decimals as it needs, so that none is lost."""
    if timestamp % 1_000_000 == 0:
        return rfc3339(timestamp)
    whole = rfc3339(timestamp - timestamp % SECOND).removesuffix("Z")
    return f"{whole}.{timestamp % SECOND:09d}Z"


def parse_moment(text: str) -> int:
    """Return Unix ns of an RFC 3339 time with up to nine decimals. Raises ValueError."""
    fraction = _FRACTION.search(text)
    if fraction is None:
        return parse_rfc3339(text)
    return parse_rfc3339(text[: fraction.start()] + text[fraction.end() :]) + int(fraction[1].ljust(9, "0"))


def _dump(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _lines(path: Path) -> Iterator[_Line]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    yield _Line(f"{path}: line {number}", text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: {error.reason} at byte {error.start}") from error


class _Line:
    """One JSON object; every complaint names file, line, field and what was expected."""

    def __init__(self, where: str, text: str) -> None:
        self._where = where
        try:
            self._document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{where}: is not JSON: {error}; is the file whole?") from error
        if not isinstance(self._document, dict):
            raise ConfigError(f"{where}: expected a JSON object")

    def missing(self, key: str) -> bool:
        return self._document.get(key) is None

    def text(self, key: str, default: str | None = None) -> str:
        value = self._document.get(key, default)
        if value is None:
            raise ConfigError(f"{self._where}: {key}: is missing; expected a text")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ConfigError(f"{self._where}: {key}: expected a text")
        return str(value)  # a code such as 79 may be written as a number

    def moment(self, key: str) -> int:
        text = self._document.get(key)
        if isinstance(text, str):
            try:
                return parse_moment(text)
            except (ValueError, OverflowError):
                pass  # falls through to the one sentence for every wrong value
        raise ConfigError(f"{self._where}: {key}: is {text!r}; expected a time like 2026-11-22T03:12:00Z")

    def texts(self, key: str) -> dict[str, str]:
        value = self._document.get(key) or {}
        if not isinstance(value, dict) or any(isinstance(each, dict | list) for each in value.values()):
            raise ConfigError(f"{self._where}: {key}: expected an object of texts")
        return {name: each if isinstance(each, str) else json.dumps(each) for name, each in value.items()}

    def words(self, key: str) -> tuple[str, ...]:
        value = self._document.get(key) or []
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ConfigError(f"{self._where}: {key}: expected a list of texts")
        return tuple(value)
