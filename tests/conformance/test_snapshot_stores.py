"""Every store of snapshots must pass every check. A new store only adds itself to STORES."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coldaisle.errors import Permanent
from coldaisle.selfstats import SelfStats
from coldaisle.store.snapshots import FolderSnapshots, MemorySnapshots, SnapshotStore

STORES: dict[str, Callable[[Path, SelfStats], SnapshotStore]] = {
    "memory": lambda _, stats: MemorySnapshots(stats),
    "folder": lambda folder, stats: FolderSnapshots(folder / "snapshots", stats),
}


@pytest.fixture
def stats() -> SelfStats:
    return SelfStats()


@pytest.fixture(params=list(STORES.values()), ids=list(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path, stats: SelfStats) -> SnapshotStore:
    made: SnapshotStore = request.param(tmp_path, stats)
    return made


def whole(data: bytes) -> bytes:
    """Read a snapshot that says of itself whether it is good."""
    if data.startswith(b"bad"):
        raise Permanent("snapshot: is damaged")
    return data


def test_the_newest_is_what_comes_back(store: SnapshotStore) -> None:
    for number in range(5):
        store.save("watch-frames-3", b"%d" % number)
    assert store.load("watch-frames-3", whole) == b"4"
    assert store.load("watch-frames-3", whole) == b"4"


def test_where_nothing_was_saved_nothing_comes_back(store: SnapshotStore) -> None:
    assert store.load("watch-frames-3", whole) is None
    assert store.names() == []


def test_names_do_not_meet(store: SnapshotStore) -> None:
    store.save("watch-1", b"one")
    store.save("watch-11", b"eleven")
    store.save("watch", b"none")
    assert store.names() == ["watch", "watch-1", "watch-11"]
    assert store.load("watch-1", whole) == b"one"
    store.drop("watch-1")
    assert store.names() == ["watch", "watch-11"]
    assert store.load("watch-1", whole) is None
    assert store.load("watch-11", whole) == b"eleven"


def test_one_that_is_refused_is_set_aside_and_the_one_before_it_is_used(
    store: SnapshotStore, stats: SelfStats, caplog: pytest.LogCaptureFixture
) -> None:
    store.save("court-0", b"older")
    store.save("court-0", b"bad")
    assert store.load("court-0", whole) == b"older"
    assert stats.get("snapshots_refused_total") == 1
    assert "court-0" in caplog.text
    assert "snapshot: is damaged" in caplog.text
    assert store.load("court-0", whole) == b"older"
    assert stats.get("snapshots_refused_total") == 1, "what was set aside is not read again"


def test_when_all_are_refused_there_is_none(store: SnapshotStore, stats: SelfStats) -> None:
    store.save("court-0", b"bad 1")
    store.save("court-0", b"bad 2")
    assert store.load("court-0", whole) is None
    assert stats.get("snapshots_refused_total") == 2
    assert store.names() == []


def test_only_two_generations_are_kept(store: SnapshotStore) -> None:
    store.save("court-0", b"good")
    store.save("court-0", b"bad 1")
    store.save("court-0", b"bad 2")
    assert store.load("court-0", whole) is None


def test_after_a_refusal_saving_goes_on(store: SnapshotStore) -> None:
    store.save("court-0", b"bad")
    assert store.load("court-0", whole) is None
    store.save("court-0", b"good")
    assert store.load("court-0", whole) == b"good"


def test_other_errors_of_the_reader_are_its_own(store: SnapshotStore, stats: SelfStats) -> None:
    store.save("court-0", b"good")
    with pytest.raises(ZeroDivisionError):
        store.load("court-0", lambda data: 1 // 0)
    assert stats.get("snapshots_refused_total") == 0
    assert store.load("court-0", whole) == b"good"


def test_dropping_what_is_not_there_is_no_error(store: SnapshotStore) -> None:
    store.drop("court-0")
    assert store.names() == []


@pytest.mark.parametrize("name", ["", "../escape", "a.b", "a/b", ".hidden", "-x", "a b"])
def test_a_name_that_could_leave_the_folder_is_refused(store: SnapshotStore, name: str) -> None:
    with pytest.raises(ValueError, match="no name for a snapshot"):
        store.save(name, b"")
    with pytest.raises(ValueError, match="no name for a snapshot"):
        store.load(name, whole)
    with pytest.raises(ValueError, match="no name for a snapshot"):
        store.drop(name)


def test_an_empty_and_a_large_snapshot_come_back(store: SnapshotStore) -> None:
    large = bytes(range(256)) * 20_000
    store.save("a", b"")
    store.save("b", large)
    assert store.load("a", whole) == b""
    assert store.load("b", whole) == large
