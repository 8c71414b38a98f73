"""Which tests run one after another in one worker: those of a group, else those of a file, which share a set-up."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

FOLDER: pytest.StashKey[Path] = pytest.StashKey()
INPUT = "coldaisle_groups"


class Together(LoadScopeScheduling):  # type: ignore[misc]  # which has no types
    """
    Hand out tests by group and file.

    The scheduler of pytest-xdist 3.8 looks for a group's name in the id of a test, where pytest 9.2 no longer lets it
    be written (its issue 1386): every test would go its own way. Here the workers write the groups into a file.
    """

    def __init__(self, config: pytest.Config, log: Producer, groups: Path) -> None:
        super().__init__(config, log)
        self._file = groups
        self._groups: dict[str, str] | None = None

    def _split_scope(self, nodeid: str) -> str:
        if self._groups is None:  # all workers have collected by now
            self._groups = json.loads(self._file.read_text(encoding="utf-8"))
        return self._groups.get(nodeid) or nodeid.partition("::")[0]


def groups_of(items: list[pytest.Item]) -> dict[str, str]:
    """Return the group of each test that has one."""
    named = {item.nodeid: {str(mark.args[0]) for mark in item.iter_markers("xdist_group")} for item in items}
    return {nodeid: "_".join(sorted(names)) for nodeid, names in named.items() if names}


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    """Tell a worker where to write the groups."""
    node.workerinput[INPUT] = str(_folder(node.config) / "groups.json")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Write the groups, in a worker; all of them write the same."""
    path = getattr(session.config, "workerinput", {}).get(INPUT)
    if path is not None:
        mine = Path(f"{path}.{os.getpid()}")
        mine.write_text(json.dumps(groups_of(session.items)), encoding="utf-8")
        mine.replace(path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together | None:
    """Return the scheduler where tests are to be handed out by groups."""
    if config.getoption("dist") != "loadgroup":
        return None
    return Together(config, log, _folder(config) / "groups.json")


def _folder(config: pytest.Config) -> Path:
    if FOLDER not in config.stash:
        folder = TemporaryDirectory(prefix="coldaisle-tests-")
        config.add_cleanup(folder.cleanup)
        config.stash[FOLDER] = Path(folder.name)
    return config.stash[FOLDER]
