"""The command ``coldaisle incidents``, as a person and as a script use it."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from cli.incident_text import duration
from cli.main import main
from cli.moments import moment, span
from coldaisle.clock import DAY, HOUR, MINUTE, SECOND, SystemClock
from coldaisle.errors import ConfigError
from coldaisle.incident import Incident, IncidentState
from coldaisle.severity import Severity
from coldaisle.store import IncidentQuery, Notification, NotificationState
from coldaisle.store.sql import open_incidents

NOW = SystemClock().now()


def incident(incident_id: str, hours_ago: int, severity: Severity = Severity.PAGE) -> Incident:
    at = NOW - hours_ago * HOUR
    return Incident(
        id=incident_id,
        title=f"A fan of node n{hours_ago:03} stands still and its GPUs warm towards their slowdown temperature",
        severity=severity,
        state=IncidentState.OPEN,
        suspect=f"node/n{hours_ago:03}",
        entities=(f"node/n{hours_ago:03}", *(f"gpu/GPU-{number}" for number in range(8))),
        started_at=at,
        opened_at=at + MINUTE,
        updated_at=at + MINUTE,
        explanation="Fan 3 reads 0 rpm for 60 s while the others read 9,200 rpm. " * 3,
        recommended_action="Swap fan 3; the node may stay on.",
        reasons=("fan 3: 0 rpm",),
        confidence=0.9,
        alerts=(),
        runbook="docs/runbooks/fan.md",
    ).noted(at + MINUTE, "opened", "one alert")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three incidents: 1, 5 and 50 hours old."""
    with_mail = Notification(
        "m1", "abc11111", "oncall", "opened", "{}", NOW, NotificationState.DEAD, 3, last_error="404"
    )
    store = open_incidents(tmp_path)
    store.save(incident("abc11111", 1), [with_mail])
    store.save(incident("abc22222", 5, Severity.TICKET))
    store.save(incident("def33333", 50))
    store.close()
    monkeypatch.setenv("COLDAISLE_STATE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    return tmp_path


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["incidents", *words])
    out, err = capsys.readouterr()
    return code, out, err


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    _, out, _ = asked(capsys, "list", "--json", *words)
    return [one["id"] for one in json.loads(out)["incidents"]]


def test_the_list_is_aligned_and_keeps_to_the_width(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = asked(capsys, "list")
    lines = out.splitlines()
    assert code == 0
    assert [line[:8].strip() for line in lines] == ["ID", "abc11111", "abc22222", "def33333"]
    assert all(len(line) <= 100 for line in lines)
    assert {line.index("A fan") for line in lines[1:]} == {lines[0].index("WHAT")}
    assert "2 d ago" in lines[3]


def test_filters_narrow_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys) == ["abc11111", "abc22222", "def33333"]
    assert listed(capsys, "--severity", "ticket") == ["abc22222"]
    assert listed(capsys, "--severity", "ticket", "--severity", "page", "--limit", "2") == ["abc11111", "abc22222"]
    assert listed(capsys, "--entity", "n005") == ["abc22222"]
    assert listed(capsys, "--text", "STANDS n050") == ["def33333"]
    assert listed(capsys, "--until", "4h") == ["abc22222", "def33333"]
    assert listed(capsys, "--state", "resolved") == []


def test_nothing_found_is_exit_code_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, "list", "--text", "quench") == (1, "", "no incident found\n")
    assert asked(capsys, "show", "zzz")[0] == 1
    assert asked(capsys, "show", "abc")[0] == 1  # two begin so


def test_the_total_counts_beyond_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(asked(capsys, "list", "--json", "--limit", "1")[1])["total"] == 3
    assert "1 of 3 incidents" in asked(capsys, "list", "--limit", "1")[1]


