"""The data of files: reading, writing, holes, copies, and what a write does besides."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable

import pytest

from nfsd.vfs import Credentials, Node
from tests.vfs.world import ALICE, BOB, ROOT, DirectoryWorld, World

BLOCK = 65536
"""A multiple of every file system's block."""


def test_read_ends(world: World) -> None:
    """Whoever reads is told where the file ends: at the last byte, beyond it, and not before."""
    node = world.make(b"a", b"0123456789")
    for read in (world.fs.read, world.fs.read_cached):
        for offset, count, data, at_end in (
            (0, 10, b"0123456789", True), (0, 99, b"0123456789", True), (3, 4, b"3456", False), (9, 1, b"9", True),
            (10, 1, b"", True), (1 << 63, 1, b"", True), (0, 0, b"", False), (10, 0, b"", True),
        ):  # fmt: skip
            found = read(node, offset, count)
            if found is None:
                assert read == world.fs.read_cached
                continue
            assert (bytes(found[0]), found[1]) == (data, at_end)


def test_read_is_not_what_comes_later(world: World) -> None:
    """Data that was read stays as it was, whatever is written afterwards."""
    node = world.make(b"a", b"before")
    found, _end = world.fs.read_cached(node, 0, 6) or world.fs.read(node, 0, 6)
    world.write(node, b"after!")
    assert bytes(found) == b"before"


def test_write_everywhere(world: World) -> None:
    """Data goes where it is meant to; what was never written reads as zeros."""
    node = world.make(b"a")
    world.write(node, b"end", 3 * BLOCK + 5)
    world.write(node, memoryview(bytearray(b"XX")), 1)
    world.write(node, memoryview(b"")[:0], 9 * BLOCK)
    assert world.fs.data_size(node) == world.fs.stat(node).st_size == 3 * BLOCK + 8
    assert world.read(node, 0, 6) == b"\0XX\0\0\0"
    assert world.read(node, 3 * BLOCK, 99) == bytes(5) + b"end"
    large = bytes(range(256)) * 4096
    world.write(node, large, 77)
    assert world.read(node, 77, len(large)) == large


def test_write_changes(world: World) -> None:
    """Each write makes the change attribute grow and sets mtime."""
    node = world.make(b"a", b"1")
    world.fs.setattr(node, ROOT, mtime_ns=0)
    seen = [world.fs.change(node, world.fs.stat(node))]
    for _ in range(3):
        world.write(node, b"2")
        seen.append(world.fs.change(node, world.fs.stat(node)))
    assert seen == sorted(set(seen))
    assert world.fs.stat(node).st_mtime_ns > 0


