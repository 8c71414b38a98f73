"""Tests that share what is dear to set up run in one worker, else every worker would set it up again."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.together import INPUT, Together, groups_of, pytest_collection_finish

LISTED: Any = [
    ("tests/a/test_one.py::test_x[1]", ["kafka"]),
    ("tests/a/test_one.py::test_x[2]", []),
    ("tests/a/test_one.py::test_y", []),
    ("tests/b/test_two.py::test_z", ["kafka"]),
    ("tests/b/test_two.py::test_w", ["b", "a"]),
]


@pytest.fixture
def items() -> Any:
    def marks(names: list[str]) -> Any:
        return lambda name: [SimpleNamespace(args=(each,)) for each in names if name == "xdist_group"]

    return [SimpleNamespace(nodeid=nodeid, iter_markers=marks(names)) for nodeid, names in LISTED]


def test_those_of_a_group_go_together_and_all_others_with_their_file(items: Any, tmp_path: Path) -> None:
    path = tmp_path / "groups.json"
    session: Any = SimpleNamespace(items=items, config=SimpleNamespace(workerinput={INPUT: str(path)}))
    pytest_collection_finish(session)
    scheduler: Any = Together.__new__(Together)
    scheduler._file, scheduler._groups = path, None
    assert [scheduler._split_scope(nodeid) for nodeid, _ in LISTED] == [
        "kafka", "tests/a/test_one.py", "tests/a/test_one.py", "kafka", "a_b",
    ]  # fmt: skip


def test_without_workers_no_groups_are_written(items: Any, tmp_path: Path) -> None:
    session: Any = SimpleNamespace(items=items, config=SimpleNamespace())
    pytest_collection_finish(session)
    assert list(tmp_path.iterdir()) == []


def test_this_very_run_hands_out_its_tests_so(request: pytest.FixtureRequest) -> None:
    worker = getattr(request.config, "workerinput", None)  # None: one process runs everything
    written = worker and json.loads(Path(worker[INPUT]).read_text(encoding="utf-8"))
    assert worker is None or written == groups_of(request.session.items)
