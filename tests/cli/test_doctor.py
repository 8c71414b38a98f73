"""``coldaisle doctor`` on this machine alone: what it finds, how it says so, and that it mends only when asked to."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cli.doctor_machine import folders
from cli.main import main
from cli.settings import read

RECEIVER = '[[receiver]]\nname = "oncall"\nurl = "http://127.0.0.1:1/hook"\n'
SIGNED = f'{RECEIVER}secret = "whsec_{"A" * 32}"\n'


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, threading.excepthook
    yield
    root.handlers[:], threading.excepthook = handlers, hook
    root.setLevel(level)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, on a disk with room."""
    monkeypatch.chdir(tmp_path)
    free(monkeypatch, 50 << 30)
    return tmp_path


def free(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    usage = shutil.disk_usage("/")._replace(free=room)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def config(folder: Path, text: str = "") -> Path:
    path = folder / "c.toml"
    path.write_text(text, encoding="utf-8")
    return path


def looked(path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code, and every finding by its part."""
    code = main(["doctor", "--config", str(path), "--json", *more])
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"ok", "findings"}
    assert document["ok"] == (code == 0)
    for finding in document["findings"]:
        assert set(finding) == {"part", "severity", "text", "remedy", "fixable"}
        assert finding["severity"] in ("ok", "warning", "error")
        assert finding["severity"] == "ok" or finding["remedy"], f"no remedy: {finding}"
    return code, {finding["part"]: finding for finding in document["findings"]}


def test_a_fresh_machine_is_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = looked(config(folder, SIGNED), capsys)
    assert code == 0
    assert list(found) == ["configuration", "folder storage.folder", "receiver oncall"]
    assert {one["severity"] for one in found.values()} == {"ok"}
    assert "1 receivers" in found["configuration"]["text"]
    assert "made at the first start" in found["folder storage.folder"]["text"]


def test_for_people_each_finding_is_a_line_and_the_last_says_how_it_stands(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--config", str(config(folder, SIGNED))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("  ✓ ") for line in lines[:-1])
    assert lines[-1] == "all is well"
    assert main(["doctor", "--config", str(config(folder, RECEIVER))]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("  ! receiver oncall: ")
    assert lines[-2:] == ["      → set its secret", "0 to mend, 1 to look at"]


def test_looking_leaves_everything_as_it_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = config(folder, SIGNED)
    before = {one: one.stat().st_mtime_ns for one in folder.rglob("*")}
    looked(path, capsys)
    assert {one: one.stat().st_mtime_ns for one in folder.rglob("*")} == before


def test_when_asked_to_it_makes_the_folders(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = looked(config(folder, '[storage]\nfolder = "a/b"\n'), capsys, "--fix")
    assert (code, found["folder storage.folder"]["severity"]) == (0, "ok")
    assert (folder / "a" / "b").is_dir()


def test_an_incident_file_is_looked_at_and_brought_up_to_date_when_asked_to(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "incidents.sqlite").touch()
    _, found = looked(config(folder), capsys)
    schema = found["incident store: schema"]
    assert (schema["severity"], schema["fixable"]) == ("warning", True)
    with closing(sqlite3.connect(folder / "data" / "incidents.sqlite")) as raw:
        assert raw.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,), "a look lays no table"
    assert main(["doctor", "--config", str(config(folder))]) == 0
    assert "`coldaisle doctor --fix` mends 1 of them" in capsys.readouterr().out
    code, found = looked(config(folder), capsys, "--fix")
    assert (code, found["incident store: schema"]["severity"]) == (0, "ok")
    assert looked(config(folder), capsys)[1]["incident store: schema"]["severity"] == "ok"


def test_a_folder_that_cannot_be_one_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "data").write_text("a file")
    code, found = looked(config(folder), capsys)
    assert code == 1
    assert found["folder storage.folder"]["text"] == f"{folder / 'data'} is no folder"
    code, found = looked(config(folder, '[storage]\nfolder = "data/deeper"\n'), capsys, "--fix")
    assert code == 1
    assert "cannot be made" in found["folder storage.folder"]["text"]


def test_a_folder_that_may_not_be_written_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    (found,) = folders(read(config(folder)), fix=False)
    assert (found.severity, found.text) == ("error", f"{folder} cannot be written")
    assert f"uid {os.getuid()}" in found.remedy


@pytest.mark.parametrize(("room", "severity", "code"), [(500 << 20, "warning", 0), (50 << 20, "error", 1)])
def test_a_disk_without_room_is_told_before_it_is_full(
    folder: Path, room: int, severity: str, code: int,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    free(monkeypatch, room)
    ended, found = looked(config(folder), capsys)
    assert (ended, found["folder storage.folder"]["severity"]) == (code, severity)


def test_every_folder_of_roles_is_looked_at(folder: Path) -> None:
    text = '[bus]\nkind = "kafka"\n[storage]\nmetrics = "influx"\n'
    text += '[storage.influx]\nurl = "http://i:8086"\norg = "o"\ntoken = "t"\nqueue = { folder = "q" }\n'
    parts = {one.part for one in folders(read(config(folder, text)), fix=False)}
    named = ("storage.folder", "snapshots.folder", "spool.folder", "storage.influx.queue.folder")
    assert parts == {f"folder {key}" for key in named}


def test_collectors_are_looked_at_without_asking_them_in_full(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        '[[collector]]\nkind = "host"\n[[collector]]\nkind = "host"\nname = "elsewhere"\nproc = "/nowhere"\n'
        '[[collector]]\nkind = "prometheus"\nname = "dcgm"\nurl = "http://127.0.0.1:1/metrics"\n'
    )
    code, found = looked(config(folder, text), capsys)
    assert code == 1
    assert found["collector host"]["severity"] == "ok"
    assert found["collector elsewhere"]["text"] == "/nowhere is not there"
    assert found["collector dcgm"]["severity"] == "warning", "an exporter may start later"
    assert "nothing answers at 127.0.0.1:1" in found["collector dcgm"]["text"]


def test_a_receiver_without_an_address_is_an_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = looked(config(folder, SIGNED.replace("127.0.0.1:1", "no-such-host.invalid")), capsys)
    assert code == 1
    assert "no-such-host.invalid has no address" in found["receiver oncall"]["text"]


def test_a_configuration_that_cannot_be_read_ends_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--config", str(folder / "missing.toml")]) == 2
    assert "missing.toml: no such file" in capsys.readouterr().err
