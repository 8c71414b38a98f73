"""Parses the Prometheus text format 0.0.4, and what OpenMetrics adds to it, fast and line by line."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

Pairs = tuple[tuple[str, str], ...]
"""Label names and values, in the order of the page."""

# Unrolled, so that a long label value costs one step a run and no backtracking.
_QUOTED = r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
_LINE = re.compile(
    r"[ \t]*(?P<head>[a-zA-Z_:][a-zA-Z0-9_:]*[ \t]*(?:\{[^\"}]*(?:" + _QUOTED + r"[^\"}]*)*\})?)"
    r"[ \t]*(?P<value>[^ \t#]+)"
    r"(?:[ \t]+(?P<time>[-+0-9.eE]+))?"
    r"[ \t]*(?P<exemplar>#[ \t]*\{.*)?$"
)
_PAIR = re.compile(r"[ \t]*([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*(" + _QUOTED + r")[ \t]*(?:,|$)")
_PLAIN_PAIR = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="([^"\\\n]*)"(?:,|$)')
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n", "\\": "\\", '"': '"'}
_SHOWN = 80


Row = tuple[str, float, float | None, int]
"""
Head, value, time, line number of one sample line.

The head is the line's text before the value, the same from scrape to scrape. Time is as written: milliseconds
in 0.0.4, seconds in OpenMetrics. A plain tuple, since a page has a hundred thousand of them.
"""


class Bad(NamedTuple):
    """A line that is no sample, and why."""

    line: int
    reason: str


@dataclass(slots=True)
class Page:
    """What is known of a page beside its rows; filled while the rows are read."""

    types: dict[str, str] = field(default_factory=dict)  # family -> counter, gauge, histogram, summary, ...
    bad: list[Bad] = field(default_factory=list)
    openmetrics: bool = False


class Malformed(ValueError):
    """A head that is not a metric with labels."""


def rows(text: str, page: Page, known: Container[str] = ()) -> Iterator[Row]:
    """
    Yield every sample line of ``text``; a malformed line is noted in ``page.bad`` and skipped.

    Labels stay text (:func:`parse_head`), since whoever knows a head from the last scrape need not look again;
    ``known`` heads are not looked at here either.
    """
    page.openmetrics = text.rstrip().endswith("# EOF")
    number = 0
    for line in text.split("\n"):
        number += 1
        if not line or line[0] == "#":
            if line.startswith("# TYPE "):
                words = line.split()
                if len(words) == 4:
                    page.types[words[2]] = words[3]
            continue
        # The plain line: one blank before the value and nothing behind it.
        head, _, text_of_value = line.rpartition(" ")
        if head in known or (head and (head[-1] == "}" or " " not in head) and _complete(head)):
            value = _number(text_of_value)
            if value is not None:
                yield head, value, None, number
                continue
        row = _slow(line, number, page)
        if row is not None:
            yield row


def _number(text: str) -> float | None:
    try:
        # Python reads 1_000 as a number, the format does not.
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _complete(head: str) -> bool:
    """Return whether ``head`` can stand alone: a name, or one brace pair that is not an exemplar's."""
    if head[-1] != "}" or head.count("{") == 1:
        return True
    found = _LINE.match(head + " 0")
    return found is not None and found["head"] == head


def _slow(line: str, number: int, page: Page) -> Row | None:
    if not line.strip():
        return None
    found = _LINE.match(line.rstrip("\r \t"))
    if found is None:
        page.bad.append(Bad(number, f"line {number} is no sample: {line[:_SHOWN]!r}"))
        return None
    value, time = _number(found["value"]), _number(found["time"] or "0")
    if value is None or time is None:
        page.bad.append(Bad(number, f"line {number} has no number: {line[:_SHOWN]!r}"))
        return None
    return found["head"].strip(), value, None if found["time"] is None else time, number


def parse_head(head: str) -> tuple[str, Pairs]:
    """Return the metric's name and labels of ``head``. Raises Malformed."""
    name, brace, rest = head.partition("{")
    name = name.rstrip()
    if not _NAME.fullmatch(name):
        raise Malformed(f"{name[:_SHOWN]!r} is no name of a metric")
    if not brace:
        return name, ()
    inside = rest[: rest.rfind("}")]
    pairs = _PLAIN_PAIR.findall(inside)
    # Every pair has an equals sign and two quotes, and a comma follows all but the last.
    if sum([len(label) + len(value) + 4 for label, value in pairs]) != len(inside) + bool(inside):
        pairs = _careful_pairs(name, inside)
    if len(pairs) > 1 and len(dict(pairs)) != len(pairs):
        raise Malformed(f"labels of {name} repeat")
    return name, tuple(pairs)


def _careful_pairs(name: str, inside: str) -> list[tuple[str, str]]:
    """Read labels with escapes, blanks between them or a comma at the end."""
    pairs: list[tuple[str, str]] = []
    at, end = 0, len(inside.rstrip(" \t,"))
    while at < end:
        found = _PAIR.match(inside, at)
        if found is None:
            raise Malformed(f"labels of {name} are broken at {inside[at : at + _SHOWN]!r}")
        pairs.append((found[1], _ESCAPE.sub(_unescape, found[2][1:-1])))
        at = found.end()
    return pairs


def _unescape(found: re.Match[str]) -> str:
    return _ESCAPED.get(found[1], found[0])
