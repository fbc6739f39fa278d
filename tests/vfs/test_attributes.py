"""Attributes, the change attribute, extended attributes, the file system's own figures."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

import pytest

from nfsd.vfs.interface import FileSystem, Node
from tests.vfs.world import ALICE, BOB, ROOT, World

SECOND = 1_000_000_000


def test_setattr_everything(world: World) -> None:
    """Size, mode and times are set together."""
    node = world.make(b"a", b"12345")
    world.fs.setattr(node, ROOT, size=3, mode=0o4751, atime_ns=7 * SECOND + 5, mtime_ns=9 * SECOND)
    st = world.fs.stat(node)
    assert (st.st_size, stat.S_IMODE(st.st_mode)) == (3, 0o4751)
    assert (st.st_atime_ns, st.st_mtime_ns) == (7 * SECOND + 5, 9 * SECOND)


def test_setattr_owner_clears_setuid_before_mode(world: World, as_root: None) -> None:
    """chown takes the setuid bit away; a mode in the same request puts it back."""
    node = world.make(b"a", mode=0o4755)
    world.fs.setattr(node, ROOT, uid=1000)
    assert stat.S_IMODE(world.fs.stat(node).st_mode) == 0o755
    world.fs.setattr(node, ROOT, uid=1001, gid=1001, mode=0o4755)
    st = world.fs.stat(node)
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (1001, 1001, 0o4755)


def test_setattr_one_time_leaves_the_other(world: World) -> None:
    """Times before 1970 are kept, and what is not given stays."""
    node = world.make(b"a")
    world.fs.setattr(node, ROOT, atime_ns=100 * SECOND, mtime_ns=200 * SECOND)
    world.fs.setattr(node, ROOT, mtime_ns=-3 * SECOND // 2)
    st = world.fs.stat(node)
    assert (st.st_atime_ns, st.st_mtime_ns) == (100 * SECOND, -3 * SECOND // 2)
    world.fs.setattr(node, ROOT, now_atime=True)
    st = world.fs.stat(node)
    assert st.st_atime_ns > 1_000_000 * SECOND and st.st_mtime_ns < 0


def test_setattr_times_by_writer(world: World, as_root: None) -> None:
    """Who may write may set times to now, one or both, and to nothing else."""
    node = world.make(b"a", cred=ALICE, mode=0o666)
    world.fs.setattr(node, ALICE, atime_ns=0, mtime_ns=0)
    world.fs.setattr(node, BOB, now_mtime=True)
    st = world.fs.stat(node)
    assert st.st_atime_ns == 0 and st.st_mtime_ns > 0
    world.fs.setattr(node, BOB, now_atime=True, now_mtime=True)
    with pytest.raises(PermissionError):
        world.fs.setattr(node, BOB, mtime_ns=5)
    world.fs.setattr(node, ALICE, mode=0o644)
    with pytest.raises(PermissionError):
        world.fs.setattr(node, BOB, now_mtime=True)


def test_setattr_size_needs_a_file(world: World) -> None:
    """Only files have a size to set; a size that is too large is the kernel's error."""
    directory = world.fs.mkdir(world.root, b"d", ROOT, 0o755)
    with pytest.raises(IsADirectoryError):
        world.fs.setattr(directory, ROOT, size=0)
    link = world.fs.symlink(world.root, b"l", b"x", ROOT)
    with pytest.raises(OSError) as caught:
        world.fs.setattr(link, ROOT, size=0)
    assert caught.value.errno == errno.EINVAL
    node = world.make(b"a")
    for by_open in (False, True):
        with pytest.raises(OSError) as caught:
            world.fs.setattr(node, ROOT, size=1 << 63, by_open=by_open)
        assert caught.value.errno == errno.EFBIG


def test_setattr_owner_that_is_none(world: World) -> None:
    """2**32 - 1 would leave the owner as it is: it is refused."""
    with pytest.raises(OSError) as caught:
        world.fs.setattr(world.make(b"a"), ROOT, uid=(1 << 32) - 1)
    assert caught.value.errno == errno.EINVAL


def test_setattr_of_a_symlink(world: World, as_root: None) -> None:
    """A link's owner and times are its own; it has no mode."""
    target = world.make(b"target")
    link = world.fs.symlink(world.root, b"l", b"target", ROOT)
    world.fs.setattr(link, ROOT, uid=1000, mtime_ns=5 * SECOND)
    st = world.fs.stat(link)
    assert (st.st_uid, st.st_mtime_ns) == (1000, 5 * SECOND)
    assert world.fs.stat(target).st_uid == 0
    with pytest.raises(OSError) as caught:
        world.fs.setattr(link, ROOT, mode=0o600)
    assert caught.value.errno == errno.ENOTSUP


