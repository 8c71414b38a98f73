from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cli.main import main
from models.artefact import WEIGHTS_FILE, Card, save
from models.registry import Registry

CARD = Card("nhits", "v1", 10, 1, 9, ("gpu_power_watts",), {"encoder": 96}, {"mase": 0.8}, 1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with champion v1 and challenger v2, and a configuration beside it."""
    registry = Registry(tmp_path / "data" / "models")
    for version in ("v1", "v2"):
        save(tmp_path / version, replace(CARD, version=version), {"w": np.ones(3)})
        registry.add(tmp_path / version, 100)
        if version == "v1":
            registry.promote("nhits", "v1", "better than the light one", 101)
    (tmp_path / "c.toml").write_text("", encoding="utf-8")
    return tmp_path


def spoil(data: Path, version: str) -> None:
    (data / "data/models/forecast" / version / WEIGHTS_FILE).write_bytes(b"\x08")


def asked(data: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["models", *words, "--config", str(data / "c.toml")])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_list_says_who_decides_and_who_is_tried(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = asked(data, capsys, "list")
    assert code == 0
    assert "champion   v1" in out
    assert "challenger v2" in out
    assert "mase 0.8" in out


def test_nothing_stored_is_no_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list", "--models", str(tmp_path / "none")]) == 0
    assert "`coldaisle train` makes one" in capsys.readouterr().out


def test_the_list_as_json_holds_what_the_cards_say(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = asked(data, capsys, "list", "forecast", "--json")
    told = json.loads(out)
    assert code == 0
    assert [(one["version"], one["standing"]) for one in told["models"]] == [("v2", "challenger"), ("v1", "champion")]
    assert told["models"][0]["metrics"] == ["gpu_power_watts"]
    assert told["refused"] == []


def test_a_refused_model_is_listed_with_the_reason_and_exit_code_one(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(data, "v2")
    code, out, _ = asked(data, capsys, "list")
    assert code == 1
    assert "challenger v2  refused" in out
    assert f"{WEIGHTS_FILE}: has 1 bytes" in out


def test_show_prints_the_page_and_the_history(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = asked(data, capsys, "show", "forecast")
    assert code == 0
    assert "# nhits v1" in out
    assert "the champion: it decides" in out
    assert "promoted: better than the light one" in out


def test_promote_and_rollback_change_who_decides(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = asked(data, capsys, "promote", "nhits", "v2", "--reason", "October", "--json")
    assert code == 0
    assert json.loads(out)["champion"] == "v2"
    assert json.loads(out)["history"][-1]["reason"] == "October"
    code, out, _ = asked(data, capsys, "rollback", "nhits")
    assert (code, out) == (0, "forecast: champion v1, challenger none\n")


def test_shadow_takes_a_version_or_none(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(data, capsys, "shadow", "nhits", "none")[1] == "forecast: champion v1, challenger none\n"
    assert asked(data, capsys, "shadow", "nhits", "v2")[1] == "forecast: champion v1, challenger v2\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("promote", "nhits", "v9"), "no such model"),
        (("promote", "nhits", "v1"), "champion already"),
        (("promote", "nhits", "../../c"), "names no model"),
        (("show", "isolation_forest"), "no model decides"),
        (("show", "nhits", "v9"), "no such model"),
        (("rollback", "isolation_forest"), "nothing to go back from"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    data: Path, words: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = asked(data, capsys, *words)
    assert code == 2
    assert why in err
    assert err.count("\n") == 1


def findings(data: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]]]:
    code = main(["doctor", "--config", str(data / "c.toml"), "--json"])
    told = json.loads(capsys.readouterr().out)["findings"]
    return code, {one["part"]: (one["severity"], one["text"]) for one in told if one["part"].startswith("model")}


def test_doctor_says_which_model_decides(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert findings(data, capsys) == (0, {"model forecast": ("ok", "v1 decides, learnt from 1 inputs")})


def test_doctor_warns_of_a_spoilt_challenger_and_fails_on_a_spoilt_champion(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(data, "v2")
    code, found = findings(data, capsys)
    assert code == 0
    severity, text = found["model forecast v2 (challenger)"]
    assert severity == "warning"
    assert WEIGHTS_FILE in text
    spoil(data, "v1")
    code, found = findings(data, capsys)
    assert code == 1
    assert found["model forecast v1 (champion)"][0] == "error"
