"""docker-compose.yml: as confined as its comments claim, and in agreement with the programme's own settings."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cli.health_port import PORTS
from cli.settings import Settings, collectors, read
from tests.deployed import CONFIG_IN_CONTAINER, DEPLOY, LONG_RUNNING, ROOT, documents, environment_of, understood

COMPOSE = ROOT / "docker-compose.yml"
SERVERS = ("kafka", "influxdb", "postgres")
_SECRETIVE = re.compile("PASSWORD|TOKEN|SECRET")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return documents(COMPOSE)[0]


@pytest.fixture(scope="module")
def services(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = document["services"]
    return found


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "secrets"
    subprocess.run([DEPLOY / "compose" / "make-secrets.sh", folder], check=True, capture_output=True)
    return folder


def settings_of(
    role: str, document: dict[str, Any], secrets: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """What a role reads: its file, its environment and its secrets, each where the container has it."""
    service = document["services"][role]
    source = ROOT / document["configs"][service["configs"][0]["source"]]["file"]
    place = folder / "coldaisle.toml"
    place.write_text(source.read_text(encoding="utf-8").replace("/run/secrets", str(secrets)), encoding="utf-8")
    for name in [name for name in os.environ if name.startswith("COLDAISLE__")]:
        monkeypatch.delenv(name)
    for name, value in environment_of(service).items():
        monkeypatch.setenv(name, value.replace("/run/secrets", str(secrets)))
    return read(place)


def test_every_service_runs_one_version_and_no_other(services: dict[str, dict[str, Any]]) -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert set(services) == {*SERVERS, "doctor", *LONG_RUNNING}
    for name, service in services.items():
        assert re.fullmatch(r"[a-z/]+:\d+\.\d+(\.\d+)?(-[a-z]+)?", service["image"]), name
        if name not in SERVERS:
            assert service["image"] == f"coldaisle:{version[1]}"
            assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_no_service_may_do_more_than_it_must(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        user, group = service["user"].split(":")
        assert min(int(user), int(group)) > 0, name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert any(place.partition(":")[0] == "/tmp" for place in service["tmpfs"]), name
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}, name
        assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & set(service), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_each_service_has_one_volume_and_shares_it_with_none(document: dict[str, Any]) -> None:
    used: list[str] = []
    for name, service in document["services"].items():
        named = [each for each in service.get("volumes", []) if not each.startswith("/")]
        assert len(named) == (name != "doctor"), name
        assert all(each.endswith(":ro") for each in service.get("volumes", []) if each.startswith("/")), name
        used += [each.partition(":")[0] for each in named]
    assert sorted(used) == sorted(document["volumes"])


def test_what_waits_for_a_service_waits_until_it_is_ready(services: dict[str, dict[str, Any]]) -> None:
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"doctor"}
    assert services["doctor"]["depends_on"] == {name: {"condition": "service_healthy"} for name in SERVERS}
    assert services["doctor"]["restart"] == "no"
    for role in LONG_RUNNING:
        assert services[role]["depends_on"] == {"doctor": {"condition": "service_completed_successfully"}}
        assert services[role]["restart"] == "unless-stopped"
        assert services[role]["stop_grace_period"] == "15s"  # an orderly stop takes ten at most
        assert f"'http://127.0.0.1:{PORTS[role]}/readyz'" in services[role]["healthcheck"]["test"][-1]
        assert services[role]["command"] == ["run", role, "--config", CONFIG_IN_CONTAINER]
        assert [each["target"] for each in services[role]["configs"]] == [CONFIG_IN_CONTAINER]
    for service in services.values():
        if "healthcheck" in service:
            assert set(service["healthcheck"]) > {"test", "interval", "timeout", "retries", "start_period"}


def test_the_servers_cannot_be_reached_from_outside(document: dict[str, Any]) -> None:
    assert document["networks"]["servers"]["internal"] is True
    for name in (*SERVERS, "doctor", "store", "score"):
        assert document["services"][name]["networks"] == ["servers"]
        assert "ports" not in document["services"][name]


def test_no_secret_stands_in_a_file_of_ours(document: dict[str, Any]) -> None:
    for name, service in document["services"].items():
        for key, value in service.get("environment", {}).items():
            if _SECRETIVE.search(key):
                named = re.fullmatch(r"(?:\$\$\{file:)?/run/secrets/([a-z-]+)\}?", value)
                assert named, f"{name}: {key}"
                assert named[1] in service["secrets"], f"{name}: {key}"
    for entry in document["configs"].values():
        text = (ROOT / entry["file"]).read_text(encoding="utf-8")
        for line in text.splitlines():
            if re.match(r"\w*(password|token|secret)\w* =", line):
                assert re.search(r'= "\$\{file:/run/secrets/[a-z-]+\}"$', line), line


def test_the_secrets_are_made_once_and_hidden_from_others(document: dict[str, Any], tmp_path: Path) -> None:
    made = [DEPLOY / "compose" / "make-secrets.sh", tmp_path / "secrets"]
    first = subprocess.run(made, check=True, capture_output=True, text=True).stdout
    assert {Path(each["file"]).name for each in document["secrets"].values()} == {
        path.name for path in (tmp_path / "secrets").iterdir()
    }
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
    contents = {path: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert min(len(text.strip()) for text in contents.values()) == 48
    assert len(set(contents.values())) == len(contents)
    assert not any(text.strip() in first for text in contents.values())
    assert subprocess.run(made, check=True, capture_output=True, text=True).stdout == ""
    assert contents == {path: path.read_text() for path in (tmp_path / "secrets").iterdir()}


@pytest.mark.parametrize("role", LONG_RUNNING)
def test_a_role_reads_its_settings_from_what_its_container_has(
    role: str, document: dict[str, Any], secrets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = document["services"][role]
    settings = settings_of(role, document, secrets, tmp_path, monkeypatch)
    assert settings.bus.kind == "kafka"
    advertised = document["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert [f"PLAINTEXT://{server}" for server in settings.bus.kafka.servers] == [advertised]
    assert f"{role}:{settings.storage.folder}" in service["volumes"]
    if role == "collect":
        assert not service["secrets"]
        assert settings.storage.influx is None
        for entry in collectors(settings, role):
            for key in ("proc", "sys"):
                assert f"/{key}:{getattr(entry.config, key)}:ro" in service["volumes"]
        return
    server = document["services"]["influxdb"]["environment"]
    assert settings.storage.metrics == "influx"
    assert settings.storage.influx is not None
    assert settings.storage.influx.url == "http://influxdb:8086"
    assert settings.storage.influx.org == server["DOCKER_INFLUXDB_INIT_ORG"]
    assert settings.storage.influx.bucket == server["DOCKER_INFLUXDB_INIT_BUCKET"]
    assert settings.storage.influx.token.get_secret_value() == (secrets / "influxdb-token").read_text().strip()
    database = document["services"]["postgres"]["environment"]
    expected = f"postgresql://{database['POSTGRES_USER']}@postgres/{database['POSTGRES_DB']}"
    assert settings.storage.incidents == expected
    assert settings.storage.incidents_password is not None
    password = settings.storage.incidents_password.get_secret_value()
    assert password == (secrets / "postgres-password").read_text().strip()
    published = service.get("ports", [])
    assert published == ([f"127.0.0.1:{settings.serve.port}:{settings.serve.port}"] if role == "serve" else [])
    assert (settings.serve.host == "0.0.0.0") == (role == "serve")


@pytest.mark.integration
@pytest.mark.xdist_group("deploy-check")
def test_composes_own_library_loads_it_and_understands_the_same(
    services: dict[str, dict[str, Any]],
) -> None:
    project = understood("compose", COMPOSE)
    assert set(project["services"]) == set(services)
    for name, service in project["services"].items():
        assert service["user"] == services[name]["user"]
        assert service.get("command") == services[name].get("command")
        assert set(service["networks"]) == set(services[name]["networks"])
        assert int(service["deploy"]["resources"]["limits"]["memory"]) >= 384 << 20
    assert project["services"]["serve"]["environment"]["COLDAISLE__SERVE__TOKEN"] == "${file:/run/secrets/page-token}"
    assert project["services"]["collect"]["environment"]["COLDAISLE__NODE"] == "this-machine"


@pytest.mark.integration
@pytest.mark.xdist_group("deploy-check")
def test_composes_own_library_would_notice_a_word_that_it_does_not_know(tmp_path: Path) -> None:
    bad = tmp_path / "docker-compose.yml"
    bad.write_text("services: {one: {image: 'one:1.0', heathcheck: {test: [CMD, one]}}}\n")
    with pytest.raises(AssertionError, match="heathcheck"):
        understood("compose", bad)
