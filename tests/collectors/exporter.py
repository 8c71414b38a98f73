"""Starts Debian's prometheus-node-exporter on a free port."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest


@contextmanager
def node_exporter(folder: Path, *options: str) -> Iterator[str]:
    """Yield the address of its page; skips, loudly, where it is not installed."""
    programme = shutil.which("prometheus-node-exporter")
    if programme is None:
        pytest.skip("prometheus-node-exporter is not installed: NOTHING WAS COMPARED WITH IT")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/metrics"
    with (folder / "exporter.log").open("wb") as log:
        command = [programme, f"--web.listen-address=127.0.0.1:{port}", *options]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(url, process, folder / "exporter.log")
            yield url
        finally:
            process.terminate()
            process.wait(10)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise AssertionError(f"{url} never answered: {log.read_text()}")
