"""Builds our stand-in for NVIDIA's library, and runs a collector on it in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "collectors" / "nvml" / "testdata" / "stub" / "nvml_stub.c"

# What the process does: a script of steps, so that faults can come between two scrapes.
_PROGRAMME = """
import json, os, sys, time, warnings
from coldaisle.clock import SystemClock
from coldaisle.selfstats import SelfStats
from collectors.nvml.collector import nvml_collector
from collectors.nvml.config import NvmlConfig
from collectors.scrape import attempt
import logging

logged = []
handler = logging.Handler()
handler.emit = lambda record: logged.append(record.getMessage())
logging.getLogger("collectors").addHandler(handler)
logging.getLogger("collectors").setLevel(logging.INFO)
script, config = json.loads(sys.argv[1]), json.loads(sys.argv[2])
clock, stats, scrapes = SystemClock(), SelfStats(), []
collector = nvml_collector(NvmlConfig(**config), "n1", clock, stats)
for step in script:
    if isinstance(step, str):
        with open(os.environ["NVML_STUB"], "w") as file:
            file.write(step)
        continue
    time.sleep(step)
    outcome = attempt(collector, "n1", clock, stats)
    scrapes.append({
        "samples": [[s.series.metric, list(map(list, s.series.labels)), s.value] for s in outcome.frame.samples()],
        "events": [[e.kind, e.code, dict(e.labels)] for e in outcome.events],
        "up": outcome.up, "reason": outcome.reason,
    })
began = clock.now()
collector.close()
collector.close()
print(json.dumps({
    "scrapes": scrapes, "logged": logged, "close_seconds": (clock.now() - began) / 1e9,
    "unread": {dict(pairs)["reason"]: value for name, pairs, value in stats.rows() if name == "collector_unread_total"},
}))
sys.stdout.flush()
os._exit(0)  # a thread that hangs in the library would keep the process
"""


def build(folder: Path, *flags: str) -> Path:
    """Compile the stub into ``folder``; skips, loudly, where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc): NVML IS NOT TESTED")
    library = folder / "libnvidia-ml.so.1"
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-Wl,-soname,libnvidia-ml.so.1"]
    subprocess.run([*command, *flags, "-o", str(library), str(SOURCE)], check=True, timeout=60)
    return folder


def run(library: Path | None, folder: Path, script: list[float | str], **config: Any) -> dict[str, Any]:
    """
    Run ``script`` and return what came of it.

    A text is the stub's new file, a number of seconds is waited and followed by a scrape. ``library`` None: a
    machine without the driver.
    """
    environment = {**os.environ, "NVML_STUB": str(folder / "stub.txt"), "PYTHONPATH": str(ROOT)}
    environment["LD_LIBRARY_PATH"] = str(library) if library is not None else ""
    (folder / "stub.txt").write_text("", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAMME, json.dumps(script), json.dumps(config)],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result
