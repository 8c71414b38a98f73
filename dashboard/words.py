"""Turns numbers, times and entities into the words that people read."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from coldaisle.catalogue import Kind, metric_of
from coldaisle.clock import SECOND
from coldaisle.topology import Topology, kind_of, name_of

_SYMBOLS = {
    "celsius": "°C",
    "ratio": "%",
    "percent": "%",
    "watts": "W",
    "joules": "J",
    "hertz": "Hz",
    "volts": "V",
    "amperes": "A",
    "bytes": "B",
    "seconds": "s",
    "litres_per_minute": "L/min",
    "bytes_per_second": "B/s",
    "bits_per_second": "bit/s",
    "rpm": "rpm",
    "bool": "",
    "count": "",
    "bitmask": "",
    "average": "",
}
_SCALED = frozenset({"W", "J", "Hz", "B", "B/s", "bit/s", "J/s"})
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_BINARY = ((2.0**40, "Ti"), (2.0**30, "Gi"), (2.0**20, "Mi"), (2.0**10, "Ki"))
_GPU = re.compile(r"(?:\bGPU )?(GPU-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
_UTC_TIME = re.compile(r"(?:(\d{4}-\d{2}-\d{2})[ T])?(\d{2}:\d{2}:\d{2})(?:\.\d+)?(?: UTC|Z)\b")
_PLURALS = {"gpu": ("GPU", "GPUs"), "nic": ("NIC", "NICs"), "psu": ("PSU", "PSUs"), "pdu": ("PDU", "PDUs"),
            "ups": ("UPS", "UPSs"), "crac": ("cooling unit", "cooling units"), "cdu": ("cooling unit", "cooling units"),
            "switch": ("switch", "switches")}  # fmt: skip
_ORDER = ("gpu", "node", "rack", "row", "switch", "port", "nic", "psu", "pdu", "ups", "crac", "cdu", "job", "site")


def scale(unit: str, magnitude: float) -> tuple[float, str]:
    """Return (divisor, symbol) that make ``magnitude`` of base unit ``unit`` readable: 812,000 watts are 812 kW."""
    if unit == "ratio":
        return 0.01, "%"
    symbol = _SYMBOLS.get(unit, unit.replace("_", " "))
    if unit == "hertz" and 1e6 <= abs(magnitude) < 1e10:
        return 1e6, "MHz"  # as clocks of processors are written
    if symbol in _SCALED and math.isfinite(magnitude):
        for factor, prefix in _BINARY if unit == "bytes" else _PREFIXES:
            if abs(magnitude) >= factor:
                return factor, prefix + symbol
    return 1.0, symbol


def number(value: float | None, digits: int = 3) -> str:
    """Return ``value`` with about ``digits`` significant digits and thousands apart; a dash for unknown."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1000 or value == round(value):
        return f"{value:,.0f}"
    decimals = max(0, digits - 1 - math.floor(math.log10(size))) if size > 0 else 0
    text = f"{value:,.{min(decimals, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantity(value: float | None, unit: str) -> str:
    """Return ``value`` with its unit, ``71.2 °C``; ``unknown`` where there is none."""
    if value is None or not math.isfinite(value):
        return "unknown"
    divisor, symbol = scale(unit, value)
    text = number(value / divisor)
    return f"{text} {symbol}" if symbol else text


def unit_of(metric: str) -> str:
    """Return the base unit in which live values of ``metric`` come: a counter comes as its rate."""
    known = metric_of(metric)
    if known.kind is not Kind.COUNTER:
        return known.unit
    rates = {"joules": "watts", "bytes": "bytes_per_second", "seconds": "ratio"}
    return rates.get(known.unit, f"{known.unit or 'count'}/s")


def metric_title(metric: str) -> str:
    """Return ``gpu_memory_temperature_celsius`` as ``GPU memory temperature``."""
    known = metric_of(metric)
    stem = metric.removesuffix("_total")
    if known.unit in _SYMBOLS and stem.endswith("_" + known.unit):
        stem = stem[: -len(known.unit) - 1]
    words = stem.replace("_", " ")
    first, _, rest = words.partition(" ")
    capital = first.upper() if first in ("gpu", "psu", "pdu", "ups", "crac", "cdu", "nic") else first.capitalize()
    for small in ("sm", "pcie", "ecc", "cpu", "nvlink"):
        rest = re.sub(rf"\b{small}\b", {"pcie": "PCIe", "nvlink": "NVLink"}.get(small, small.upper()), rest)
    return f"{capital} {rest}".strip()


