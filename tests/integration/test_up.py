"""``coldaisle up`` seen from outside: real exporters in, frames, pages, incidents and webhooks out."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sqlite3
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from tests.collectors.exporter import node_exporter
from tests.integration.listeners import Inbox, Page, exporter, inbox
from tests.integration.programme import ROOT, Running, coldaisle, running, until

pytestmark = pytest.mark.integration

DCGM_PAGE = (ROOT / "collectors" / "prometheus" / "testdata" / "dcgm-exporter.txt").read_text(encoding="utf-8")
KEY = base64.b64encode(b"a secret of thirty-two bytes....").decode()
SAMPLES = "metrics/samples"


def one_gpu(xid: int, temperature: float = 55.0) -> str:
    """A small page of one GPU of node n1."""
    labels = '{gpu="0",UUID="GPU-0001",Hostname="n1"}'
    return "\n".join(
        [
            "# TYPE DCGM_FI_DEV_GPU_TEMP gauge",
            f"DCGM_FI_DEV_GPU_TEMP{labels} {temperature}",
            "# TYPE DCGM_FI_DEV_XID_ERRORS gauge",
            f"DCGM_FI_DEV_XID_ERRORS{labels} {xid}",
            "",
        ]
    )


def write_config(folder: Path, page: Page, box: Inbox, *more: str) -> Path:
    path = folder / "up.toml"
    text = f"""
