"""``coldaisle demo`` seen from outside: how soon it shows its page, what it tells, and what it records."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.listeners import Delivery, inbox
from tests.integration.programme import coldaisle, running, until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("demo")]  # one play for all of them

FIRST_PAGE_WITHIN_SECONDS = 10.0
TRIES = 3  # on a machine that is busy with something else the clock on the wall says little
SMALL = ("--rows", 1, "--racks", 4, "--nodes", 4)
SIMULATED_SECONDS = 420


@dataclass(frozen=True)
class Play:
    """What one headless demo printed, posted and recorded."""

    lines: list[dict[str, Any]]
    deliveries: list[Delivery]
    recording: Path
    err: str


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Play:
    folder = tmp_path_factory.mktemp("demo")
    with inbox() as box:
        done = coldaisle(
            "demo", *SMALL, "--headless", "--json", "--speed", 100, "--duration", SIMULATED_SECONDS, "--port", 0,
            "--record", "recording", "--webhook", box.url, "--data", "data", cwd=folder,
        )  # fmt: skip
        assert done.code == 0, done.err
        return Play([json.loads(line) for line in done.out.splitlines()], box.taken(), folder / "recording", done.err)


def test_the_first_page_shows_within_ten_seconds(tmp_path: Path) -> None:
    seconds = []
    for _ in range(TRIES):
        with running("demo", "--port", 0, cwd=tmp_path) as house:
            assert "1,024 GPUs" in house.line
            assert "Coldaisle" in house.text("/")
            assert house.get("/_dash-layout")
            seconds.append(house.seconds_so_far())
            assert house.terminate(within_seconds=20.0) == 0
        if seconds[-1] <= FIRST_PAGE_WITHIN_SECONDS:
            return
    pytest.fail(f"the first page came after {seconds} s")


def test_a_headless_demo_says_each_incident_once_and_nothing_else(play: Play) -> None:
    assert play.err == ""
    assert {line["type"] for line in play.lines} <= {"incident.opened", "incident.resolved"}
    opened = [line["data"]["id"] for line in play.lines if line["type"] == "incident.opened"]
    assert opened
    assert len(opened) == len(set(opened))
    for line in play.lines:
        assert line["data"]["title"]
        assert line["data"]["recommended_action"]


def test_the_webhook_is_told_of_the_same_incidents(play: Play) -> None:
    opened = {line["data"]["id"] for line in play.lines if line["type"] == "incident.opened"}
    told = {one.document["data"]["id"] for one in play.deliveries if one.document["type"] == "incident.opened"}
    # One that opened in the last moment is in the outbox, and would go out with the next start.
    assert told
    assert told <= opened
    assert all("webhook-signature" not in one.headers for one in play.deliveries)  # it was given no secret
    assert len({one.id for one in play.deliveries}) == len(play.deliveries)


def test_its_recording_plays_again_with_the_same_faults(play: Play, tmp_path: Path) -> None:
    truth = [json.loads(line) for line in (play.recording / "truth.jsonl").read_text().splitlines()]
    assert truth
    done = coldaisle("replay", play.recording, "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.err == ""
    again = json.loads(done.out)
    assert again["recall"] == 1.0
    assert len(again["faults"]) == len(truth)
    assert {row["fault"] for row in again["faults"]} == {row["fault"] for row in truth}
    assert again["samples"] > 0
    assert {line["data"]["suspect"] for line in play.lines} <= {one["suspect"] for one in again["incidents"]}


def test_a_demo_that_keeps_its_data_has_a_history_afterwards(play: Play) -> None:
    listed = coldaisle("incidents", "list", "--json", "--data", play.recording.parent / "data", cwd=play.recording)
    assert listed.code == 0, listed.err
    kept = {one["id"] for one in json.loads(listed.out)["incidents"]}
    assert {line["data"]["id"] for line in play.lines} <= kept


def test_a_demo_that_is_told_to_stop_stops_in_order(tmp_path: Path) -> None:
    with running("demo", *SMALL, "--port", 0, "--speed", 20, "--record", "recording", cwd=tmp_path) as house:
        until(lambda: httpx.get(f"{house.address}/api/v1/hall", trust_env=False).json()["cells"], 20)
        assert house.terminate(within_seconds=20.0) == 0
        assert "Traceback" not in house.err
    assert {path.name for path in tmp_path.iterdir()} == {"recording"}
    assert (tmp_path / "recording" / "samples.parquet").stat().st_size > 0