def span(nanoseconds: int) -> str:
    """Return a duration as people say it: ``4 min``, ``2 h 10 min``, ``3 d 4 h``."""
    seconds = max(0, nanoseconds) / SECOND
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def zone_of(name: str | None) -> tzinfo:
    """Return the time zone called ``name``; UTC where the browser's name is not known here."""
    if not name or len(name) > 64:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def moment(timestamp: int, zone: tzinfo = UTC) -> datetime:
    """Return ``timestamp`` (ns) in ``zone``."""
    return datetime.fromtimestamp(timestamp / SECOND, UTC).astimezone(zone)


def time_of_day(timestamp: int, zone: tzinfo = UTC) -> str:
    """Return ``02:12:05``."""
    return moment(timestamp, zone).strftime("%H:%M:%S")


def date_and_time(timestamp: int, zone: tzinfo = UTC) -> str:
    """Return ``2026-11-22 02:12``."""
    return moment(timestamp, zone).strftime("%Y-%m-%d %H:%M")


def zone_word(timestamp: int, zone: tzinfo = UTC) -> str:
    """Return the zone's short name at ``timestamp``: ``CET``."""
    return moment(timestamp, zone).tzname() or "UTC"


def utc_hover(timestamp: int) -> str:
    """Return the full time in UTC, shown on hover."""
    return moment(timestamp).strftime("%Y-%m-%d %H:%M:%S UTC")


def plain(text: str, near: int, zone: tzinfo, topology: Topology) -> str:
    """
    Return a sentence of the pipeline as this reader says it: times in their zone, GPUs by place, not by UUID.

    A time without a date is the one nearest to ``near`` (ns).
    """

    def local(found: re.Match[str]) -> str:
        date, clock = found.groups()
        day = date or moment(near).strftime("%Y-%m-%d")
        at = datetime.fromisoformat(f"{day}T{clock}+00:00")
        if date is None:
            away = at - moment(near)
            at -= timedelta(days=round(away / timedelta(days=1)))
        shown = at.astimezone(zone)
        return shown.strftime("%Y-%m-%d %H:%M:%S %Z" if date else "%H:%M:%S %Z")

    return _GPU.sub(lambda found: called(f"gpu/{found.group(1)}", topology), _UTC_TIME.sub(local, text))


def called(entity: str, topology: Topology | None = None) -> str:
    """
    Return an entity as people say it: ``node n017``, ``GPU 5 of n017``, ``cooling unit crac-B``.

    A GPU's UUID is for machines; its index in its node, where the graph knows it, is for people.
    """
    kind, name = kind_of(entity), name_of(entity)
    if kind == "site":
        return "the site" if name == "site" else name
    if kind in ("gpu", "nic", "port", "psu") and ":" in name:
        node, _, part = name.partition(":")
        return f"{_kind_word(kind)} {part} of {node}"
    if kind == "gpu":
        known = topology.get(entity) if topology is not None else None
        if known is not None and known.parent is not None and "index" in known.attributes:
            return f"GPU {known.attributes['index']} of {name_of(known.parent)}"
        return f"GPU {name[:12]}…" if name.startswith("GPU-") and len(name) > 16 else name
    if kind in ("crac", "cdu"):
        return f"cooling unit {name}"
    return name if name.lower().startswith(kind) else f"{_kind_word(kind)} {name}"


def short(entity: str, topology: Topology | None = None) -> str:
    """Return the name alone, where the kind is said beside it: ``n017``, ``n017 GPU 5``."""
    known = topology.get(entity) if topology is not None and kind_of(entity) == "gpu" else None
    if known is not None and known.parent is not None and "index" in known.attributes:
        return f"{name_of(known.parent)} GPU {known.attributes['index']}"
    return name_of(entity) if kind_of(entity) != "gpu" else called(entity)


def _kind_word(kind: str) -> str:
    return _PLURALS.get(kind, (kind, ""))[0]


def counted_things(count: int, one: str, many: str) -> str:
    """Return ``1 rule``, ``3 rules``."""
    return f"{count:,} {one if count == 1 else many}"


def counted(count: int, kind: str) -> str:
    """Return ``1 rack``, ``128 GPUs``."""
    one, many = _PLURALS.get(kind, (kind, f"{kind}s"))
    return f"{count:,} {one if count == 1 else many}"


def reach(entities: Iterable[str]) -> str:
    """Return ``128 GPUs, 16 nodes and 1 CRAC unit`` for a list of entities, the smallest things first."""
    counts = Counter(kind_of(entity) for entity in entities)
    parts = [counted(counts[kind], kind) for kind in _ORDER if counts[kind]][:3]
    if not parts:
        return "nothing named"
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts ``r2`` before ``r10``."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]
