"""Operations on names, on a directory of this machine and in memory."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

import pytest

from nfsd.vfs import StaleHandle
from tests.vfs.world import ROOT, DirectoryWorld, World

VERIFIER = bytes.fromhex("f1234567e89abcde")


def test_lookup_gives_one_node_for_one_object(world: World) -> None:
    """Two names of one file are one Node with one handle."""
    node = world.make(b"a")
    world.fs.link(node, world.root, b"b", ROOT)
    assert world.fs.lookup(world.root, b"a", ROOT) is node
    assert world.fs.lookup(world.root, b"b", ROOT) is node
    assert world.fs.stat(node).st_nlink == 2
    assert len(node.handle) <= 64


def test_lookup_missing_name(world: World) -> None:
    """A name that does not exist is ENOENT, one below a file ENOTDIR, a long one ENAMETOOLONG."""
    node = world.make(b"a")
    with pytest.raises(FileNotFoundError):
        world.fs.lookup(world.root, b"missing", ROOT)
    with pytest.raises(NotADirectoryError):
        world.fs.lookup(node, b"b", ROOT)
    with pytest.raises(OSError) as caught:
        world.fs.lookup(world.root, b"n" * 300, ROOT)
    assert caught.value.errno == errno.ENAMETOOLONG


def test_lookup_name_changed_behind_the_server(real: DirectoryWorld) -> None:
    """A file replaced by another program is another object with another handle."""
    old = real.make(b"a")
    (real.path / "a").unlink()
    (real.path / "a").write_bytes(b"new")
    new = real.fs.lookup(real.root, b"a", ROOT)
    assert new is not old
    assert new.handle != old.handle
    assert real.fs.stat(new).st_size == 3
    with pytest.raises(StaleHandle):
        real.fs.stat(old)


def test_parent_of_directories(world: World) -> None:
    """LOOKUPP leads up to the export's root, then into the pseudo file system, then nowhere."""
    one = world.fs.mkdir(world.root, b"one", ROOT, 0o755)
    two = world.fs.mkdir(one, b"two", ROOT, 0o755)
    assert world.fs.parent(two, ROOT) is one
    assert world.fs.parent(one, ROOT) is world.root
    above = world.fs.parent(world.root, ROOT)
    assert above is world.namespace.root()
    with pytest.raises(FileNotFoundError):
        above.fs.parent(above, ROOT)
    with pytest.raises(NotADirectoryError):
        world.fs.parent(world.make(b"a"), ROOT)


def test_create_unchecked_and_guarded(world: World) -> None:
    """UNCHECKED finds what is there, GUARDED refuses it."""
    node, created = world.fs.create(world.root, b"a", ROOT, 0o640)
    assert created and node.kind == stat.S_IFREG
    assert stat.S_IMODE(world.fs.stat(node).st_mode) == 0o640
    assert world.fs.create(world.root, b"a", ROOT, 0o600) == (node, False)
    with pytest.raises(FileExistsError):
        world.fs.create(world.root, b"a", ROOT, 0o600, exclusive=True)


def test_create_finds_other_kinds(world: World) -> None:
    """UNCHECKED leaves it to the caller to refuse a directory or a link."""
    directory = world.fs.mkdir(world.root, b"d", ROOT, 0o755)
    link = world.fs.symlink(world.root, b"l", b"target", ROOT)
    assert world.fs.create(world.root, b"d", ROOT, 0o600) == (directory, False)
    assert world.fs.create(world.root, b"l", ROOT, 0o600) == (link, False)
    with pytest.raises(FileNotFoundError):
        world.fs.lookup(world.root, b"target", ROOT)


def test_create_exclusive_twice(world: World) -> None:
    """A verifier finds the file that it made; another does not, nor does any once there is data."""
    node, created = world.fs.create(world.root, b"a", ROOT, 0o600, verifier=VERIFIER)
    assert created
    world.restart()
    again, created = world.fs.create(world.root, b"a", ROOT, 0o600, verifier=VERIFIER)
    assert not created and again.handle == node.handle
    with pytest.raises(FileExistsError):
        world.fs.create(world.root, b"a", ROOT, 0o600, verifier=bytes(8))
    world.write(again, b"x")
    with pytest.raises(FileExistsError):
        world.fs.create(world.root, b"a", ROOT, 0o600, verifier=VERIFIER)


