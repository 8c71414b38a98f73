"""Reads and writes the fields of JSON objects; every complaint names the field and what was expected."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from coldaisle.errors import Permanent
from coldaisle.series import Labels, Series, labels_of

T = TypeVar("T")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def labels_to_json(pairs: Labels) -> dict[str, str]:
    """Return labels as an object. Raises Permanent where one is named twice."""
    named = dict(pairs)
    if len(named) != len(pairs):
        raise Permanent(f"labels: one is named twice: {pairs}")
    return named


def number_to_json(value: float | None) -> float | str | None:
    """JSON has no NaN: what is not finite is written as its name, so that nothing is lost."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def number_of(value: Any, where: str) -> float:
    """Return a number, or what stands for one that JSON lacks. Raises Permanent that names ``where``."""
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Permanent(f"{where}: is {shown(value)}; expected a number")
    try:
        return float(value)
    except OverflowError as error:
        raise Permanent(f"{where}: is too large") from error


def integer_of(value: Any, where: str) -> int:
    """Return an integer of 64 bits. Raises Permanent that names ``where``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise Permanent(f"{where}: is {shown(value)}; expected an integer")
    if not -(2**63) <= value < 2**63:
        raise Permanent(f"{where}: does not fit 64 bits")
    return value


def text_of(value: Any, where: str) -> str:
    """Return a text that every store takes. Raises Permanent that names ``where``."""
    if not isinstance(value, str):
        raise Permanent(f"{where}: is {shown(value)}; expected a text")
    # JSON can name half of a pair of UTF-16 units; no store and no socket takes it.
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Permanent(f"{where}: is not valid Unicode")
    return value


def line_of(value: Any, where: str) -> tuple[float | None, ...]:
    """Return numbers, None where there is none. Raises Permanent that names ``where``."""
    if not isinstance(value, list):
        raise Permanent(f"{where}: is {shown(value)}; expected a list of numbers")
    return tuple(None if each is None else number_of(each, where) for each in value)


def shown(value: Any) -> str:
    """Return a value short enough for a complaint."""
    if isinstance(value, list | dict) and value:
        # Its text may be as long as the message, and nested deeper than Python can print.
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


class Fields:
    """Reads one JSON object field by field; every complaint names the field and what was expected."""

    def __init__(self, what: str, document: Any) -> None:
        if not isinstance(document, Mapping):
            raise Permanent(f"{what}: is {shown(document)}; expected a JSON object")
        self._what = what
        self._document = document

    def _get(self, key: str) -> Any:
        if key not in self._document:
            raise Permanent(f"{self._what}: lacks {key!r}")
        return self._document[key]

    def version(self, known: int) -> None:
        """Check the version. Raises Permanent."""
        have = self._get("version")
        if have == known and not isinstance(have, bool):
            return
        newer = isinstance(have, int) and have > known
        who = "a newer Coldaisle wrote it; upgrade this process, then replay it" if newer else "nobody wrote that"
        raise Permanent(f"{self._what}: has version {shown(have)}; this reader knows {known} ({who})")

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text, or ``default`` where it is missing."""
        value = self._get(key) if default is None else self._document.get(key, default)
        return text_of(value, f"{self._what}: {key}")

    def integer(self, key: str) -> int:
        """Return an integer."""
        return integer_of(self._get(key), f"{self._what}: {key}")

    def number(self, key: str) -> float:
        """Return a number."""
        return number_of(self._get(key), f"{self._what}: {key}")

    def maybe_number(self, key: str) -> float | None:
        """Return a number or None."""
        return None if self._document.get(key) is None else self.number(key)

    def maybe_integer(self, key: str) -> int | None:
        """Return an integer or None."""
        return None if self._document.get(key) is None else self.integer(key)

    def items(self, key: str) -> list[Any]:
        """Return a list; a missing one is empty."""
        value = self._document.get(key, [])
        if not isinstance(value, list):
            raise Permanent(f"{self._what}: {key}: is {shown(value)}; expected a list")
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """Return texts."""
        return tuple(text_of(each, f"{self._what}: {key}") for each in self.items(key))

    def line(self, key: str) -> tuple[float | None, ...]:
        """Return numbers, None where there is none."""
        return line_of(self.items(key), f"{self._what}: {key}")

    def object(self, key: str) -> Mapping[str, Any]:
        """Return an object; a missing one is empty."""
        value = self._document.get(key, {})
        if not isinstance(value, dict):
            raise Permanent(f"{self._what}: {key}: is {shown(value)}; expected an object")
        return value

    def texts(self, key: str) -> dict[str, str]:
        """Return an object of texts."""
        where = f"{self._what}: {key}"
        return {text_of(name, where): text_of(value, where) for name, value in self.object(key).items()}

    def labels(self, key: str) -> Labels:
        """Return labels."""
        self._get(key)
        return labels_of(self.texts(key).items())

    def series(self, key: str) -> Series | None:
        """Return a series or None."""
        value = self._document.get(key)
        if value is None:
            return None
        if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
            raise Permanent(f"{self._what}: {key}: is {shown(value)}; expected a metric and its labels")
        metric = text_of(value[0], f"{self._what}: {key}")
        return Series(metric, Fields(f"{self._what}: {key}", {"labels": value[1]}).labels("labels"))

    def as_(self, key: str, kind: Callable[[str], T]) -> T:
        """Return what ``kind`` makes of a text."""
        text = self.text(key)
        try:
            return kind(text)
        except ValueError as error:
            raise Permanent(f"{self._what}: {key}: {shown(text)} is not known") from error
