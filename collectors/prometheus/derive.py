"""Builds the catalogue's metrics that an exporter tells in several parts."""

from __future__ import annotations

from collections.abc import Iterator

from coldaisle.clock import SECOND
from coldaisle.frame import Sample
from coldaisle.series import Labels, Series
from collectors.host.config import PSEUDO_FILESYSTEMS
from collectors.prometheus.mapping import DCGM_NVLINK_ERRORS

PARTS = frozenset({
    "node_filesystem_size_bytes", "node_filesystem_free_bytes", "node_filesystem_avail_bytes",
    "node_network_receive_drop_total", "node_network_transmit_drop_total", "node_boot_time_seconds",
    # With the ending that a declared counter is given, and without where the page declares nothing.
    *DCGM_NVLINK_ERRORS, *(f"{name}_total" for name in DCGM_NVLINK_ERRORS),
})  # fmt: skip
"""Names whose samples :func:`derive` wants to see."""


def derive(parts: dict[str, dict[Labels, Sample]]) -> Iterator[Sample]:
    """Yield what follows from ``parts`` (name -> labels -> sample); nothing where a part is missing."""
    yield from _filesystems(parts)
    yield from _drops(parts)
    for sample in parts.get("node_boot_time_seconds", {}).values():
        uptime_seconds = sample.timestamp / SECOND - sample.value
        yield Sample(Series("node_uptime_seconds", sample.series.labels), sample.timestamp, max(0.0, uptime_seconds))
    yield from _nvlink(parts)


def _filesystems(parts: dict[str, dict[Labels, Sample]]) -> Iterator[Sample]:
    free_of, avail_of = parts.get("node_filesystem_free_bytes", {}), parts.get("node_filesystem_avail_bytes", {})
    for labels, size in parts.get("node_filesystem_size_bytes", {}).items():
        free, avail = free_of.get(labels), avail_of.get(labels)
        pairs = dict(labels)
        if free is None or avail is None or pairs.pop("fstype", "") in PSEUDO_FILESYSTEMS:
            continue
        used = size.value - free.value
        if used + avail.value > 0:
            pairs["mount"] = pairs.pop("mountpoint", "")
            series = Series("node_filesystem_used_ratio", tuple(sorted(pairs.items())))
            yield Sample(series, size.timestamp, used / (used + avail.value))


def _drops(parts: dict[str, dict[Labels, Sample]]) -> Iterator[Sample]:
    sent = parts.get("node_network_transmit_drop_total", {})
    for labels, received in parts.get("node_network_receive_drop_total", {}).items():
        other = sent.get(labels)
        if other is not None:
            pairs = tuple(sorted(("interface" if key == "device" else key, value) for key, value in labels))
            total = received.value + other.value
            yield Sample(Series("node_network_drops_total", pairs), received.timestamp, total)


def _nvlink(parts: dict[str, dict[Labels, Sample]]) -> Iterator[Sample]:
    sums: dict[Labels, Sample] = {}
    for name in sorted(PARTS):
        if not name.startswith("DCGM_"):
            continue
        for labels, sample in parts.get(name, {}).items():
            before = sums.get(labels)
            total = sample.value + (before.value if before else 0.0)
            sums[labels] = Sample(Series("gpu_nvlink_errors_total", labels), sample.timestamp, total)
    yield from sums.values()