def test_create_exclusive_over_directory(world: World) -> None:
    """An exclusive create never finds a directory."""
    world.fs.mkdir(world.root, b"d", ROOT, 0o755)
    with pytest.raises(FileExistsError):
        world.fs.create(world.root, b"d", ROOT, 0o600, verifier=VERIFIER)


def test_mkdir_special_bits(world: World) -> None:
    """The modes of a new directory are all set, those included that mkdir(2) leaves out."""
    node = world.fs.mkdir(world.root, b"d", ROOT, 0o3775)
    assert node.kind == stat.S_IFDIR
    assert stat.S_IMODE(world.fs.stat(node).st_mode) == 0o3775
    with pytest.raises(FileExistsError):
        world.fs.mkdir(world.root, b"d", ROOT, 0o755)


def test_symlink_is_not_followed(world: World) -> None:
    """A link is an object of its own, whatever it points at."""
    node = world.fs.symlink(world.root, b"l", b"/etc/passwd", ROOT)
    assert node.kind == stat.S_IFLNK
    assert world.fs.readlink(node, ROOT) == b"/etc/passwd"
    assert world.fs.lookup(world.root, b"l", ROOT) is node
    with pytest.raises(NotADirectoryError):
        world.fs.lookup(node, b"x", ROOT)
    with pytest.raises(OSError) as caught:
        world.fs.readlink(world.make(b"a"), ROOT)
    assert caught.value.errno == errno.EINVAL


def test_mknod_kinds(world: World, as_root: None) -> None:
    """Fifos, sockets and devices are made and never opened for data."""
    for kind, rdev in ((stat.S_IFIFO, 0), (stat.S_IFSOCK, 0), (stat.S_IFCHR, os.makedev(1, 3))):
        node = world.fs.mknod(world.root, b"n%d" % kind, ROOT, 0o600, kind, rdev)
        assert node.kind == kind
        assert world.fs.stat(node).st_rdev == rdev
        with pytest.raises(OSError) as caught:
            world.fs.open_data(node, False)
        assert caught.value.errno == errno.EINVAL


def test_remove_kinds(world: World) -> None:
    """REMOVE takes files, links and empty directories."""
    directory = world.fs.mkdir(world.root, b"d", ROOT, 0o755)
    world.fs.symlink(directory, b"l", b"x", ROOT)
    with pytest.raises(OSError) as caught:
        world.fs.remove(world.root, b"d", ROOT)
    assert caught.value.errno == errno.ENOTEMPTY
    world.fs.remove(directory, b"l", ROOT)
    world.fs.remove(world.root, b"d", ROOT)
    with pytest.raises(StaleHandle):
        world.fs.stat(directory)
    assert world.names() == []
    with pytest.raises(FileNotFoundError):
        world.fs.remove(world.root, b"d", ROOT)


def test_remove_what_was_never_looked_up(world: World) -> None:
    """Files and directories go although the server has no node of them."""
    world.make(b"f")
    world.fs.mkdir(world.root, b"d", ROOT, 0o755)
    world.restart()
    world.fs.remove(world.root, b"f", ROOT)
    world.fs.remove(world.root, b"d", ROOT)
    assert world.names() == []


def test_rename_replaces(world: World) -> None:
    """The replaced file is stale, the moved one keeps its handle."""
    directory = world.fs.mkdir(world.root, b"d", ROOT, 0o755)
    node = world.make(b"a", b"moved")
    victim, _ = world.fs.create(directory, b"b", ROOT, 0o600)
    world.fs.rename(world.root, b"a", directory, b"b", ROOT)
    assert world.fs.lookup(directory, b"b", ROOT) is node
    with pytest.raises(StaleHandle):
        world.fs.stat(victim)
    assert world.names() == [b"d"]