CHANGES: dict[str, Callable[[World, Node, Node, Credentials], object]] = {
    "write": lambda world, _other, node, cred: world.fs.write(node, 0, b"x", cred),
    "allocate": lambda world, _other, node, cred: world.fs.allocate(node, 0, BLOCK, cred),
    "punch_hole": lambda world, _other, node, cred: world.fs.punch_hole(node, 0, 1, cred),
    "copy_range": lambda world, other, node, cred: world.fs.copy_range(other, 0, node, 0, 4, cred),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_drops_setid_bits(world: World, as_root: None, change: str) -> None:
    """Somebody else than user 0 changes data: set-user-id goes, set-group-id goes where the group may execute.

    Whoever was served before: user 0 keeps the bits also after somebody else, who loses them also after user 0.
    """
    other = world.make(b"other", b"data")
    for mode, after in ((0o6755, 0o755), (0o2644, 0o2644), (0o4600, 0o600), (0o1755, 0o1755)):
        node = world.make(b"%o" % mode, mode=mode, cred=ALICE)
        for cred, before, expected in ((ROOT, ALICE, mode), (ALICE, ROOT, after)):
            world.fs.access(node, os.R_OK, before)
            CHANGES[change](world, other, node, cred)
            assert stat.S_IMODE(world.fs.stat(node).st_mode) == expected


def test_clone_drops_setid_bits(world: World, as_root: None) -> None:
    """Set-id bits go before blocks are shared, also where a file system then turns out not to share any."""
    one, two = world.make(b"one", b"x" * BLOCK), world.make(b"two", cred=ALICE, mode=0o6755)
    for cred, before, expected in ((ROOT, ALICE, 0o6755), (ALICE, ROOT, 0o755)):
        world.fs.access(two, os.R_OK, before)
        with contextlib.suppress(OSError):
            world.fs.clone_range(one, 0, two, 0, 0, cred)
        assert stat.S_IMODE(world.fs.stat(two).st_mode) == expected


def test_set_id_bits_go_first(world: World, as_root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no moment at which data of somebody's making is run with another's rights."""
    if not isinstance(world, DirectoryWorld) or world.fs.apart:
        pytest.skip("neither a tree in memory nor a keeper can be made to fail half-way")
    node = world.make(b"file", mode=0o4777)

    def failing(*_given: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "copy_file_range", failing)
    with pytest.raises(OSError, match="Input/output"):
        world.fs.copy_range(node, 0, node, 10, 1, ALICE)
    assert stat.S_IMODE(world.fs.stat(node).st_mode) == 0o777


def test_truncate_drops_setid_bits(world: World, as_root: None) -> None:
    """Setting the size takes set-id bits away as a write does."""
    for by_open in (False, True):
        node = world.make(b"%d" % by_open, cred=ALICE, mode=0o6755)
        world.fs.setattr(node, ROOT, size=4, by_open=by_open)
        assert stat.S_IMODE(world.fs.stat(node).st_mode) == 0o6755
        world.fs.setattr(node, ALICE, size=3, by_open=by_open)
        assert stat.S_IMODE(world.fs.stat(node).st_mode) == 0o755


def test_truncate_and_grow_again(world: World) -> None:
    """What was cut off does not come back."""
    node = world.make(b"a", b"12345")
    world.fs.setattr(node, ROOT, size=2)
    world.fs.setattr(node, ROOT, size=4)
    assert world.read(node) == b"12\0\0"


def test_sync(world: World) -> None:
    """Files and directories can be brought to the disk, before and after their data was opened."""
    node = world.make(b"a", b"data")
    for whole in (False, True):
        world.fs.sync_data(node, whole=whole)
    world.fs.release(node)
    world.fs.sync_data(node, whole=True)
    for what in (node, world.root, world.fs.symlink(world.root, b"l", b"a", ROOT)):
        world.fs.sync(what)


def test_allocate(world: World) -> None:
    """A range gets its space, and the file grows to hold it; what was there stays."""
    node = world.make(b"a", b"data")
    world.fs.allocate(node, 2, BLOCK, ROOT)
    st = world.fs.stat(node)
    assert st.st_size == BLOCK + 2 and st.st_blocks * 512 >= BLOCK
    assert world.read(node, 0, 6) == b"data\0\0"


def test_holes(world: World) -> None:
    """A hole reads as zeros, gives its space back, and is found; the end of a file begins a hole."""
    fs = world.fs
    node = world.make(b"a", b"x" * 4 * BLOCK)
    full = fs.stat(node).st_blocks
    fs.punch_hole(node, BLOCK, BLOCK, ROOT)
    st = fs.stat(node)
    assert st.st_size == 4 * BLOCK and st.st_blocks < full
    assert world.read(node, BLOCK - 1, BLOCK + 2) == b"x" + bytes(BLOCK) + b"x"
    assert [fs.next_data(node, offset) for offset in (0, 5, BLOCK, 2 * BLOCK - 1)] == [0, 5, 2 * BLOCK, 2 * BLOCK]
    assert [fs.next_hole(node, offset) for offset in (0, BLOCK, BLOCK + 5)] == [BLOCK, BLOCK, BLOCK + 5]
    assert fs.next_hole(node, 2 * BLOCK) == 4 * BLOCK
    fs.punch_hole(node, 3 * BLOCK, BLOCK, ROOT)
    assert fs.next_data(node, 3 * BLOCK) is None
    for find in (fs.next_data, fs.next_hole):
        assert find(node, 4 * BLOCK) is None


def test_hole_inside_a_block(world: World) -> None:
    """A range that fits no block is zeros, too, and its neighbours are not."""
    node = world.make(b"a", b"0123456789")
    world.fs.punch_hole(node, 3, 4, ROOT)
    assert world.read(node) == b"012\0\0\0\x00789"


def test_advise(world: World) -> None:
    """Hints change nothing."""
    node = world.make(b"a", b"data")
    for needed in (True, False):
        world.fs.advise(node, 0, 0, needed=needed)
        world.fs.advise(node, 1, BLOCK, needed=needed)
    assert world.read(node) == b"data"


def copy_all(source: Node, offset: int, target: Node, to: int, size: int) -> int:
    """Copy until all of it is copied, or nothing is left to copy."""
    done = 0
    while done < size:
        copied = source.fs.copy_range(source, offset + done, target, to + done, size - done, ROOT)
        if not copied:
            break
        done += copied
    return done


def test_copy(world: World) -> None:
    """Ranges go from one file to another and inside one, up to the end of the source."""
    one, two = world.make(b"one", b"0123456789"), world.make(b"two", b"abc")
    assert copy_all(one, 4, two, 1, 3) == 3
    assert world.read(two) == b"a456"
    assert copy_all(one, 8, two, 0, 99) == 2
    assert world.read(two) == b"8956"
    assert copy_all(one, 10, two, 0, 99) == 0
    assert copy_all(one, 0, one, 20, 5) == 5
    assert world.read(one) == b"0123456789" + bytes(10) + b"01234"


def test_clone(world: World) -> None:
    """A clone has all of the range; a file system without shared blocks says that it has none."""
    one, two = world.make(b"one", b"x" * BLOCK), world.make(b"two")
    try:
        world.fs.clone_range(one, 0, two, 0, 0, ROOT)
    except OSError as error:
        assert error.errno == errno.ENOTSUP and world.fs.data_size(two) == 0
    else:
        assert world.read(two, 0, BLOCK) == b"x" * BLOCK
        world.write(two, b"y")
        assert world.read(one, 0, 1) == b"x"


def test_data_of_other_kinds(world: World) -> None:
    """Only files have data: a directory is EISDIR, everything else EINVAL."""
    directory = world.fs.mkdir(world.root, b"d", ROOT, 0o755)
    link = world.fs.symlink(world.root, b"l", b"x", ROOT)
    fifo = world.fs.mknod(world.root, b"p", ROOT, 0o600, stat.S_IFIFO, 0)
    for node, number in ((directory, errno.EISDIR), (link, errno.EINVAL), (fifo, errno.EINVAL)):
        for call in (
            lambda node: world.fs.open_data(node, False),
            lambda node: world.fs.data_size(node),
            lambda node: world.fs.read(node, 0, 1),
            lambda node: world.fs.read_cached(node, 0, 1),
            lambda node: world.fs.write(node, 0, b"x", ROOT),
            lambda node: world.fs.sync_data(node, whole=True),
            lambda node: world.fs.next_data(node, 0),
        ):
            with pytest.raises(OSError) as caught:
                call(node)
            assert caught.value.errno == number


def test_data_whatever_the_mode_says(world: World, as_root: None) -> None:
    """Permission belongs to OPEN: a file that nobody may open any more can be written, and grows by an open."""
    node = world.make(b"a", b"data", cred=ALICE, mode=0o600)
    world.fs.open_data(node, True)
    world.fs.setattr(node, ALICE, mode=0)
    world.write(node, b"DA", cred=ALICE)
    world.fs.setattr(node, BOB, size=6, by_open=True)
    assert world.read(node) == b"DAta\0\0"
