"""The systemd units: understood by systemd whole, tightly sandboxed, and starting what the programme offers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from cli.settings import collectors, read
from tests.deployed import DEPLOY, LONG_RUNNING

UNITS = DEPLOY / "systemd"
_SYSTEMS_OWN = Path("/usr/lib/systemd/system")


def settings(name: str) -> dict[str, list[str]]:
    """Every key of a unit with its values, in order."""
    found: dict[str, list[str]] = {}
    for line in (UNITS / name).read_text(encoding="utf-8").splitlines():
        if matched := re.match(r"(\w+)=(.*)", line):
            found.setdefault(matched[1], []).append(matched[2])
    return found


def whole(units: list[str], key: str) -> list[str]:
    """What a key comes to over a unit and its drop-ins; an empty value forgets what stood before."""
    found: list[str] = []
    for unit in units:
        for value in settings(unit).get(key, []):
            found = [*found, value] if value else []
    return found


def analyze(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", f"--root={root}", *words], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The root of a machine on which Coldaisle is installed as docs/deploying.md says."""
    if shutil.which("systemd-analyze") is None or not _SYSTEMS_OWN.is_dir():
        pytest.skip("systemd is not installed (deploy/system-packages.sh): NOBODY CHECKED THE UNITS")
    shutil.copytree(_SYSTEMS_OWN, tmp_path / "usr/lib/systemd/system", symlinks=True)
    shutil.copytree(UNITS, tmp_path / "etc/systemd/system")
    programme = tmp_path / "opt/coldaisle/bin/coldaisle"
    programme.parent.mkdir(parents=True)
    programme.write_text("#!/bin/sh\n")
    programme.chmod(0o755)
    return tmp_path


@pytest.mark.integration
def test_systemd_has_nothing_to_say_against_the_units(machine: Path) -> None:
    names = [f"coldaisle@{role}.service" for role in LONG_RUNNING]
    done = analyze(machine, "verify", "--man=no", *names, "coldaisle-doctor.service", "coldaisle.target")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


@pytest.mark.integration
def test_systemd_would_notice_a_word_that_it_does_not_know(machine: Path) -> None:
    unit = machine / "etc/systemd/system/coldaisle@.service"
    unit.write_text(unit.read_text().replace("NoNewPrivileges=", "NoNewPriviledges="))
    assert "NoNewPriviledges" in analyze(machine, "verify", "--man=no", "coldaisle@score.service").stderr


@pytest.mark.integration
@pytest.mark.parametrize(
    ("unit", "worst"),
    [("coldaisle@score.service", 1.5), ("coldaisle@collect.service", 2.0), ("coldaisle-doctor.service", 1.5)],
)
def test_systemd_rates_the_sandbox_as_tight(machine: Path, unit: str, worst: float) -> None:
    """``systemd-analyze security`` rates exposure from 0 to 10; a unit without a sandbox gets 9.6."""
    done = analyze(machine, "security", "--offline=true", f"--threshold={round(worst * 10)}", unit)
    assert done.returncode == 0, done.stdout[-400:]


def test_a_unit_starts_the_role_that_it_is_named_after() -> None:
    role, doctor = settings("coldaisle@.service"), settings("coldaisle-doctor.service")
    collect = settings("coldaisle@collect.service.d/collect.conf")
    assert role["ExecStart"] == ["/opt/coldaisle/bin/coldaisle run %i --config /etc/coldaisle/coldaisle.toml"]
    assert collect["ExecStart"] == ["", "/opt/coldaisle/bin/coldaisle run %i --config /etc/coldaisle/collect.toml"]
    assert doctor["ExecStart"] == ["/opt/coldaisle/bin/coldaisle doctor --fix --config /etc/coldaisle/coldaisle.toml"]
    assert role["WantedBy"] == ["coldaisle.target"]
    assert role["PartOf"] == ["coldaisle.target"]
    for unit, name in ((role, "%i"), (doctor, "doctor")):
        assert unit["StateDirectory"] == [f"coldaisle/{name}"]
        assert f"COLDAISLE__STORAGE__FOLDER=%S/coldaisle/{name}" in unit["Environment"]
        assert unit["DynamicUser"] == ["yes"]


@pytest.mark.parametrize("name", [*LONG_RUNNING, "doctor"])
def test_a_unit_reads_its_settings_and_only_the_secrets_that_it_needs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = ["coldaisle-doctor.service" if name == "doctor" else "coldaisle@.service"]
    units += [str(path.relative_to(UNITS)) for path in UNITS.glob(f"coldaisle@{name}.service.d/*.conf")]
    given = whole(units, "Environment")
    secrets = [each.split(":") for each in whole(units, "LoadCredential")]
    for secret, source in secrets:
        assert source == f"/etc/coldaisle/secrets/{secret}"
        (tmp_path / secret).write_text(f"the {secret} of this test\n")
    for variable in [each for each in os.environ if each.startswith("COLDAISLE__")]:
        monkeypatch.delenv(variable)
    for line in given:
        variable, _, value = line.partition("=")
        for specifier, stands_for in (("%d", str(tmp_path)), ("%S", "/var/lib"), ("%i", name)):
            value = value.replace(specifier, stands_for)
        monkeypatch.setenv(variable, value)
    command = whole(units, "ExecStart")[-1]
    read_settings = read(UNITS / Path(command.split()[-1]).name)
    assert str(read_settings.storage.folder) == f"/var/lib/coldaisle/{name}"
    assert {secret for secret, _ in secrets} == {
        "collect": {"kafka-password"},
        "serve": {"influxdb-token", "kafka-password", "page-token", "postgres-password"},
    }.get(name, {"influxdb-token", "kafka-password", "postgres-password"})
    assert read_settings.bus.kafka.password is not None
    assert read_settings.bus.kafka.password.get_secret_value() == "the kafka-password of this test"
    assert (read_settings.storage.influx is None) == (name == "collect")
    assert [each.kind for each in collectors(read_settings, name)] == (["host", "nvml"] if name == "collect" else [])


def test_a_role_is_given_time_to_stop_and_is_not_restarted_in_vain() -> None:
    role = settings("coldaisle@.service")
    assert role["KillSignal"] == ["SIGTERM"]
    assert role["TimeoutStopSec"] == ["15"]  # an orderly stop takes ten at most
    assert role["Restart"] == ["on-failure"]
    assert role["RestartPreventExitStatus"] == ["2"]  # the configuration is wrong
    assert role["StartLimitIntervalSec"] == ["0"]
    assert "MemoryMax" in role


def test_only_the_collectors_see_the_hardware() -> None:
    role, collect = settings("coldaisle@.service"), settings("coldaisle@collect.service.d/collect.conf")
    assert role["PrivateDevices"] == ["yes"]
    assert role["ProcSubset"] == ["pid"]
    assert collect["DevicePolicy"] == ["closed"]
    assert set(collect) <= {*role, "DevicePolicy", "DeviceAllow"}
    assert collect["DeviceAllow"] == ["char-nvidia* rw"]