def test_rename_directory_keeps_what_is_inside(world: World) -> None:
    """Handles below a renamed directory stay good, after a restart too."""
    one = world.fs.mkdir(world.root, b"one", ROOT, 0o755)
    inner, _ = world.fs.create(one, b"f", ROOT, 0o600)
    world.fs.rename(world.root, b"one", world.root, b"two", ROOT)
    world.restart()
    node = world.namespace.resolve(inner.handle)
    assert world.fs.lookup(world.fs.lookup(world.root, b"two", ROOT), b"f", ROOT) is node


def test_rename_onto_same_file(world: World) -> None:
    """rename(2) between two names of one file leaves both (RFC 8881 18.26.3)."""
    node = world.make(b"a")
    world.fs.link(node, world.root, b"b", ROOT)
    world.fs.rename(world.root, b"a", world.root, b"b", ROOT)
    assert world.names() == [b"a", b"b"]
    assert world.fs.lookup(world.root, b"a", ROOT) is node


def test_rename_errors(world: World) -> None:
    """Kinds that do not fit and directories into themselves are the kernel's errors."""
    directory = world.fs.mkdir(world.root, b"d", ROOT, 0o755)
    world.make(b"a")
    with pytest.raises(IsADirectoryError):
        world.fs.rename(world.root, b"a", world.root, b"d", ROOT)
    with pytest.raises(NotADirectoryError):
        world.fs.rename(world.root, b"d", world.root, b"a", ROOT)
    with pytest.raises(OSError) as caught:
        world.fs.rename(world.root, b"d", directory, b"x", ROOT)
    assert caught.value.errno == errno.EINVAL


def test_link_kinds(world: World) -> None:
    """A symbolic link may have two names itself; a directory may not; an existing name is refused."""
    link = world.fs.symlink(world.root, b"l", b"nowhere", ROOT)
    world.fs.link(link, world.root, b"m", ROOT)
    assert world.fs.lookup(world.root, b"m", ROOT) is link
    directory = world.fs.mkdir(world.root, b"d", ROOT, 0o755)
    with pytest.raises(PermissionError):
        world.fs.link(directory, world.root, b"e", ROOT)
    with pytest.raises(FileExistsError):
        world.fs.link(link, world.root, b"d", ROOT)


def test_hard_link_outlives_first_name(world: World) -> None:
    """A file whose first name goes stays good by its second, after a restart too."""
    node = world.make(b"a", b"data")
    world.fs.link(node, world.root, b"b", ROOT)
    world.fs.remove(world.root, b"a", ROOT)
    assert world.fs.stat(node).st_nlink == 1
    world.restart()
    again = world.namespace.resolve(node.handle)
    assert world.read(again) == b"data"


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"../x", b"a\0b"])
def test_names_that_are_none(world: World, name: bytes) -> None:
    """What is not one component is refused everywhere, should anybody ask."""
    calls: list[Callable[[], object]] = [
        lambda: world.fs.create(world.root, name, ROOT, 0o600),
        lambda: world.fs.mkdir(world.root, name, ROOT, 0o700),
        lambda: world.fs.symlink(world.root, name, b"x", ROOT),
        lambda: world.fs.remove(world.root, name, ROOT),
        lambda: world.fs.rename(world.root, b"here", world.root, name, ROOT),
        lambda: world.fs.rename(world.root, name, world.root, b"there", ROOT),
    ]
    world.make(b"here")
    for call in calls:
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EINVAL
    assert world.names() == [b"here"]


@pytest.mark.parametrize("name", [b"", b".", b"..", b"inner/..", b"./inner", b"a\0b"])
def test_lookup_of_names_that_are_none(world: World, name: bytes) -> None:
    """What is not one component is refused also where what it would lead to is cached."""
    inner = world.fs.mkdir(world.root, b"inner", ROOT, 0o755)
    world.fs.mkdir(inner, b"inner", ROOT, 0o755)
    for directory in (world.root, inner):
        with pytest.raises(OSError) as caught:
            world.fs.lookup(directory, name, ROOT)
        assert caught.value.errno == errno.EINVAL