def test_show_tells_the_whole_story(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = asked(capsys, "show", "abc1")
    assert code == 0
    assert all(len(line) <= 100 for line in out.splitlines())
    for part in (
        "What to do\n  Swap fan 3",
        "Runbook: docs/runbooks/fan.md",
        "Why we believe it",
        "- fan 3: 0 rpm",
        "Reach: 1 node, 8 GPUs",
        "one alert",
        "opened to oncall: given up after 3 tries: 404",
    ):
        assert part in out


def test_a_name_from_telemetry_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    store = open_incidents(folder)
    one = incident("evil", 2)
    store.save(Incident(**{name: getattr(one, name) for name in one.__slots__} | {"title": "\x1b[2Jgone\nnext"}))
    store.close()
    assert "\x1b" not in asked(capsys, "list")[1] + asked(capsys, "show", "evil")[1]


def test_an_incident_is_taken_given_back_closed_and_opened_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(capsys, "ack", "abc1", "--as", "ann", "--for", "4h") == (0, "abc11111: ann has it\n", "")
    shown = json.loads(asked(capsys, "show", "abc1", "--json")[1])
    assert (shown["state"], shown["acknowledgement"]["actor"]) == ("acknowledged", "ann")
    assert shown["acknowledgement"]["expires_at"] is not None
    assert asked(capsys, "unack", "abc1", "--as", "ann")[0] == 0
    assert asked(capsys, "unack", "abc1")[0] == 1
    code, out, _ = asked(capsys, "resolve", "abc1", "--reason", "noise", "--note", "a cable", "--json")
    assert (code, json.loads(out)["resolve_reason"]) == (0, "noise")
    code, out, err = asked(capsys, "resolve", "abc1")
    assert (code, out) == (1, "")
    assert "is resolved already" in err
    assert asked(capsys, "reopen", "abc1", "--as", "ben")[0] == 0
    timeline = json.loads(asked(capsys, "show", "abc1", "--json")[1])["timeline"]
    assert [entry["kind"] for entry in timeline] == ["opened", "acknowledged", "unacknowledged", "resolved", "reopened"]
    assert timeline[-1]["actor"] == "ben"


def test_what_people_do_is_told_to_those_who_were_told_before(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    for words in (("ack", "abc1", "--as", "ann"), ("unack", "abc1"), ("resolve", "abc1"), ("reopen", "abc1")):
        assert asked(capsys, *words)[0] == 0
    assert asked(capsys, "ack", "def")[0] == 0  # of this one nobody was told
    store = open_incidents(folder)
    told = [(one.incident_id, one.receiver, one.kind, one.state) for one in reversed(store.notifications())]
    store.close()
    assert told[1:] == [
        ("abc11111", "oncall", kind, NotificationState.WAITING) for kind in ("acknowledged", "resolved", "reopened")
    ]


def test_with_settings_what_people_do_is_told_to_the_receivers_that_want_its_severity(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    config = folder / "up.toml"
    config.write_text(
        """
[storage]
folder = "."
[[receiver]]
name = "pager"
url = "http://127.0.0.1:9/"
severities = ["page"]
[[receiver]]
name = "chat"
url = "http://127.0.0.1:9/"
"""
    )
    assert asked(capsys, "resolve", "abc1", "--config", str(config), "--as", "ann")[0] == 0
    assert asked(capsys, "resolve", "abc2", "--config", str(config), "--as", "ann")[0] == 0
    store = open_incidents(folder)
    told = {(one.incident_id, one.receiver, one.kind) for one in store.notifications() if one.kind != "opened"}
    body = json.loads(store.notifications()[0].body)
    store.close()
    assert told == {
        ("abc11111", "pager", "resolved"), ("abc11111", "chat", "resolved"), ("abc22222", "chat", "resolved"),
    }  # fmt: skip
    assert (body["type"], body["data"]["state"]) == ("incident.resolved", "resolved")


def test_export_writes_json_lines_and_csv(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    lines = asked(capsys, "export")[1].splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["abc11111", "abc22222", "def33333"]
    path = folder / "out.csv"
    code, out, _ = asked(capsys, "export", "--format", "csv", "-o", str(path), "--since", "300d", "--limit", "2")
    assert (code, out) == (0, f"2 incidents written to {path}\n")
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert [row["suspect"] for row in rows] == ["node/n001", "node/n005"]
    assert sorted(one.name for one in folder.glob("*out*")) == ["out.csv"]


def test_a_cell_of_the_export_is_never_a_formula(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    store = open_incidents(folder)
    one = incident("evil", 2)
    store.save(Incident(**{name: getattr(one, name) for name in one.__slots__} | {"title": "=cmd()"}))
    store.close()
    assert ",'=cmd()," in asked(capsys, "export", "--format", "csv")[1]


def test_an_export_that_cannot_be_written_says_so(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    code, _, err = asked(capsys, "export", "-o", str(folder / "no" / "x.jsonl"))
    assert (code, "cannot be written" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["list", "--since", "yesterday"], "--since 'yesterday' is not a time"),
        (["list", "--limit", "0"], "--limit 0"),
        (["ack", "abc1", "--for", "soon"], "--for 'soon' is not a span"),
        (["list", "--data", "/nowhere"], "/nowhere/incidents.sqlite: no such file"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_two(
    capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    code, out, err = asked(capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err


def test_looking_at_a_folder_without_incidents_makes_none(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    empty = folder / "empty"
    empty.mkdir()
    assert asked(capsys, "list", "--data", str(empty))[0] == 2
    assert list(empty.iterdir()) == []


def test_an_acknowledgement_is_kept_in_the_audit(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    asked(capsys, "ack", "def", "--as", "ann", "--note", "on my way")
    store = open_incidents(folder)
    assert [(entry.actor, entry.action, entry.text) for entry in store.audit()] == [
        ("ann", "acknowledged", "on my way")
    ]
    assert store.count(IncidentQuery(states=(IncidentState.ACKNOWLEDGED,))) == 1
    store.close()


def test_times_are_read_as_people_write_them() -> None:
    now = 1_790_000_000 * SECOND
    assert [now - moment(text, now, "x") for text in ("90s", "15m", "2h", "3d", "1w", "1.5 h")] == [
        90 * SECOND, 15 * MINUTE, 2 * HOUR, 3 * DAY, 7 * DAY, 90 * MINUTE,
    ]  # fmt: skip
    assert moment("2026-09-21T14:13:20Z", now, "x") == moment("2026-09-21T16:13:20+02:00", now, "x") == now
    for text in ("", "h", "-2h", "2y", "9999999999w", "2026-13-01"):
        with pytest.raises(ConfigError, match="--since"):
            moment(text, now, "--since")
    with pytest.raises(ConfigError, match="--for"):
        span("2026-11-22", "--for")


def test_spans_are_written_in_two_units_at_most() -> None:
    spans = (0, 59 * SECOND, 3 * MINUTE, 125 * MINUTE, 3 * DAY + 4 * HOUR)
    assert [duration(one) for one in spans] == ["0 s", "59 s", "3 min", "2 h 05 min", "3 d 4 h"]
