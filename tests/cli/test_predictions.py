"""The command ``coldaisle predictions``, as a person and as a script use it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import main
from coldaisle.store.sql import open_incidents
from tests.dashboard.foretold import predictions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = open_incidents(tmp_path)
    store.save_predictions(list(predictions()))
    store.close()
    return tmp_path


def test_what_is_expected_is_listed_with_its_reasons(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predictions", "list", "--data", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "82%  gpu/n103-gpu5: uncorrectable memory error" in text
    assert "- 48 corrected memory errors in 10 min" in text
    assert "hit" not in text


def test_settled_ones_are_listed_when_asked_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predictions", "list", "--outcome", "miss", "--json", "--data", str(folder)]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    assert {one["outcome"] for one in found} == {"miss"}
    assert len(found) == 3


def test_the_score_is_a_table_by_kind_with_what_was_stated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predictions", "score", "--data", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["KIND", "SETTLED", "HITS", "PRECISION", "LEAD", "OPEN"]
    assert any(line.split()[:5] == ["all", "warnings", "33", "30", "91%"] for line in lines)
    assert any(line.startswith("stated 80% to 90%") for line in lines)


def test_nothing_to_show_is_said_and_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_incidents(tmp_path).close()
    assert main(["predictions", "list", "--data", str(tmp_path)]) == 1
    assert main(["predictions", "score", "--data", str(tmp_path)]) == 1
    assert "nobody has been warned" in capsys.readouterr().out


def test_a_wrong_limit_or_folder_is_two(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predictions", "list", "--limit", "0", "--data", str(folder)]) == 2
    assert main(["predictions", "list", "--data", str(folder / "elsewhere")]) == 2
