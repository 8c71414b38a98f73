"""Plain words and numbers with units for what people read."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from coldaisle.catalogue import Kind, Metric
from coldaisle.clock import SECOND
from coldaisle.topology import kind_of, name_of

_ACRONYMS = frozenset({"gpu", "cpu", "psu", "pdu", "cdu", "crac", "ecc", "pcie", "sm", "nvlink", "ups", "nic"})
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SYMBOLS = {
    "watts": "W",
    "joules": "J",
    "bytes": "B",
    "hertz": "Hz",
    "bits_per_second": "bit/s",
    "bytes_per_second": "B/s",
}
_PLAIN = {
    "celsius": "°C",
    "volts": "V",
    "amperes": "A",
    "rpm": "rpm",
    "litres_per_minute": "l/min",
    "seconds": "s",
    "lanes": "lanes",
    "percent": "%",
    "rows": "rows",
    "count": "",
    "average": "",
    "generation": "",
}
_KINDS = {"gpu": "GPU", "nic": "NIC", "psu": "power supply", "pdu": "PDU", "ups": "UPS", "crac": "CRAC", "cdu": "CDU"}


def entity_phrase(entity: str) -> str:
    """Return ``GPU GPU-1a2b`` or ``node n017`` for ``kind/name``."""
    kind = kind_of(entity)
    return f"{_KINDS.get(kind, kind)} {name_of(entity)}"


def metric_phrase(row: Metric) -> str:
    """Return the metric's name as words, without its unit: ``GPU core clock``."""
    stem = row.name.removesuffix("_total")
    if row.unit:
        stem = stem.removesuffix("_" + row.unit)
    words = [word.upper() if word in _ACRONYMS else word for word in stem.split("_") if word]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def number(value: float, digits: int = 3) -> str:
    """Return ``value`` with about ``digits`` significant digits and no exponent between 0.001 and 1e6."""
    if not math.isfinite(value):
        return "unknown"
    size = abs(value)
    if size >= 10 ** (digits - 1) and size < 1e6:
        return f"{value:.0f}"
    text = f"{value:.{digits}g}"
    return "0" if text == "-0" else text


def quantity(value: float, row: Metric) -> str:
    """Return ``value`` of metric ``row`` with its unit; a counter's value is a rate a second."""
    if not math.isfinite(value):
        return "unknown"
    unit = row.unit
    if row.kind is Kind.COUNTER:
        if unit == "seconds":
            return f"{number(100 * value)} % of the time"
        if unit == "joules":
            return _prefixed(value, "W")
        if unit == "bytes":
            return _prefixed(value, "B/s")
        return f"{number(value)} {unit} a second".replace("  ", " ")
    if unit == "ratio":
        return f"{number(100 * value)} %"
    if unit == "bool":
        return "yes" if value else "no"
    if unit in _SYMBOLS:
        return _prefixed(value, _SYMBOLS[unit])
    return f"{number(value)} {_PLAIN.get(unit, unit)}".rstrip()


def _prefixed(value: float, symbol: str) -> str:
    for factor, prefix in _PREFIXES:
        if abs(value) >= factor:
            return f"{number(value / factor)} {prefix}{symbol}"
    return f"{number(value)} {symbol}"


def clock_time(timestamp: int) -> str:
    """Return ``02:14:05 UTC`` of Unix nanoseconds."""
    return datetime.fromtimestamp(timestamp // SECOND, UTC).strftime("%H:%M:%S UTC")


def span(seconds: float) -> str:
    """Return ``45 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 120:
        return f"{number(seconds)} s"
    if seconds < 7200:
        return f"{number(seconds / 60, 2)} min"
    return f"{number(seconds / 3600, 2)} h"