[serve]
port = 0
[storage]
folder = "data"
flush_seconds = 0.5
[alerts]
group_wait_seconds = 1
refresh_seconds = 1
[[receiver]]
name = "oncall"
url = "{box.url}"
secret = "whsec_{KEY}"
[[collector]]
kind = "prometheus"
name = "dcgm"
url = "{page.url}"
interval_seconds = 0.5
deadline_seconds = 0.5
"""
    path.write_text(text + "\n".join(more), encoding="utf-8")
    return path


def stored_samples(folder: Path) -> int:
    """Read every segment whole; return how many samples they hold."""
    return sum(pq.read_table(path).num_rows for path in (folder / SAMPLES).rglob("*.parquet"))


def test_this_machine_and_two_exporters_become_pages_metrics_and_segments(tmp_path: Path) -> None:
    with node_exporter(tmp_path) as node_url, exporter(DCGM_PAGE) as page, inbox() as box:
        config = write_config(
            tmp_path, page, box,
            '[[collector]]\nkind = "host"\ninterval_seconds = 1\ndeadline_seconds = 1\n',
            f'[[collector]]\nkind = "prometheus"\nname = "node"\nurl = "{node_url}"\n'
            "interval_seconds = 1\ndeadline_seconds = 1\n",
        )  # fmt: skip
        with running("up", "--config", config, cwd=tmp_path) as house:
            assert "host" in house.line
            assert "dcgm" in house.line
            assert house.get("/healthz") == {"status": "ok"}
            assert until(lambda: house.get("/readyz")["status"] == "ready", 10)

            wanted = {"gpu_temperature_celsius", "gpu_power_watts", "node_memory_total_bytes", "node_cpu_seconds_total"}
            until(lambda: wanted <= {row["name"] for row in house.get("/api/v1/metrics")["metrics"]}, 20)

            # Blank sentinels are no temperatures: one of the two GPUs has none.
            found = house.get("/api/v1/series", metric="gpu_temperature_celsius")["series"]
            assert [set(line["values"]) for line in found] == [{61.0}]
            assert found[0]["labels"]["node"] == "gpu-n017"
            both = house.get("/api/v1/series", metric="node_memory_total_bytes", match='collector!="x"')["series"]
            assert both
            assert all(value > 0 for line in both for value in line["values"])

            own = house.text("/metrics")
            for kind in ("host", "dcgm", "node"):
                assert f'collector_scrapes_total{{collector="{kind}"}}' in own, kind
            assert house.get("/api/v1/hall")["hall"] == "hall-1"
            assert "Coldaisle" in house.text("/explore")

            until(lambda: stored_samples(tmp_path / "data") > 0, 10)
            assert until(lambda: page.scrapes > 2, 20)
            scrapes = page.scrapes
            assert house.terminate(within_seconds=10.0) == 0
            assert "Traceback" not in house.err
    assert scrapes > 2
    assert not list((tmp_path / "data").rglob("*.tmp"))
    with sqlite3.connect(tmp_path / "data" / "incidents.sqlite") as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_an_orderly_stop_keeps_every_sample_that_was_scraped(tmp_path: Path) -> None:
    with exporter(one_gpu(0)) as page, inbox() as box:
        config = write_config(tmp_path, page, box)
        config.write_text(config.read_text().replace("flush_seconds = 0.5", "flush_seconds = 3600"))
        with running("up", "--config", config, cwd=tmp_path) as house:
            until(lambda: page.scrapes >= 5, 20)
            assert stored_samples(tmp_path / "data") == 0
            assert house.terminate() == 0
            told = page.scrapes
    times = {
        row["timestamp"]
        for path in (tmp_path / "data" / SAMPLES).rglob("*.parquet")
        for row in pq.read_table(path).to_pylist()
        if row["metric"] == "gpu_temperature_celsius"
    }
    assert len(times) >= told - 1  # the last scrape may have been under way


def an_incident(house: Running) -> dict[str, object]:
    """Wait for the first incident; return it."""
    found: list[dict[str, object]] = until(lambda: house.get("/api/v1/incidents")["incidents"], 30)
    return found[0]


def test_an_xid_becomes_an_incident_that_people_and_programmes_act_on(tmp_path: Path) -> None:
    with exporter(one_gpu(0)) as page, inbox() as box:
        config = write_config(tmp_path, page, box)
        with running("up", "--config", config, cwd=tmp_path) as house:
            until(lambda: page.scrapes >= 3, 20)
            page.text = one_gpu(79)
            incident = an_incident(house)
            assert incident["suspect"] in ("gpu/GPU-0001", "node/n1")
            assert "79" in json.dumps(incident["reasons"])

            # The receiver is told: signed as Standard Webhooks asks, with a link that works.
            opened = until(box.taken, 10)[0]
            assert opened.document["type"] == "incident.opened"
            assert opened.document["data"]["url"] == f"{house.address}/incidents/{incident['id']}"
            assert "Coldaisle" in httpx.get(opened.document["data"]["url"], trust_env=False).text
            content = f"{opened.id}.{opened.headers['webhook-timestamp']}.".encode() + opened.body
            mark = base64.b64encode(hmac.digest(base64.b64decode(KEY), content, hashlib.sha256)).decode()
            assert opened.headers["webhook-signature"] == f"v1,{mark}"

            # The command line sees the same history beside the running house, by configuration and by folder.
            for where in (("--config", config), ("--data", tmp_path / "data")):
                listed = coldaisle("incidents", "list", "--json", *where, cwd=tmp_path)
                assert listed.code == 0, listed.err
                assert [one["id"] for one in json.loads(listed.out)["incidents"]] == [incident["id"]]

            # What is done through the API is told to the receiver too.
            done = house.post(f"/api/v1/incidents/{incident['id']}/acknowledge", {"actor": "ann", "note": "on it"})
            assert done["state"] == "acknowledged"
            kinds = until(lambda: [one.document["type"] for one in box.taken()][1:], 10)
            assert kinds == ["incident.acknowledged"]

            # And what is done on the command line is seen in the API.
            resolved = coldaisle(
                "incidents", "resolve", str(incident["id"])[:8], "--reason", "real", "--as", "bob",
                "--config", config, cwd=tmp_path,
            )  # fmt: skip
            assert resolved.code == 0, resolved.err
            assert house.get(f"/api/v1/incidents/{incident['id']}")["state"] == "resolved"
            again = coldaisle("incidents", "ack", str(incident["id"]), "--config", config, cwd=tmp_path)
            assert again.code == 1
            assert len(again.err.splitlines()) == 1
            assert house.terminate() == 0


def test_an_event_of_the_last_second_before_an_orderly_stop_is_not_forgotten(tmp_path: Path) -> None:
    with exporter(one_gpu(0)) as page, inbox() as box:
        config = write_config(tmp_path, page, box)
        config.write_text(config.read_text().replace("group_wait_seconds = 1", "group_wait_seconds = 60"))
        with running("up", "--config", config, cwd=tmp_path) as house:
            until(lambda: page.scrapes >= 3, 20)
            page.text = one_gpu(79)
            before = page.scrapes
            until(lambda: page.scrapes >= before + 2, 10)
            assert house.get("/api/v1/incidents")["total"] == 0  # it waits for company
            assert house.terminate() == 0
        listed = coldaisle("incidents", "list", "--json", "--config", config, cwd=tmp_path)
        assert [one["state"] for one in json.loads(listed.out)["incidents"]] == ["open"]


def test_a_disk_that_fills_up_is_said_once_and_costs_no_sample(tmp_path: Path, small_disk: Path) -> None:
    with exporter(one_gpu(0)) as page, inbox() as box:
        config = write_config(tmp_path, page, box)
        data = small_disk / "data"
        with running("up", "--config", config, "--data", data, cwd=tmp_path) as house:
            until(lambda: stored_samples(data) > 0, 20)
            ballast = small_disk / "ballast"
            fill(ballast)
            until(lambda: "No space left" in house.err, 20)
            before = page.scrapes
            until(lambda: page.scrapes >= before + 6, 20)
            assert house.get("/healthz") == {"status": "ok"}
            lines = [line for line in house.err.splitlines() if "store has trouble" in line]
            assert len(lines) == 1, house.err
            assert str(data) in lines[0]
            ballast.unlink()
            until(lambda: "store works again" in house.err, 20)
            assert house.terminate() == 0
            assert "Traceback" not in house.err
            told = page.scrapes
        times = {
            row["timestamp"]
            for path in (data / SAMPLES).rglob("*.parquet")
            for row in pq.read_table(path).to_pylist()
            if row["metric"] == "gpu_temperature_celsius"
        }
        assert len(times) >= told - 1


def fill(ballast: Path) -> None:
    """Take what room a disk has left."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


