"""Snapshots in a folder: whole or not at all, and every trouble with its remedy."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from coldaisle.errors import ConfigError, Permanent, Transient
from coldaisle.selfstats import SelfStats
from coldaisle.store.snapshots import FolderSnapshots


def whole(data: bytes) -> bytes:
    if data.startswith(b"bad"):
        raise Permanent("snapshot: is damaged")
    return data


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_last_two_stay_and_no_temporary_file_does(tmp_path: Path) -> None:
    store = FolderSnapshots(tmp_path / "deep" / "er", SelfStats())
    for number in range(4):
        store.save("watch-0", b"%d" % number)
    assert files(tmp_path / "deep" / "er") == ["watch-0.0000000003.snapshot", "watch-0.0000000004.snapshot"]


def test_another_process_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    FolderSnapshots(tmp_path, SelfStats()).save("watch-0", b"first")
    other = FolderSnapshots(tmp_path, SelfStats())
    assert other.load("watch-0", whole) == b"first"
    other.save("watch-0", b"second")
    assert FolderSnapshots(tmp_path, SelfStats()).load("watch-0", whole) == b"second"


def test_what_a_dead_writer_left_is_never_read_and_goes_with_the_next_save(tmp_path: Path) -> None:
    store = FolderSnapshots(tmp_path, SelfStats())
    store.save("watch-0", b"good")
    (tmp_path / "watch-0.0000000002.tmp").write_bytes(b"ha")
    (tmp_path / "watch-1.0000000002.tmp").write_bytes(b"not mine")
    assert store.load("watch-0", whole) == b"good"
    assert store.names() == ["watch-0"]
    store.save("watch-0", b"better")
    assert files(tmp_path) == [
        "watch-0.0000000001.snapshot", "watch-0.0000000002.snapshot", "watch-1.0000000002.tmp",
    ]  # fmt: skip


def test_one_that_is_refused_can_be_looked_at(tmp_path: Path) -> None:
    store = FolderSnapshots(tmp_path, SelfStats())
    for data in (b"older", b"bad"):
        store.save("watch-0", data)
    assert store.load("watch-0", whole) == b"older"
    assert (tmp_path / "watch-0.corrupt").read_bytes() == b"bad"
    assert store.names() == ["watch-0"]


def test_a_full_disk_is_transient_leaves_no_half_file_and_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FolderSnapshots(tmp_path, SelfStats())
    store.save("watch-0", b"good")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Transient, match=r"no room for a snapshot of 2 MB .*: free some space"):
            store.save("watch-0", bytes(2_000_000))
    assert files(tmp_path) == ["watch-0.0000000001.snapshot"]
    assert store.load("watch-0", whole) == b"good"


def test_a_disk_that_fails_is_transient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderSnapshots(tmp_path, SelfStats())
    store.save("watch-0", b"good")

    def broken(path: Path) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "read_bytes", broken)
    with pytest.raises(Transient, match=r"snapshots cannot be reached .*: look at the disk"):
        store.load("watch-0", whole)


def test_a_file_in_place_of_the_folder_is_for_the_operator(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="file: is a file: give a folder"):
        FolderSnapshots(tmp_path / "file", SelfStats())
    with pytest.raises(ConfigError, match=r"cannot be kept here .*: give a writable folder"):
        FolderSnapshots(tmp_path / "file" / "below", SelfStats())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_a_folder_that_may_not_be_read_or_written_is_for_the_operator(tmp_path: Path) -> None:
    store = FolderSnapshots(tmp_path / "locked", SelfStats())
    store.save("watch-0", b"good")
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(ConfigError, match="give a writable folder"):
            store.load("watch-0", whole)
        with pytest.raises(ConfigError, match="give a writable folder"):
            store.save("watch-0", b"better")
    finally:
        (tmp_path / "locked").chmod(0o700)


def test_a_folder_that_went_away_is_said_so(tmp_path: Path) -> None:
    store = FolderSnapshots(tmp_path / "gone", SelfStats())
    (tmp_path / "gone").rmdir()
    with pytest.raises(Transient, match="snapshots cannot be reached"):
        store.load("watch-0", whole)
    with pytest.raises(Transient, match="snapshots cannot be reached"):
        store.save("watch-0", b"x")


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("README", "watch-0.snapshot", "watch-0.x.snapshot", "watch-0.corrupt"):
        (tmp_path / name).write_bytes(b"mine")
    store = FolderSnapshots(tmp_path, SelfStats())
    assert store.load("watch-0", whole) is None
    store.save("watch-0", b"good")
    store.drop("watch-0")
    assert len(files(tmp_path)) == 4
