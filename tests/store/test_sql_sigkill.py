"""A process killed at any instant loses no incident that it has acknowledged, and leaves nothing half-written."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coldaisle.store import IncidentQuery
from coldaisle.store.sql import INCIDENTS_FILE, open_incidents

KILLS = 15
CHILD = """
import sys
from pathlib import Path
from coldaisle.incident import Incident, IncidentState
from coldaisle.severity import Severity
from coldaisle.store import Notification
from coldaisle.store.sql import open_incidents

folder, run = Path(sys.argv[1]), sys.argv[2]
store = open_incidents(folder)
print("open", flush=True)
for number in range(100_000):
    name = f"run-{run}-{number}"
    one = Incident(name, "A fan stands", Severity.PAGE, IncidentState.OPEN, "node/n1", ("node/n1", "psu/p1"), 1, 2, 3,
                   "why " * 500, "do", (), 0.5, ())
    one = store.save(one, [Notification(f"{name}-opened", name, "oncall", "opened", "{}", 1)])
    if number % 3 == 0:
        store.save(one.acknowledged(4, "ann"), [Notification(f"{name}-taken", name, "oncall", "acknowledged", "{}", 4)])
        name += " taken"
    print(name, flush=True)
"""


def killed_after(folder: Path, run: int, seconds: float) -> list[str]:
    """Let a child save incidents, kill it ``seconds`` after its first one; return the lines it finished."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(folder), str(run)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "open\n"
    time.sleep(seconds)  # a real process in real time
    child.send_signal(signal.SIGKILL)
    said = child.stdout.read()
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    return [line for line in said.split("\n")[:-1] if line]


@pytest.mark.integration
def test_every_incident_acknowledged_before_a_sigkill_is_there_with_its_notification(tmp_path: Path) -> None:
    chance = random.Random(3)
    promised: list[str] = []
    for run in range(KILLS):
        promised += killed_after(tmp_path, run, chance.uniform(0.005, 0.4))
    assert len(promised) > KILLS

    store = open_incidents(tmp_path)
    queued = {one.id for one in store.notifications(limit=1_000_000)}
    found = {one.id: one for one in store.find(IncidentQuery(limit=1_000_000))}
    for line in promised:
        name, _, taken = line.partition(" ")
        assert f"{name}-opened" in queued
        assert found[name].version == (2 if taken else 1)
        assert (f"{name}-taken" in queued) == bool(taken)
    for name, one in found.items():  # also those that nobody was told of are whole
        assert f"{name}-opened" in queued
        assert (f"{name}-taken" in queued) == (one.acknowledgement is not None) == (one.version == 2)
    assert store.count(IncidentQuery(text="fan stands")) == store.count(IncidentQuery(entity="p1")) == len(found)
    assert len(queued) == sum(one.version for one in found.values())
    store.close()
    with sqlite3.connect(tmp_path / INCIDENTS_FILE) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
