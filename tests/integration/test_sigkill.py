"""``coldaisle up`` killed twenty times at any instant: what anybody was shown is there, and the next start says so."""

from __future__ import annotations

import logging
import random
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from coldaisle.store import IncidentQuery, NotificationState
from coldaisle.store.sql import INCIDENTS_FILE, open_incidents
from tests.integration.listeners import Inbox, Page, exporter, inbox
from tests.integration.programme import Running, launched, until

pytestmark = pytest.mark.integration

KILLS = 20
NODES = 40
CODES = (79, 48, 74, 63, 95, 31, 94)
EXTRA_SERIES = 300
LONGEST_LIFE_SECONDS = 2.0
LONGEST_START_SECONDS = 3.0
NOT_FINISHED = ".0123456789abcdef0123456789abcdef.tmp"


class Fleet:
    """Forty nodes of one GPU; with every scrape the next of them reports another Xid."""

    def __init__(self) -> None:
        self._xids = [0] * NODES
        self._scrapes = 0

    def page(self) -> str:
        self._scrapes += 1
        self._xids[self._scrapes % NODES] = CODES[self._scrapes // NODES % len(CODES)] + 0
        lines = ["# TYPE DCGM_FI_DEV_XID_ERRORS gauge"]
        lines += [
            f'DCGM_FI_DEV_XID_ERRORS{{gpu="0",UUID="GPU-{node:04}",Hostname="n{node:03}"}} {xid}'
            for node, xid in enumerate(self._xids)
        ]
        lines.append("# TYPE shelf_value gauge")
        lines += [f'shelf_value{{shelf="{shelf}"}} {self._scrapes + shelf}' for shelf in range(EXTRA_SERIES)]
        return "\n".join([*lines, ""])


class Witness:
    """Somebody who looks at the API all the time, takes incidents, and remembers what was said."""

    def __init__(self) -> None:
        self.shown: dict[str, dict[str, Any]] = {}
        self.taken: dict[str, str] = {}
        self._chance = random.Random(5)
        self._leaving = threading.Event()

    def watch(self, house: Running) -> threading.Thread:
        self._leaving.clear()
        thread = threading.Thread(target=self._watch, args=(house,), daemon=True)
        thread.start()
        return thread

    def leave(self, thread: threading.Thread) -> None:
        self._leaving.set()
        thread.join(20)
        assert not thread.is_alive()

    def _watch(self, house: Running) -> None:
        while not self._leaving.wait(0.05):
            try:
                self._look(house)
            except httpx.HTTPError:
                continue  # it was killed, does not listen yet, or was faster than we

    def _look(self, house: Running) -> None:
        if not house.address:
            return
        for incident in house.get("/api/v1/incidents", limit=1000)["incidents"]:
            self.shown[incident["id"]] = incident
            if incident["id"] not in self.taken and self._chance.random() < 0.2:
                answer = httpx.post(
                    f"{house.address}/api/v1/incidents/{incident['id']}/acknowledge",
                    json={"actor": "ann", "note": f"mine {incident['id']}"}, timeout=20, trust_env=False,
                )  # fmt: skip
                if answer.status_code == 200:
                    self.taken[incident["id"]] = f"mine {incident['id']}"
            elif incident["state"] == "acknowledged" and self._chance.random() < 0.03:
                house.post(f"/api/v1/incidents/{incident['id']}/resolve", {"actor": "ann", "reason": "real"})


def slowly_and_not_always() -> int:
    """Answer as receivers do: after a while, and one time in ten not well."""
    threading.Event().wait(0.1)
    return 500 if random.random() < 0.1 else 204


def config_of(folder: Path, page: Page, box: Inbox) -> Path:
    path = folder / "up.toml"
    path.write_text(
        f"""
[serve]
port = 0
[storage]
folder = "data"
flush_seconds = 0.1
[alerts]
group_wait_seconds = 0
refresh_seconds = 1
[[receiver]]
name = "oncall"
url = "{box.url}"
[[collector]]
kind = "prometheus"
name = "dcgm"
url = "{page.url}"
interval_seconds = 0.1
deadline_seconds = 0.1
""",
        encoding="utf-8",
    )
    return path


def unfinished(data: Path) -> list[Path]:
    return sorted(data.rglob(".*.tmp"))


def the_disk_is_whole(data: Path) -> int:
    """Check the database and read every segment; return how many samples there are."""
    if (data / INCIDENTS_FILE).exists():
        with closing(sqlite3.connect(data / INCIDENTS_FILE)) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
    return sum(pq.read_table(path).num_rows for path in (data / "metrics" / "samples").rglob("*.parquet"))


def nothing_shown_is_lost(data: Path, witness: Witness, box: Inbox) -> None:
    """Compare the store with what the API and the receiver were shown."""
    if not (data / INCIDENTS_FILE).exists():
        assert not witness.shown
        return
    with closing(open_incidents(data, create=False)) as store:
        kept = {one.id: one for one in store.find(IncidentQuery(limit=100_000))}
        outbox = {one.id: one for one in store.notifications(limit=1_000_000)}
        told = [one.id for one in box.deliveries]
        assert witness.shown.keys() <= kept.keys()
        assert set(told) <= outbox.keys(), "the receiver was told what is not in the outbox"
        assert {one.document["data"]["id"] for one in box.deliveries} <= kept.keys()
        for incident_id, note in witness.taken.items():
            whole = store.get(incident_id)
            assert whole is not None
            assert any(note in line.text for line in whole.timeline), f"{incident_id}: the acknowledgement is lost"
        # Every incident that wants people has its row: opened and written in one transaction.
        opened = {one.incident_id for one in outbox.values() if one.kind == "opened"}
        assert {one.id for one in kept.values() if one.severity.value != "info"} <= opened


@pytest.mark.timeout(600)  # twenty starts of a few seconds each, and this machine may be busy
def test_twenty_kills_lose_nothing_that_was_shown(tmp_path: Path) -> None:
    chance, data = random.Random(11), tmp_path / "data"
    witness, killed_while = Witness(), Counter[str]()
    repairs = again = samples = 0
    planted = False
    with exporter("") as page, inbox() as box:
        page.make = Fleet().page
        box.answer = slowly_and_not_always
        config = config_of(tmp_path, page, box)
        for _ in range(KILLS):
            left = unfinished(data)
            # Half of the kills fall into the start, half into the work; the instant is drawn.
            at_work = chance.random() < 0.6
            with launched("up", "--config", config, cwd=tmp_path) as house:
                looking = witness.watch(house)
                if at_work:
                    house.wait_for_address()
                    threading.Event().wait(chance.uniform(0.0, LONGEST_LIFE_SECONDS))
                else:
                    threading.Event().wait(chance.uniform(0.3, LONGEST_START_SECONDS))
                killed_while["at work" if house.address else "starting"] += 1
                house.kill()
                witness.leave(looking)
                if at_work:
                    assert house.err.count("repaired: ") >= len(left), house.err
                    again += "are sent again" in house.err
                    assert not set(left) & set(unfinished(data))
                    repairs += len(left)
                assert "Traceback" not in house.err
            before, samples = samples, the_disk_is_whole(data)
            assert samples >= before, "a segment that was flushed is gone"
            nothing_shown_is_lost(data, witness, box)
            folder = next((data / "metrics" / "samples").glob("date=*/hour=*"), None)
            if not planted and folder is not None:
                # The instant in which a segment is half-written is short: make sure that it is met.
                (folder / NOT_FINISHED).write_bytes(b"PAR1 half a segment")
                planted = True

        # Left alone, everything that waits is delivered.
        box.answer = lambda: 204
        page.make = None
        folder = next((data / "metrics" / "samples").glob("date=*/hour=*"))
        (folder / NOT_FINISHED).write_bytes(b"PAR1 half a segment")
        with launched("up", "--config", config, cwd=tmp_path) as house:
            house.wait_for_address()
            until(lambda: not house.get("/api/v1/notifications", state="waiting", limit=1000)["notifications"], 60)
            assert house.terminate() == 0
            repairs += "repaired: " in house.err

    nothing_shown_is_lost(data, witness, box)
    with closing(open_incidents(data, create=False)) as store:
        outbox = store.notifications(limit=1_000_000)
    taken = Counter(one.id for one in box.taken())
    assert {one.id for one in outbox if one.state is NotificationState.SENT} == taken.keys()
    assert all(one.state is NotificationState.SENT for one in outbox)
    repeated = sum(count - 1 for count in taken.values())
    bodies = {one.id: one.body for one in box.deliveries}
    assert all(one.body == bodies[one.id] for one in box.deliveries), "one id, two bodies"
    logging.getLogger(__name__).info(
        f"{KILLS} kills ({dict(killed_while)}): {samples} samples kept, {len(witness.shown)} incidents shown, "
        f"{len(witness.taken)} acknowledged, {len(outbox)} notifications, 0 lost, {repeated} repeated with their id, "
        f"{repairs} unfinished segments repaired, {again} times somebody was being told"
    )
    assert len(witness.shown) > 20
    assert repairs >= 1
    assert killed_while["starting"] >= 3
