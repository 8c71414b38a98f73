"""Temperatures and fans of the board's own sensors, with their own critical limits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from coldaisle.series import Labels, labels_of
from collectors.host.kernel_files import Unreadable, read_number, read_text
from collectors.port import Unread

Reading = tuple[str, Labels, float]
"""Metric, labels, value."""

_TEMPERATURE = re.compile(r"temp\d+")
_INPUT = re.compile(r"(temp\d+|fan\d+)_input")
_NOT_A_NAME = re.compile(r"[^a-z0-9:_]+")


def read_hwmon(sys: Path, node: str) -> Iterator[Reading | Unread]:
    """Yield every sensor of ``sys/class/hwmon``; millidegrees become degrees."""
    folder = sys / "class" / "hwmon"
    try:
        chips = sorted(folder.iterdir())
    except FileNotFoundError:
        return  # no board sensors: usual in virtual machines
    except OSError:
        yield Unread(str(folder), "permission")
        return
    for chip in chips:
        # Old drivers keep the sensors one level deeper.
        for place in (chip, chip / "device"):
            yield from _read_chip(place, chip_name(chip), node)


def _read_chip(place: Path, chip: str, node: str) -> Iterator[Reading | Unread]:
    try:
        names = sorted(path.name for path in place.iterdir())
    except OSError:
        return
    for name in names:
        found = _INPUT.fullmatch(name)
        if found is not None:
            yield from _read_sensor(place, found[1], chip, node)


def _read_sensor(place: Path, sensor: str, chip: str, node: str) -> Iterator[Reading | Unread]:
    pairs = [("chip", chip), ("node", node), ("sensor", sensor)]
    with suppress(Unreadable):  # most sensors have no label; the number is their name
        pairs.append(("sensor_name", read_text(place / f"{sensor}_label")))
    labels = labels_of(pairs)
    wanted = [("node_hwmon_fan_speed_rpm", f"{sensor}_input", 1.0)]
    if _TEMPERATURE.fullmatch(sensor):
        wanted = [("node_hwmon_temperature_celsius", f"{sensor}_input", 1e3)]
        if (place / f"{sensor}_crit").exists():
            wanted.append(("node_hwmon_critical_celsius", f"{sensor}_crit", 1e3))
    for metric, file, divisor in wanted:
        try:
            yield metric, labels, read_number(place / file) / divisor
        except Unreadable as error:
            yield error.unread


def chip_name(chip: Path) -> str:
    """
    Return a name that stays the same from boot to boot: bus and device, as node_exporter forms it.

    ``hwmon3`` alone does not, since the kernel numbers chips in the order in which it finds them.
    """
    device = chip / "device"
    if device.exists():
        real = device.resolve()
        kind, name = _clean(real.parent.name), _clean(real.name)
        if kind and name:
            return f"{kind}_{name}"
        if name:
            return name
    try:
        return _clean(read_text(chip / "name"))
    except Unreadable:
        return _clean(chip.resolve().name)


def _clean(text: str) -> str:
    return _NOT_A_NAME.sub("_", text.lower()).strip("_")
