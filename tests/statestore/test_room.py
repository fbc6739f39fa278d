"""Room for removals: when there is too little of it, by the map, the disk, or a file system that sets nothing aside."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from statestore import HOLDER, ChangeSet, LmdbStore, room
from statestore.room import Room

MIB = 1 << 20


def give(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """The disk answers every wish for blocks like this; 0: it grants them."""

    def fallocate(*_wish: int) -> int:
        ctypes.set_errno(error)
        return -1 if error else 0

    monkeypatch.setattr(room, "_libc", SimpleNamespace(fallocate=fallocate))


@pytest.fixture
def made(tmp_path: Path) -> Room:
    """Room of 4 MiB for a file of at most 64."""
    (tmp_path / "data").write_bytes(b"")
    return Room(tmp_path / "data", size=4 * MIB, file_size_max=64 * MIB)


def test_blocks_are_set_aside(made: Room, tmp_path: Path) -> None:
    """The file has its blocks beyond its end, and is no longer for it."""
    assert not made.is_short(file_size=0, used=0)
    found = (tmp_path / "data").stat()
    assert found.st_size == 0 and found.st_blocks * 512 >= 4 * MIB
    assert not made.is_short(file_size=MIB, used=MIB)
    assert (tmp_path / "data").stat().st_blocks * 512 >= 5 * MIB
    made.close()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
def test_disk_full(made: Room, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    """Without blocks there is too little, unless enough of the file is unused; and none is missed that was given."""
    assert not made.is_short(file_size=4096, used=4096)
    give(monkeypatch, error)
    assert not made.is_short(file_size=4096, used=4096)
    assert made.is_short(file_size=8192, used=8192)
    assert made.is_short(file_size=4 * MIB, used=4096)
    assert not made.is_short(file_size=8 * MIB, used=4 * MIB)


def test_file_as_large_as_it_may_be(made: Room) -> None:
    """Near the largest size there is too little, unless enough of the file is unused."""
    assert not made.is_short(file_size=60 * MIB, used=60 * MIB)
    assert made.is_short(file_size=60 * MIB + 4096, used=60 * MIB + 4096)
    assert made.is_short(file_size=64 * MIB, used=61 * MIB)
    assert not made.is_short(file_size=64 * MIB, used=60 * MIB)


def test_no_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a reserve there is never too little."""
    (tmp_path / "data").write_bytes(b"")
    give(monkeypatch, errno.ENOSPC)
    assert not Room(tmp_path / "data", size=0, file_size_max=64 * MIB).is_short(file_size=64 * MIB, used=64 * MIB)


def test_a_quarter_at_most(tmp_path: Path) -> None:
    """The reserve is at most a quarter of the largest size."""
    (tmp_path / "data").write_bytes(b"")
    assert Room(tmp_path / "data", size=4 * MIB, file_size_max=8 * MIB).size == 2 * MIB


@pytest.mark.parametrize(("free", "short"), [(4 * MIB, False), (4 * MIB - 4096, True)])
def test_nothing_can_be_set_aside(made: Room, monkeypatch: pytest.MonkeyPatch, free: int, short: bool) -> None:
    """Where the file system sets no blocks aside, what it says that is free counts."""
    give(monkeypatch, errno.EOPNOTSUPP)
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=free // 4096, f_frsize=4096))
    assert made.is_short(file_size=4096, used=4096) == short


def test_disk_fails(made: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails is no full one."""
    give(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        made.is_short(file_size=0, used=0)


def changes_of(first: int, *, remove: bool = False) -> ChangeSet:
    """A hundred records of 400 bytes, or their removal."""
    changes = ChangeSet()
    for number in range(first, first + 100):
        if remove:
            changes.remove(HOLDER, b"%08d" % number)
        else:
            changes.put(HOLDER, b"%08d" % number, bytes(400))
    return changes


def is_full(store: LmdbStore) -> bool:
    """What a look at the store says."""
    store.look_for_room()
    return store.nearly_full


def test_store_nearly_full(tmp_path: Path) -> None:
    """A store says that it is nearly full while everything can still be removed, and then that it is not any more."""
    store = LmdbStore.open(tmp_path / "state", level="process", map_size=4 * MIB, on_failure=lambda _error: None)
    used, count = store.used, 0
    while not is_full(store):
        store.wait(store.commit(changes_of(count)))
        count += 100
        assert count < 10_000
    assert count and store.used > max(used, 2 * MIB)
    for first in range(0, count, 100):
        store.wait(store.commit(changes_of(first, remove=True)))
    assert not is_full(store) and store.used < MIB
    store.close()