def test_setattr_size_by_open(world: World, as_root: None) -> None:
    """An open for writing gives the right to truncate whatever the mode is by now."""
    node = world.make(b"a", b"12345", cred=ALICE, mode=0o444)
    with pytest.raises(PermissionError):
        world.fs.setattr(node, ALICE, size=1)
    world.fs.setattr(node, ALICE, size=1, by_open=True)
    assert world.fs.stat(node).st_size == 1


def test_change_after_each_mutation(world: World) -> None:
    """The change attribute differs after everything that was done through the server."""
    node = world.make(b"a")
    directory = world.fs.mkdir(world.root, b"d", ROOT, 0o755)
    fs = world.fs

    def change(of: Node) -> int:
        return fs.change(of, fs.stat(of))

    steps: list[tuple[Node, Callable[[], object]]] = [
        (node, lambda: fs.setattr(node, ROOT, mode=0o600)),
        (node, lambda: fs.setattr(node, ROOT, mode=0o600)),
        (node, lambda: fs.link(node, directory, b"b", ROOT)),
        (directory, lambda: fs.link(node, directory, b"c", ROOT)),
        (directory, lambda: fs.remove(directory, b"c", ROOT)),
        (node, lambda: fs.remove(directory, b"b", ROOT)),
        (world.root, lambda: fs.create(world.root, b"x", ROOT, 0o600)),
        (world.root, lambda: fs.symlink(world.root, b"y", b"t", ROOT)),
        (world.root, lambda: fs.rename(world.root, b"x", directory, b"x", ROOT)),
        (directory, lambda: fs.rename(world.root, b"y", directory, b"y", ROOT)),
    ]
    for which, step in steps:
        before = change(which)
        assert change(which) == before
        step()
        assert change(which) > before


def test_change_with_a_coarse_clock() -> None:
    """Where ctime stands still the value grows all the same, by one, and never goes back."""

    class Times:
        st_ctime_ns = 1000

    fs = FileSystem()
    node = Node(b"h", fs, stat.S_IFREG, b"k")
    st: os.stat_result = Times()  # type: ignore[assignment]
    assert [fs.change(node, st), fs.change(node, st)] == [1000, 1000]
    fs.touch(node)
    assert [fs.change(node, st), fs.change(node, st)] == [1001, 1001]
    Times.st_ctime_ns = 900
    assert fs.change(node, st) == 1001
    fs.touch(node)
    assert fs.change(node, st) == 1002
    Times.st_ctime_ns = 5000
    assert fs.change(node, st) > 5000


def test_xattrs(world: World) -> None:
    """User extended attributes come and go; only they are seen."""
    if not world.fs.has_xattrs:
        pytest.skip("this file system keeps no user extended attributes")
    node = world.make(b"a")
    fs = world.fs
    assert fs.listxattr(node, ROOT) == []
    fs.setxattr(node, b"one", b"1", os.XATTR_CREATE, ROOT)
    fs.setxattr(node, b"two", b"\0\xff" * 100, 0, ROOT)
    assert sorted(fs.listxattr(node, ROOT)) == [b"one", b"two"]
    assert fs.getxattr(node, b"two", ROOT) == b"\0\xff" * 100
    with pytest.raises(FileExistsError):
        fs.setxattr(node, b"one", b"2", os.XATTR_CREATE, ROOT)
    fs.removexattr(node, b"one", ROOT)
    for call in (
        lambda: fs.getxattr(node, b"one", ROOT),
        lambda: fs.removexattr(node, b"one", ROOT),
        lambda: fs.setxattr(node, b"one", b"2", os.XATTR_REPLACE, ROOT),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.ENODATA


def test_file_system_figures(world: World) -> None:
    """Space, the longest name, birth and numbers are at hand."""
    node = world.make(b"a")
    assert world.fs.statfs(node).f_blocks > 0
    assert world.fs.maxname == 255
    assert world.fs.fsid == (1, 0)
    born = world.fs.btime_ns(node)
    assert born is None or born > 0
    st = world.fs.stat(node)
    assert world.fs.fileid(node, st) == world.fs.mounted_on_fileid(node, st) == st.st_ino
    st = world.fs.stat(world.root)
    assert world.fs.mounted_on_fileid(world.root, st) != world.fs.fileid(world.root, st)
