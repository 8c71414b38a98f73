"""Each role as a process of its own on a real Kafka: from telemetry to an incident, and an orderly end."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.integration.kafka_server import USER, KafkaServer, free_ports
from tests.integration.programme import Running, coldaisle, launched, running, until

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("kafka")]

ROLES = ("store", "score", "alert", "serve", "collect")


def write_config(folder: Path, servers: str, *more: str) -> Path:
    path = folder / "roles.toml"
    text = f"""
[serve]
port = 0
[health]
port = 0
[storage]
folder = "data"
flush_seconds = 0.5
[alerts]
group_wait_seconds = 1
[[collector]]
kind = "simulator"
rows = 1
racks_per_row = 1
nodes_per_rack = 2
step_seconds = 0.5
first_fault_after_seconds = 3
faults = ["gpu_off_bus"]
[bus]
kind = "kafka"
[bus.kafka]
servers = ["{servers}"]
prefix = "{folder.name}."
"""
    topics = "[bus.kafka.topics]\n" + "".join(
        f"{name} = {{ partitions = 2 }}\n" for name in ("frames", "events", "cohorts", "anomalies")
    )
    path.write_text("\n".join([text, *more, topics]), encoding="utf-8")
    return path


def health_of(role: Running) -> str:
    """The address of a role's own port, the last one that it tells."""
    return str(re.findall(r"http://[\w.]+:\d+", role.out)[-1])


def answer(address: str, path: str) -> httpx.Response:
    return httpx.get(address + path, timeout=20, trust_env=False)


def test_a_hall_on_kafka_becomes_an_incident_and_every_role_stops_in_order(
    kafka_server: KafkaServer, tmp_path: Path
) -> None:
    config = write_config(tmp_path, kafka_server.plaintext)
    coldaisle("run", "score", "--config", config, cwd=tmp_path).refused("no topic", "coldaisle doctor --fix")
    found = coldaisle("doctor", "--config", config, "--json", cwd=tmp_path)
    assert found.code == 1, found.err
    missing = [one["part"] for one in json.loads(found.out)["findings"] if one["severity"] == "error"]
    assert f"kafka topic {tmp_path.name}.frames" in missing
    fixed = coldaisle("doctor", "--config", config, "--fix", cwd=tmp_path)
    assert fixed.code == 0, fixed.out
    again = coldaisle("doctor", "--config", config, cwd=tmp_path)
    assert (again.code, again.out.splitlines()[-1]) == (0, "all is well")

    with ExitStack() as stack:
        roles = {role: stack.enter_context(launched("run", role, "--config", config, cwd=tmp_path)) for role in ROLES}
        for name, role in roles.items():
            role.wait_for_address()
            assert role.line.startswith(f"Coldaisle {name}: ")
            until(lambda role=role: answer(health_of(role), "/readyz").status_code == 200, 30)
            assert answer(health_of(role), "/healthz").json() == {"status": "ok", "role": name}
        incidents = until(lambda: roles["serve"].get("/api/v1/incidents")["incidents"], 60)
        assert any("fallen off the bus" in one["title"] for one in incidents), incidents

        serve = roles["serve"]
        until(lambda: serve.get("/api/v1/hall")["cells_total"] == 16, 20)
        until(lambda: serve.get("/api/v1/series", metric="gpu_temperature_celsius")["series"], 20)
        for own in ("store", "score", "alert"):
            lag = f'bus_lag_messages{{group="{own}"'  # looked at every few seconds
            until(lambda own=own, lag=lag: lag in answer(health_of(roles[own]), "/metrics").text, 15)
        until(lambda: 'group_lag_messages{group="score",topic="frames"}' in serve.text("/metrics"), 15)
        assert serve.get("/readyz")["status"] == "ready"

        for name in reversed(ROLES):
            assert roles[name].terminate(within_seconds=10.0) == 0, roles[name].err
            assert "Traceback" not in roles[name].err, roles[name].err
    assert list((tmp_path / "data" / "metrics").rglob("*.parquet"))
    assert list((tmp_path / "data" / "snapshots").glob("*.snapshot"))


def test_a_wrong_password_ends_a_role_with_a_remedy(kafka_server: KafkaServer, tmp_path: Path) -> None:
    config = write_config(
        tmp_path, kafka_server.sasl_tls,
        f'security = "sasl_tls"\nca_file = "{kafka_server.ca_file}"\nuser = "{USER}"\npassword = "canary, not it"\n',
    )  # fmt: skip
    # Which of the two reaches us first, the broker's refusal or its hanging up, is the broker's affair.
    done = coldaisle("run", "store", "--config", config, cwd=tmp_path)
    done.refused("password is wrong", "coldaisle doctor", after="waits for kafka")
    assert "canary" not in done.err


def test_a_role_waits_for_a_broker_that_is_not_there_and_says_so(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    config = write_config(tmp_path, f"127.0.0.1:{port}")
    (tmp_path / "data" / "metrics").mkdir(parents=True)  # else the page waits for that first
    with ExitStack() as stack:
        health: dict[Running, str] = {}
        for name, own in zip(("store", "serve", "score", "alert"), free_ports(4), strict=True):
            command = ("run", name, "--config", config, "--health-port", own, "--log-format", "json")
            health[stack.enter_context(launched(*command, cwd=tmp_path))] = f"http://127.0.0.1:{own}"
        for role, address in health.items():
            until(lambda role=role: "waits for kafka" in role.err, 60)
            assert answer(address, "/healthz").status_code == 200
            ready = answer(address, "/readyz")
            assert ready.status_code == 503
            assert f"127.0.0.1:{port} is away" in next(
                one["reason"] for one in ready.json()["missing"] if one["part"] == "kafka"
            )
            lines = [json.loads(line) for line in role.err.splitlines()]
            assert all({"time", "level", "logger", "role", "message"} <= line.keys() for line in lines)
        for role in health:
            role.process.terminate()  # all at once: none of them waits for another
        for role in health:
            assert role.process.wait(10.0) == 0, role.err


def test_what_is_collected_without_a_broker_waits_on_disk(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    config = write_config(tmp_path, f"127.0.0.1:{port}")
    with running("run", "collect", "--config", config, cwd=tmp_path) as role:
        until(lambda: "waits in the spool" in answer(health_of(role), "/readyz").text, 20)
        until(lambda: list((tmp_path / "data" / "spool").glob("*.spool")), 20)
        assert role.terminate(within_seconds=10.0) == 0, role.err
        assert "Traceback" not in role.err
    assert sum(path.stat().st_size for path in (tmp_path / "data" / "spool").glob("*.spool")) > 1000
