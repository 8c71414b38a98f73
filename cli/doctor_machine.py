"""What ``coldaisle doctor`` looks at on this machine: folders, room on disks, whom collectors and receivers name."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from cli.settings import Configured, ReceiverConfig, Settings, snapshots_folder, spool_folder
from coldaisle.checkup import Finding
from collectors.host.config import HostConfig
from collectors.prometheus.config import PrometheusConfig

_PATIENCE_SECONDS = 3.0
_AT_ONCE = 16
_LITTLE_BYTES = 1 << 30
_TOO_LITTLE_BYTES = 100 << 20
"""Below this a store stops within minutes; below the former within hours."""


def folders(settings: Settings, fix: bool) -> list[Finding]:
    """Look whether every folder that a role would write can be written and has room; with ``fix`` make it."""
    named = {"storage.folder": settings.storage.folder}
    if settings.bus.kind == "kafka":
        named |= {"snapshots.folder": snapshots_folder(settings), "spool.folder": spool_folder(settings)}
    influx = settings.storage.influx
    if settings.storage.metrics == "influx" and influx is not None and influx.queue.folder is not None:
        named["storage.influx.queue.folder"] = influx.queue.folder
    return [_folder(key, path, fix) for key, path in named.items()]


def _folder(key: str, path: Path, fix: bool) -> Finding:
    part = f"folder {key}"
    if fix and not path.exists():
        try:
            path.mkdir(parents=True)
        except OSError as error:
            return Finding(part, "error", f"{path} cannot be made: {error.strerror}", "make it, or name another")
    there = next((one for one in (path, *path.absolute().parents) if one.exists()), Path("/"))
    if not there.is_dir():
        return Finding(part, "error", f"{there} is no folder", "move it away, or name another")
    if not os.access(there, os.W_OK | os.X_OK):
        remedy = f"give it to the user {_user()}, or name another"
        return Finding(part, "error", f"{there} cannot be written", remedy)
    free = shutil.disk_usage(there).free
    room = f"{path}: {free / (1 << 30):,.1f} GiB free"
    if free < _TOO_LITTLE_BYTES:
        return Finding(part, "error", room, "free some space, or name a folder on another disk")
    if free < _LITTLE_BYTES:
        return Finding(part, "warning", room, "free some space soon")
    return Finding(part, "ok", room if there == path else f"{room}; it is made at the first start")


def collectors_answer(configured: Sequence[Configured]) -> list[Finding]:
    """Look whether what collectors read is there, as far as that costs nothing; none is asked to answer in full."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(_collector, configured))


def _collector(one: Configured) -> Finding:
    kind, config = one
    name = getattr(config, "name", "") or kind
    part = f"collector {name}"
    if isinstance(config, PrometheusConfig):
        address = urlsplit(config.url)
        port = address.port or (443 if address.scheme == "https" else 80)
        shown = f"{address.hostname}:{port}"
        try:
            socket.create_connection((address.hostname or "", port), _PATIENCE_SECONDS).close()
        except OSError as error:
            text = f"nothing answers at {shown}: {error.strerror or error}"
            return Finding(part, "warning", text, "start the exporter, or correct the collector's url")
        return Finding(part, "ok", f"{shown} takes connections")
    if isinstance(config, HostConfig):
        missing = [str(path) for path in (config.proc, config.sys) if not Path(path).is_dir()]
        if missing:
            return Finding(part, "error", f"{missing[0]} is not there", "mount it, or correct proc and sys")
        return Finding(part, "ok", f"reads {config.proc} and {config.sys}")
    return Finding(part, "ok", "configured; whether it answers is known once it runs")


def receivers_are_known(receivers: Sequence[ReceiverConfig]) -> list[Finding]:
    """Look whether the host of each receiver has an address; nothing is sent."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(_receiver, receivers))


def _receiver(one: ReceiverConfig) -> Finding:
    part, host = f"receiver {one.name}", urlsplit(one.url).hostname or ""
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        text = f"the host {host} has no address: {error.strerror or error}"
        return Finding(part, "error", text, "correct its url, or the name service of this machine")
    unsigned = one.secret is None and one.secret_file is None
    if unsigned:
        return Finding(part, "warning", f"{host} has an address, but what it is sent goes unsigned", "set its secret")
    return Finding(part, "ok", f"{host} has an address")


def _user() -> str:
    return f"uid {os.getuid()}"
