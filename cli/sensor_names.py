"""A sensor's name and unit, as a board writes them, to a metric's name in base units."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from coldaisle.frame import Values


class Unit(NamedTuple):
    """A unit as metrics are named by it: ``value * factor + offset`` is in the unit ``word``."""

    word: str
    factor: float = 1.0
    offset: float = 0.0

    def convert(self, values: Values) -> Values:
        """Return ``values`` in the base unit."""
        if self.factor == 1.0 and self.offset == 0.0:
            return values
        return np.asarray(values * self.factor + self.offset)


_PLAIN = {
    "watts": "w watt watts",
    "celsius": "c °c degc deg_c degrees_c degree_c celsius",
    "rpm": "rpm",
    "volts": "v volt volts",
    "amperes": "a amp amps ampere amperes",
    "percent": "% percent pct",
    "joules": "j joule joules",
    "hertz": "hz hertz",
    "bytes": "b byte bytes",
    "seconds": "s sec second seconds",
    "litres_per_minute": "lpm l/min litres_per_minute liters_per_minute",
    "cubic_feet_per_minute": "cfm",
    "pascals": "pa pascal pascals",
    "ratio": "ratio",
    "count": "count",
}
_SCALED = {
    "mw": Unit("watts", 1e-3),
    "kw": Unit("watts", 1e3),
    "mv": Unit("volts", 1e-3),
    "ma": Unit("amperes", 1e-3),
    "f": Unit("celsius", 5 / 9, -160 / 9),
    "°f": Unit("celsius", 5 / 9, -160 / 9),
    "k": Unit("celsius", 1.0, -273.15),
    "wh": Unit("joules", 3.6e3),
    "kwh": Unit("joules", 3.6e6),
    "khz": Unit("hertz", 1e3),
    "mhz": Unit("hertz", 1e6),
    "ghz": Unit("hertz", 1e9),
    "ms": Unit("seconds", 1e-3),
    "kib": Unit("bytes", 1024.0),
    "mib": Unit("bytes", 1024.0**2),
    "gib": Unit("bytes", 1024.0**3),
    "kpa": Unit("pascals", 1e3),
}
_UNITS = {**{form: Unit(word) for word, forms in _PLAIN.items() for form in forms.split()}, **_SCALED}
_NO_UNIT = frozenset({"", "unspecified", "discrete", "none", "na", "n/a", "unknown", "-"})
_IN_BRACKETS = re.compile(r"^(.*\S)\s*[(\[]([^()\[\]]{1,12})[)\]]$")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")


def unit_of(text: str) -> Unit:
    """Return the base unit that ``text`` means; an unknown one becomes its own word."""
    plain = text.strip().lower()
    if plain in _NO_UNIT:
        return Unit("")
    known = _UNITS.get(plain) or _UNITS.get(plain.replace(" ", "_"))
    return known if known is not None else Unit(slug(plain))


def split_unit(column: str) -> tuple[str, str]:
    """Split ``GPU power (W)`` into the name and the unit; a name without brackets has none."""
    found = _IN_BRACKETS.match(column.strip())
    if found is None or found[2].strip().lower() not in _UNITS:
        return column.strip(), ""
    return found[1], found[2]


def metric_name(sensor: str, unit: Unit) -> str:
    """Return ``sys_power_watts`` for ``Sys Power`` and watts; a unit already there is not doubled."""
    name = slug(sensor) or "sensor"
    if name[0].isdigit():
        name = f"sensor_{name}"
    if not unit.word or name == unit.word or name.endswith(f"_{unit.word}"):
        return name
    return f"{name}_{unit.word}"


def slug(text: str) -> str:
    """Return ``text`` in small letters and digits, everything else as single underscores."""
    return _NOT_SLUG.sub("_", text.lower()).strip("_")
