"""Descriptors of this machine: under limits, in threads, and when they go."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nfsd.vfs import prepare_process, syscalls
from tests.vfs.world import ROOT, DirectoryWorld


@pytest.fixture
def tiny(place: Path, handles: str) -> DirectoryWorld:
    """An export with hardly any descriptors."""
    return DirectoryWorld(place, handles, path_fd_limit=16, data_fd_limit=8, node_limit=1000)


def open_descriptors() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))


def test_descriptors_stay_bounded(tiny: DirectoryWorld) -> None:
    """Two hundred files are read and written with room for a few; each finds its own data."""
    before = open_descriptors()
    nodes = [tiny.make(b"%d" % number, b"data %d" % number) for number in range(200)]
    # What was used since the last look gets a second chance, so a scan's length may be above the limit.
    assert open_descriptors() - before < 2 * (16 + 8 + 32)
    for number, node in enumerate(nodes):
        assert tiny.fs.stat(node).st_size == len(b"data %d" % number)
        assert tiny.read(node) == b"data %d" % number
        assert tiny.fs.lookup(tiny.root, b"%d" % number, ROOT) is node
        assert tiny.namespace.resolve(node.handle) is node
    assert open_descriptors() - before < 2 * (16 + 8 + 32)
    tiny.close()


def test_busy_nodes_keep_their_descriptors(tiny: DirectoryWorld) -> None:
    """While a thread uses a descriptor it is not closed."""
    node = tiny.make(b"busy", b"data")
    node.busy += 1
    fd = tiny.fs.data_fd(node, True)
    for number in range(200):
        tiny.make(b"%d" % number, b"other")
    assert node.write_fd == fd
    assert tiny.read(node) == b"data"
    node.busy -= 1
    tiny.close()


def test_open_file_replaced_by_rename(tiny: DirectoryWorld) -> None:
    """A file that another is renamed over stays readable while it is open, also under pressure."""
    node = tiny.make(b"a", b"old")
    node.opens = 1
    tiny.make(b"b", b"new")
    tiny.fs.rename(tiny.root, b"b", tiny.root, b"a", ROOT)
    assert node.pinned
    for number in range(100):
        tiny.make(b"%d" % number, b"other")
    assert tiny.read(node) == b"old"
    assert tiny.namespace.resolve(node.handle) is node
    tiny.close()


def test_release_lets_programs_run(real: DirectoryWorld) -> None:
    """After the last close no descriptor for writing is left, which would make execve fail."""
    node = real.make(b"a", b"#!/bin/sh\n", mode=0o755)
    assert node.write_fd >= 0
    node.opens = 1
    real.fs.release(node)
    assert node.write_fd >= 0
    node.opens = 0
    real.fs.release(node)
    assert node.write_fd == -1


def test_threads_share_nodes(real: DirectoryWorld) -> None:
    """Threads that open the same file at once end with one descriptor and one node."""
    real.make(b"a", b"data")
    handle = real.fs.lookup(real.root, b"a", ROOT).handle
    real.restart()

    def work(_number: int) -> tuple[int, int, bytes]:
        node = real.namespace.resolve(handle)
        node.busy += 1
        data, _end = real.fs.read(node, 0, 9)
        node.busy -= 1
        return id(node), node.read_fd, bytes(data)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(work, range(200)))
    assert len(found) == 1
    assert found.pop()[2] == b"data"


def test_close_leaves_nothing(place: Path, handles: str) -> None:
    """A namespace that is closed has closed every descriptor."""
    before = open_descriptors()
    real = DirectoryWorld(place, handles)
    for number in range(20):
        real.make(b"%d" % number, b"x")
    list(real.fs.readdir(real.root, 0, ROOT))
    real.close()
    assert open_descriptors() == before


def test_prepare_process() -> None:
    """The umask is 0 afterwards and there is room for descriptors."""
    os.umask(0o77)
    assert prepare_process() >= 1024
    assert os.umask(0) == 0


def test_sync_file_system(tmp_path: Path) -> None:
    """What fsync refuses is brought to the disk with all of its file system."""
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    syscalls.sync_file_system(descriptor)
    os.close(descriptor)
    with pytest.raises(OSError):
        syscalls.sync_file_system(descriptor)
