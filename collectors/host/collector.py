"""Watches the machine it runs on through /proc and /sys."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from coldaisle.errors import Transient
from coldaisle.event import Event
from coldaisle.frame import Sample
from coldaisle.series import Labels, Series, labels
from collectors.host.config import HostConfig
from collectors.host.hwmon import Reading, read_hwmon
from collectors.host.kernel_files import Unreadable, read_text, rows
from collectors.port import Unread

_SECTOR_BYTES = 512  # of /proc/diskstats, whatever the disk's own sectors are
_OCTAL = re.compile(r"\\([0-7]{3})")


class HostCollector:
    """
    CPU, memory, file systems, disks, network interfaces, board sensors and uptime of one machine.

    CPU shares are of the time since the scrape before, so the first scrape has none.
    """

    def __init__(self, config: HostConfig, node: str) -> None:
        self._config, self._node = config, node
        self._skip_disk = re.compile(config.skip_disks)
        self._skip_interface = re.compile(config.skip_interfaces)
        self._ticks: tuple[float, float, float] | None = None  # total, idle, iowait
        self._of_node = labels(node=node)
        self._parts: tuple[Callable[[], Iterator[Reading | Unread]], ...] = (
            self._cpu,
            self._load,
            self._memory,
            self._filesystems,
            self._disks,
            self._interfaces,
            lambda: read_hwmon(config.sys, node),
            self._uptime,
        )

    @property
    def name(self) -> str:
        """``host`` unless configured otherwise."""
        return self._config.name or "host"

    def collect(self, now: int) -> Iterator[Sample | Event | Unread]:
        """Read every part; a part that cannot be read is Unread. Raises Transient where /proc is not there."""
        if not (self._config.proc / "stat").exists():
            raise Transient(f"{self._config.proc}: is no mounted proc file system")
        for part in self._parts:
            try:
                for found in part():
                    if isinstance(found, Unread):
                        yield found
                    else:
                        metric, pairs, value = found
                        yield Sample(Series(metric, pairs), now, value)
            except Unreadable as error:
                yield error.unread

    def close(self) -> None:
        """Hold nothing; safe to call twice."""

    def _labels(self, name: str, value: str) -> Labels:
        return tuple(sorted(((name, value), ("node", self._node))))

    def _cpu(self) -> Iterator[Reading]:
        path = self._config.proc / "stat"
        for words in rows(path):
            if words[0] == "cpu":
                # user nice system idle iowait irq softirq steal; guest time is part of user already.
                ticks = [_number(path, word) for word in words[1:9]]
                if len(ticks) < 5:
                    raise Unreadable(path, "malformed")
                break
        else:
            raise Unreadable(path, "malformed")
        before, self._ticks = self._ticks, (sum(ticks), ticks[3], ticks[4])
        if before is None:
            return
        total, idle, waiting = (new - old for new, old in zip(self._ticks, before, strict=True))
        if total <= 0:
            return
        # The kernel's iowait may go back a little (proc(5)); never below nothing.
        share = max(0.0, waiting) / total
        yield "node_cpu_iowait_ratio", self._of_node, min(1.0, share)
        yield "node_cpu_utilization_ratio", self._of_node, min(1.0, max(0.0, 1.0 - max(0.0, idle) / total - share))

    def _load(self) -> Iterator[Reading]:
        path = self._config.proc / "loadavg"
        for words in rows(path):
            yield "node_load_average", self._of_node, _number(path, words[0])

    def _memory(self) -> Iterator[Reading]:
        path = self._config.proc / "meminfo"
        found = {words[0]: _number(path, words[1]) * 1024 for words in rows(path) if len(words) > 1}
        total, available = found.get("MemTotal:"), found.get("MemAvailable:")
        if total is None or available is None:
            raise Unreadable(path, "malformed")
        yield "node_memory_total_bytes", self._of_node, total
        yield "node_memory_available_bytes", self._of_node, available
        yield "node_memory_used_bytes", self._of_node, max(0.0, total - available)

    def _filesystems(self) -> Iterator[Reading | Unread]:
        seen: set[str] = set()
        for device, mount, kind in self._mounts():
            # A device mounted twice (a bind mount, a container's files) is one file system.
            if kind in self._config.skip_filesystem_types or device in seen:
                continue
            place = self._config.root / mount.lstrip("/")
            try:
                stat = os.statvfs(place)
            except OSError as error:
                yield Unread(str(place), "permission" if isinstance(error, PermissionError) else "input/output")
                continue
            seen.add(device)
            used = stat.f_blocks - stat.f_bfree
            if used + stat.f_bavail > 0:
                # As df does: blocks kept for root are neither used nor free for others.
                pairs = tuple(sorted((("device", device), ("mount", mount), ("node", self._node))))
                yield "node_filesystem_used_ratio", pairs, used / (used + stat.f_bavail)

    def _mounts(self) -> Iterator[tuple[str, str, str]]:
        path = self._config.proc / "1" / "mounts"
        try:
            text = read_text(path)
        except Unreadable:
            # Only root may look at process 1; our own mounts are the next best.
            text = read_text(self._config.proc / "mounts")
        for line in text.splitlines():
            words = line.split(" ")
            if len(words) >= 3:
                device, mount = (_OCTAL.sub(lambda found: chr(int(found[1], 8)), word) for word in words[:2])
                yield device, mount, words[2]

    def _disks(self) -> Iterator[Reading]:
        path = self._config.proc / "diskstats"
        for words in rows(path):
            if len(words) < 13:
                raise Unreadable(path, "malformed")
            if self._skip_disk.fullmatch(words[2]):
                continue
            pairs = self._labels("device", words[2])
            yield "node_disk_read_bytes_total", pairs, _number(path, words[5]) * _SECTOR_BYTES
            yield "node_disk_written_bytes_total", pairs, _number(path, words[9]) * _SECTOR_BYTES
            yield "node_disk_busy_seconds_total", pairs, _number(path, words[12]) / 1e3

    def _interfaces(self) -> Iterator[Reading]:
        path = self._config.proc / "net" / "dev"
        for line in read_text(path).splitlines()[2:]:
            interface, _, rest = line.partition(":")
            interface = interface.strip()
            if self._skip_interface.fullmatch(interface):
                continue
            counts = [_number(path, word) for word in rest.split()]
            if len(counts) < 12:
                raise Unreadable(path, "malformed")
            pairs = self._labels("interface", interface)
            yield "node_network_receive_bytes_total", pairs, counts[0]
            yield "node_network_transmit_bytes_total", pairs, counts[8]
            yield "node_network_receive_errors_total", pairs, counts[2]
            yield "node_network_transmit_errors_total", pairs, counts[10]
            yield "node_network_drops_total", pairs, counts[3] + counts[11]

    def _uptime(self) -> Iterator[Reading]:
        path = self._config.proc / "uptime"
        for words in rows(path):
            yield "node_uptime_seconds", self._of_node, _number(path, words[0])


def _number(path: Path, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise Unreadable(path, "malformed") from error
