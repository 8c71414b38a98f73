"""The systemd units: understood by systemd whole, tightly sandboxed, and starting what the programme offers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

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
    [("coldaisle@score.service", 1.5), ("coldaisle@collect.service", 2.3), ("coldaisle-doctor.service", 1.5)],
)
def test_systemd_rates_the_sandbox_as_tight(machine: Path, unit: str, worst: float) -> None:
    """``systemd-analyze security`` rates exposure from 0 to 10; a unit without a sandbox gets 9.6."""
    done = analyze(machine, "security", "--offline=true", f"--threshold={round(worst * 10)}", unit)
    assert done.returncode == 0, done.stdout[-400:]


def test_a_unit_starts_the_role_that_it_is_named_after() -> None:
    role, doctor = settings("coldaisle@.service"), settings("coldaisle-doctor.service")
    assert role["ExecStart"] == ["/opt/coldaisle/bin/coldaisle run %i --config /etc/coldaisle/coldaisle.toml"]
    assert doctor["ExecStart"] == ["/opt/coldaisle/bin/coldaisle doctor --fix --config /etc/coldaisle/coldaisle.toml"]
    assert role["WantedBy"] == ["coldaisle.target"]
    assert role["PartOf"] == ["coldaisle.target"]
    for unit, name in ((role, "%i"), (doctor, "doctor")):
        assert unit["StateDirectory"] == [f"coldaisle/{name}"]
        assert f"COLDAISLE__STORAGE__FOLDER=%S/coldaisle/{name}" in unit["Environment"]
        assert unit["LoadCredential"] == ["secrets:/etc/coldaisle/secrets"]
        assert unit["DynamicUser"] == ["yes"]


def test_a_role_is_given_time_to_stop_and_is_not_restarted_in_vain() -> None:
    role = settings("coldaisle@.service")
    assert role["KillSignal"] == ["SIGTERM"]
    assert role["TimeoutStopSec"] == ["15"]  # an orderly stop takes ten at most
    assert role["Restart"] == ["on-failure"]
    assert role["RestartPreventExitStatus"] == ["2"]  # the configuration is wrong
    assert role["StartLimitIntervalSec"] == ["0"]
    assert "MemoryMax" in role


def test_only_the_collectors_see_the_hardware() -> None:
    role, collect = settings("coldaisle@.service"), settings("coldaisle@collect.service.d/hardware.conf")
    assert role["PrivateDevices"] == ["yes"]
    assert role["ProcSubset"] == ["pid"]
    assert collect["DevicePolicy"] == ["closed"]
    assert set(collect) <= {*role, "DevicePolicy", "DeviceAllow"}
    assert [each.split()[0] for each in collect["DeviceAllow"] if "nvidia" not in each] == ["/dev/kmsg"]
