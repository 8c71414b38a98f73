"""The container's files agree with each other and with the programme, checked without a container."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.settings import collectors, read
from coldaisle.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture
def service() -> dict[str, Any]:
    document = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    found: dict[str, Any] = document["services"]["coldaisle"]
    assert set(document["volumes"]) == {"state"}
    return found


def test_every_image_is_pinned(service: dict[str, Any]) -> None:
    assert re.fullmatch(r"coldaisle:\d+\.\d+\.\d+", service["image"])
    assert f'version = "{service["image"].partition(":")[2]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 1
    assert all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)
    assert (ROOT / service["build"]["dockerfile"]).samefile(ROOT / "deploy" / "Dockerfile")
    assert "--require-hashes" in DOCKERFILE


def test_it_may_do_as_little_as_possible(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    user = service["user"].partition(":")[0]
    assert int(user) >= 1000
    assert f"--uid {user} " in DOCKERFILE
    assert f"USER {service['user']}" in DOCKERFILE
    assert "privileged" not in service


def test_its_state_outlives_it_and_belongs_to_its_user(
    service: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDAISLE_TOKEN", "0123456789abcdef")
    folder = str(read(ROOT / "deploy" / "compose.toml").storage.folder)
    assert f"state:{folder}" in service["volumes"]
    assert f"install -d -o coldaisle -g coldaisle {folder}" in DOCKERFILE
    assert service["stop_grace_period"] == "15s"  # an orderly stop takes ten at most


def test_every_file_that_it_mounts_is_there(service: dict[str, Any]) -> None:
    mounted = [volume.split(":") for volume in service["volumes"] if volume.startswith("./")]
    assert mounted
    for source, target, mode in mounted:
        assert (ROOT / source).is_file()
        assert mode == "ro"
        assert target in service["command"]


def test_port_and_health_check_are_those_it_listens_on(
    service: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLDAISLE_TOKEN", "0123456789abcdef")
    serve = read(ROOT / "deploy" / "compose.toml").serve
    assert (serve.host, serve.port) == ("0.0.0.0", 8800)
    assert service["ports"] == [f"127.0.0.1:{serve.port}:{serve.port}"]  # whoever wants more says so
    test = " ".join(service["healthcheck"]["test"])
    assert f"http://127.0.0.1:{serve.port}/healthz" in test
    assert service["healthcheck"]["test"][0] == "CMD"


def test_the_configuration_loads_once_the_token_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "deploy" / "compose.toml"
    monkeypatch.delenv("COLDAISLE_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="the environment has no variable COLDAISLE_TOKEN"):
        read(path)
    monkeypatch.setenv("COLDAISLE_TOKEN", "0123456789abcdef")
    settings = read(path)
    assert settings.serve.token is not None
    assert [each.kind for each in collectors(settings, str(path))] == ["host"]


def test_the_command_of_the_service_is_one_of_ours(service: dict[str, Any]) -> None:
    assert service["command"][:2] == ["up", "--config"]
    assert 'ENTRYPOINT ["coldaisle"]' in DOCKERFILE
