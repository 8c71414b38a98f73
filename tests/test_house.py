"""The house keeps its own rules: small files, typed rooms, a licence, and nothing of the machine it was built on."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("coldaisle", "collectors", "pipeline", "models", "dashboard", "cli")
ABOUT_400_LINES = 410
LONGER_FOR_A_REASON = {
    "coldaisle/catalogue.py": "a table: a row for each metric",
}
VAGUE = {"utils", "common", "core", "helpers", "misc", "types", "manager", "base"}
# In two halves, so that this file does not hold what it looks for.
OF_ONE_MACHINE = ("/" + "work/", "/root" + "/", "/home" + "/")


def tracked() -> list[Path]:
    """Every file of the repository."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: its files cannot be told from what lies beside them")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_is_too_long_to_read() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in tracked() if path.suffix == ".py"
    }
    long = {name: lines for name, lines in lengths.items() if lines > ABOUT_400_LINES}
    assert long.keys() - LONGER_FOR_A_REASON.keys() == set(), long
    assert LONGER_FOR_A_REASON.keys() <= lengths.keys()


def test_every_module_says_in_its_first_line_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix == ".py"
        and path.relative_to(ROOT).parts[0] in ROOMS
        and path.name != "__init__.py"
        and not ast.get_docstring(ast.parse(path.read_bytes()))
    ]
    assert silent == []


def test_no_module_has_a_name_that_means_nothing() -> None:
    vague = [path for path in tracked() if path.suffix == ".py" and {path.stem, path.parent.name} & VAGUE]
    assert vague == []


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_tells_its_types(room: str) -> None:
    assert (ROOT / room / "py.typed").is_file()


def test_nothing_names_a_path_of_the_machine_it_was_built_on() -> None:
    found = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" in data:
            continue
        for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), start=1):
            if any(place in line for place in OF_ONE_MACHINE):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


def test_the_licence_is_there_and_is_the_one_that_is_declared() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0" in text
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_every_rule_has_tests_beside_it_and_a_runbook() -> None:
    rules = [path for path in sorted((ROOT / "config" / "rules").glob("*.toml")) if ".test." not in path.name]
    assert rules
    for path in rules:
        assert path.with_name(f"{path.stem}.test.toml").is_file(), path.name
        text = path.read_text(encoding="utf-8")
        books = [line.partition("=")[2].strip().strip('"') for line in text.splitlines() if line.startswith("runbook")]
        assert len(books) == text.count("[[rule]]"), path.name
        assert [book for book in books if not (ROOT / book).is_file()] == []