def test_without_a_configuration_it_watches_this_machine(tmp_path: Path) -> None:
    with running("up", "--port", 0, cwd=tmp_path) as house:
        assert house.line.startswith("Coldaisle watches host: http://127.0.0.1:")
        until(lambda: "node_memory_total_bytes" in house.text("/api/v1/metrics"), 20)
        assert house.terminate() == 0
    assert (tmp_path / "data" / "incidents.sqlite").exists()


def test_beyond_loopback_nothing_is_told_without_the_token(tmp_path: Path) -> None:
    token = "correct horse battery staple"
    (tmp_path / "up.toml").write_text('[serve]\nhost = "0.0.0.0"\nport = 0\ntoken = "${TOKEN}"\n')
    with running("up", "--config", "up.toml", "--data", "data", cwd=tmp_path, env={"TOKEN": token}) as house:
        address = house.address.replace("0.0.0.0", "127.0.0.1")
        with httpx.Client(base_url=address, trust_env=False) as client:
            assert client.get("/healthz").status_code == 200
            for path in ("/api/v1/incidents", "/metrics", "/api/v1/openapi.json", "/_dash-layout"):
                assert client.get(path).status_code == 401, path
                wrong = {"authorization": "Bearer wrong horse battery staple"}
                assert client.get(path, headers=wrong).status_code == 401, path
                right = {"authorization": f"Bearer {token}"}
                assert client.get(path, headers=right).status_code == 200, path
            page = client.get("/", headers={"accept": "text/html"})
            assert page.status_code in (302, 303, 307, 401)
            assert client.post("/api/v1/incidents/x/acknowledge", json={}).status_code == 401
        assert token not in house.out + house.err
        assert house.terminate() == 0
