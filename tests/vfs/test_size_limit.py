"""The most bytes that a file may have: found out where the export lies, without leaving anything there."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from nfsd.vfs import attributes
from nfsd.vfs.interface import FILE_SIZE_MAX
from tests.vfs.test_handles import run_with_mounts
from tests.vfs.world import ROOT, DirectoryWorld, World

_UNION = """
import subprocess, sys
from pathlib import Path
from tests.vfs.test_size_limit import check_limit
from tests.vfs.world import DirectoryWorld
place = Path(sys.argv[1])
for name in ("lower", "upper", "work", "union"):
    (place / name).mkdir()
layers = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
subprocess.run(["mount", "-t", "overlay", "none", "-o", layers, place / "union"], check=True)
world = DirectoryWorld(place / "union", "table")
check_limit(world)
world.close()
"""


def check_limit(world: World) -> None:
    """A file can be made as large as is said, and not one byte larger."""
    limit = world.fs.file_size_max
    node = world.make(b"large")
    world.fs.setattr(node, ROOT, size=limit)
    assert world.fs.stat(node).st_size == limit
    with pytest.raises(OSError) as caught:
        world.fs.setattr(node, ROOT, size=limit + 1)
    assert caught.value.errno == errno.EFBIG
    world.fs.setattr(node, ROOT, size=0)


def test_size_limit_is_the_real_one(world: World) -> None:
    """What is said holds on this file system."""
    check_limit(world)


def test_size_limit_leaves_nothing(place: Path, handles: str) -> None:
    """Finding the limit leaves no file, takes no space and keeps no descriptor."""
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    before = os.listdir("/proc/self/fd"), os.stat(place).st_mtime_ns
    assert attributes.file_size_max(descriptor) >= 1 << 32
    assert (os.listdir("/proc/self/fd"), os.stat(place).st_mtime_ns) == before
    assert list(place.iterdir()) == []
    os.close(descriptor)


def test_size_limit_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process may only write smaller files, that is the limit."""
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1 << 20, resource.RLIM_INFINITY))
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    assert attributes.file_size_max(descriptor) == 1 << 20
    os.close(descriptor)


def test_size_limit_unknown(tmp_path: Path, handles: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be found out, or nothing can be written anyway, the kernel's own limit is said."""

    def refusing(_descriptor: int) -> int:
        raise OSError(errno.EOPNOTSUPP, "no files without names")

    for options in ("ro,no_root_squash", "rw,no_root_squash"):
        monkeypatch.setattr(attributes, "file_size_max", refusing)
        world = DirectoryWorld(tmp_path, handles, options)
        assert world.fs.file_size_max == FILE_SIZE_MAX
        world.close()


def test_size_limit_of_a_union(tmp_path: Path) -> None:
    """On overlayfs it is that of the file system below."""
    run_with_mounts(_UNION, str(tmp_path))
