"""What is the memory file system's own: that it touches nothing outside, and how its trees are made and changed."""

from __future__ import annotations

import ast
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nfsd.config import parse_export
from nfsd.exports import Namespace, parse_exports
from nfsd.vfs import memory, memoryattributes, memorydata, memorytree, permission
from nfsd.vfs.memory import opening
from nfsd.vfs.memorytree import PAGE_SIZE, Change, Inode, MemoryTree
from tests.vfs.world import ALICE, ROOT, SECRET, Clock, DirectoryWorld, MemoryWorld

MODULES = (memory, memoryattributes, memorydata, memorytree, permission)
STANDARD = {
    "__future__", "collections", "dataclasses", "errno", "heapq", "os", "stat", "struct", "typing",
}  # fmt: skip
OF_OS = {
    "R_OK", "ST_RDONLY", "W_OK", "XATTR_CREATE", "XATTR_REPLACE", "stat_result", "statvfs_result", "strerror",
}  # fmt: skip
OF_VFS = {"cache", "handles", "interface", "opener", *(module.__name__.rpartition(".")[2] for module in MODULES)}


@pytest.mark.parametrize("module", MODULES)
def test_memory_touches_nothing(module: Any) -> None:
    """No clock, thread, randomness or system call: of the os module there are constants and records alone."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top, _, below = name.partition(".")
            assert top in STANDARD or below.removeprefix("vfs.") in OF_VFS, f"{module.__name__} imports {name}"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr in OF_OS, f"{module.__name__} uses os.{node.attr}"
        if isinstance(node, ast.Name):
            assert node.id not in ("open", "exec", "eval", "__import__"), f"{module.__name__} calls {node.id}"


class Recorded(MemoryTree):
    """A tree that remembers its changes."""

    def __init__(self) -> None:
        self.changes: list[tuple[Change, ...]] = []
        super().__init__(Clock(), mode=0o777)

    def apply(self, *changes: Change) -> None:
        """Make them, and remember them."""
        self.changes.append(changes)
        super().apply(*changes)


def state_of(tree: MemoryTree) -> object:
    """Everything that a tree is."""
    inodes = {
        number: {name: getattr(inode, name) for name in Inode.__slots__} for number, inode in tree.inodes.items()
    }  # fmt: skip
    return inodes, tree.tombs, sorted(tree.free), tree.last_number, tree.last_generation, tree.pages_used


def test_memory_changes_are_all_there_is() -> None:
    """The changes that a tree was told, made again on a new one, give the same tree: there is no other way in."""
    world = MemoryWorld()
    world.close()
    tree = world.tree = Recorded()
    world.start()
    fs, root = world.fs, world.root
    one, two = world.make(b"one", b"x" * 10_000), world.make(b"two", cred=ALICE, mode=0o6755)
    directory = fs.mkdir(root, b"d", ALICE, 0o2775)
    fs.link(one, directory, b"link", ROOT)
    fs.rename(root, b"two", directory, b"moved", ALICE)
    fs.symlink(root, b"l", b"target", ROOT)
    fs.setattr(one, ROOT, size=6000, uid=1000, mode=0o600, now_mtime=True)
    fs.setxattr(one, b"name", b"value", 0, ROOT)
    fs.punch_hole(one, 100, 5000, ROOT)
    fs.allocate(two, 0, 9000, ROOT)
    world.write(two, b"data", cred=ALICE)
    world.read(one)
    two.opens = 1
    assert fs.bury(directory, b"moved", two.key)
    fs.remove(directory, b"moved", ROOT)
    fs.remove(root, b"l", ROOT)
    fs.unbury(two.key)
    two.opens = 0
    fs.release(two)
    fs.removexattr(one, b"name", ROOT)
    again = MemoryTree(Clock(), mode=0o777)
    for changes in tree.changes[1:]:
        again.apply(*changes)
    assert state_of(again) == state_of(tree)
    world.close()


def test_memory_space_ends() -> None:
    """A full tree is ENOSPC, and nothing of the write that did not fit is there; what is freed can be used again."""
    world = MemoryWorld()
    world.close()
    world.tree = MemoryTree(Clock(), mode=0o777, space=4 * PAGE_SIZE)
    world.start()
    node = world.make(b"a", bytes(3 * PAGE_SIZE))
    calls: tuple[Callable[[], object], ...] = (
        lambda: world.write(node, b"x" * 2 * PAGE_SIZE, 3 * PAGE_SIZE),
        lambda: world.fs.allocate(node, 0, 1 << 40, ROOT),
    )
    for call in calls:
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.ENOSPC
    assert world.fs.data_size(node) == 3 * PAGE_SIZE and world.fs.statfs(node).f_bfree == 1
    world.fs.remove(world.root, b"a", ROOT)
    assert world.fs.statfs(world.root).f_bfree == 4
    world.make(b"b", bytes(4 * PAGE_SIZE))
    world.close()


def test_memory_clone_of_parts() -> None:
    """Whole pages are cloned, a part of one at the end alone, and never onto themselves."""
    world = MemoryWorld()
    one, two = world.make(b"one", b"1" * PAGE_SIZE + b"2" * 10), world.make(b"two")
    world.fs.clone_range(one, PAGE_SIZE, two, 2 * PAGE_SIZE, 0, ROOT)
    assert world.read(two, 2 * PAGE_SIZE) == b"2" * 10
    for offset, target, to, size in (
        (1, two, 0, 0), (0, two, 1, 0), (0, two, 0, 5), (0, two, 0, 2 * PAGE_SIZE), (0, one, 0, PAGE_SIZE),
        (2 * PAGE_SIZE, two, 0, 0),
    ):  # fmt: skip
        with pytest.raises(OSError) as caught:
            world.fs.clone_range(one, offset, target, to, size, ROOT)
        assert caught.value.errno == errno.EINVAL
    world.close()


def test_namespace_of_trees() -> None:
    """Several trees are exported side by side; nothing is moved or linked from one to another, data is copied."""
    trees = {f"/{name}": MemoryTree(Clock(), mode=0o777) for name in ("one", "two")}
    exports = parse_exports([parse_export(f"{path}={path},no_root_squash") for path in trees])
    namespace = Namespace(exports, SECRET, opener=opening(trees))
    root = namespace.root()
    one, two = (root.fs.lookup(root, name, ROOT) for name in (b"one", b"two"))
    assert [mode for _export, mode in namespace.modes()] == ["memory", "memory"]
    assert one.fs.parent(one, ROOT) is root and one.fs.fsid != two.fs.fsid
    assert namespace.export_of(two.handle) is exports[1]
    source, _ = one.fs.create(one, b"f", ROOT, 0o600)
    target, _ = two.fs.create(two, b"f", ROOT, 0o600)
    calls: tuple[Callable[[], object], ...] = (
        lambda: one.fs.rename(one, b"f", two, b"g", ROOT),
        lambda: two.fs.link(source, two, b"g", ROOT),
    )
    for call in calls:
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EXDEV
    one.fs.write(source, 0, b"data", ROOT)
    assert one.fs.copy_range(source, 0, target, 1, 99, ROOT) == 4
    assert two.fs.read(target, 0, 99) == (b"\0data", True)
    namespace.close()


def test_copy_between_memory_and_this_machine(tmp_path: Path) -> None:
    """Data goes through the server's memory where no kernel knows both files."""
    memory_world, real = MemoryWorld(), DirectoryWorld(tmp_path, "table")
    for source, target in ((memory_world, real), (real, memory_world)):
        node, copy = source.make(b"f", b"0123456789"), target.make(b"copy")
        assert source.fs.copy_range(node, 2, copy, 0, 5, ROOT) == 5
        assert target.read(copy) == b"23456"
    memory_world.close()
    real.close()
