"""Long random histories, on a directory of this machine and in memory: the two must not be told apart.

What every call returns or raises is compared, and what the objects look like afterwards. Times are compared by
whether they were changed: before each step they are set to what no clock says.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from nfsd.vfs import Credentials, FileSystem, Node
from tests.vfs.conftest import directory_at
from tests.vfs.world import ALICE, BOB, ROOT, DirectoryWorld, MemoryWorld, World

STEPS = 2500
CALLERS = (ROOT, ALICE, BOB, Credentials(1002, 3000, (1001,)))
NAMES = (b"a", b"b", b"c", b"d", b"e", b"n" * 256, b"..", b"")
GOOD_NAMES = NAMES[:6]
NAME_WEIGHTS = (9, 9, 9, 9, 9, 1, 1, 1)
MODES = (0o755, 0o644, 0o6755, 0o2644, 0o1777, 0o2775, 0o700, 0o666, 0o777, 0o070, 0)
SIZES = (0, 1, 10, 4096, 5000, 20_000)
ATIME_NS, MTIME_NS = 2_000_000_000, 1_000_000_000
OBJECTS_MAX = 40
VERIFIER = b"verifier"

Pair = tuple[Node, Node]
Call = Callable[[FileSystem, int], Any]

pytestmark = pytest.mark.usefixtures("as_root")


@pytest.fixture
def worlds() -> Iterator[tuple[World, World]]:
    """One of this machine, one in memory."""
    with directory_at("shm") as directory:
        real, memory = DirectoryWorld(directory, "kernel"), MemoryWorld()
        yield real, memory
        real.close()
        memory.close()


def set_times(pair: Pair, fs: FileSystem, side: int) -> None:
    """Give one of the pair times that no clock says."""
    fs.setattr(pair[side], ROOT, atime_ns=ATIME_NS, mtime_ns=MTIME_NS)


def looks_in(pair: Pair, fs: FileSystem, side: int) -> Any:
    """What one of the pair looks like."""
    return looks_of(fs, pair[side])


class History:
    """Two worlds in step, and the objects known in both."""

    def __init__(self, worlds: tuple[World, World], seed: int) -> None:
        self.worlds = worlds
        self.random = random.Random(seed)
        self.objects: list[Pair] = []
        self.reset()

    def reset(self) -> None:
        """Know the roots and nothing else."""
        self.objects = [(self.worlds[0].root, self.worlds[1].root)]

    def choose(self, kind: int | None = None) -> Pair:
        """An object, most often of the kind that the call wants."""
        fitting = [pair for pair in self.objects if pair[1].kind == kind]
        return self.random.choice(fitting if fitting and self.random.random() < 0.9 else self.objects)

    def name(self) -> bytes:
        """A name, most often a good one."""
        return self.random.choices(NAMES, NAME_WEIGHTS)[0]

    def both(self, call: Call) -> tuple[Any, Any]:
        """What a call does in each world: its value or its error, nodes as they are."""
        outcomes = []
        for side in (0, 1):
            try:
                outcomes.append(call(self.worlds[side].fs, side))
            except OSError as error:
                outcomes.append(("error", error.errno))
        return outcomes[0], outcomes[1]

    def step(self, number: int) -> None:
        """Do one thing in both worlds and compare."""
        operation = self.random.choice(OPERATIONS)
        touched, call = operation(self)
        for pair in touched:
            self.both(partial(set_times, pair))
        real, memory = self.both(call)
        if isinstance(real, Node) and isinstance(memory, Node):
            self.know((real, memory))
            touched = [*touched, (real, memory)]
            real = memory = None
        story = f"step {number}: {operation.__name__}"
        assert real == memory, story
        for pair in touched:
            looks = self.both(partial(looks_in, pair))
            assert looks[0] == looks[1], f"{story}: {looks}"

    def know(self, pair: Pair) -> None:
        """Remember an object; one world must not take for one object what the other takes for two."""
        for known in self.objects:
            assert (known[0] is pair[0]) == (known[1] is pair[1])
            if known[0] is pair[0]:
                return
        if len(self.objects) > OBJECTS_MAX:
            del self.objects[self.random.randrange(1, len(self.objects))]
        self.objects.append(pair)


def looks_of(fs: FileSystem, node: Node) -> tuple[object, ...]:
    """What can be seen of an object, but for numbers and times that no two file systems share."""
    st = fs.stat(node)
    size = 0 if node.kind == stat.S_IFDIR else st.st_size
    links = st.st_nlink - (fs.mode_name == "kernel" and node is fs.root)  # The directory of tombs is not shown.
    times = st.st_atime_ns == ATIME_NS, st.st_mtime_ns == MTIME_NS
    return st.st_mode, st.st_uid, st.st_gid, links, st.st_rdev, size, node.pinned, *times


def pick(history: History) -> tuple[Pair, bytes, Credentials, int]:
    """A directory, a name, a caller and a mode."""
    chance = history.random
    return history.choose(stat.S_IFDIR), history.name(), chance.choice(CALLERS), chance.choice(MODES)


def creating(history: History) -> tuple[list[Pair], Call]:
    """OPEN with CREATE."""
    parent, name, cred, mode = pick(history)
    exclusive = history.random.random() < 0.5
    verifier = VERIFIER if history.random.random() < 0.2 else None

    def call(fs: FileSystem, side: int) -> Node:
        node, made = fs.create(parent[side], name, cred, mode, exclusive=exclusive, verifier=verifier)
        assert made or not exclusive or verifier
        fs.release(node)
        return node

    return [parent], call


def making_directory(history: History) -> tuple[list[Pair], Call]:
    """MKDIR."""
    parent, name, cred, mode = pick(history)
    return [parent], lambda fs, side: fs.mkdir(parent[side], name, cred, mode)


def making_link(history: History) -> tuple[list[Pair], Call]:
    """SYMLINK."""
    parent, name, cred, _mode = pick(history)
    target = history.random.choice([b"a", b"../nowhere", b"t" * 4000, b"t" * 5000])
    return [parent], lambda fs, side: fs.symlink(parent[side], name, target, cred)


def making_special(history: History) -> tuple[list[Pair], Call]:
    """MKNOD."""
    parent, name, cred, mode = pick(history)
    kind = history.random.choice([stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR])
    return [parent], lambda fs, side: fs.mknod(parent[side], name, cred, mode, kind, os.makedev(1, 3))


def linking(history: History) -> tuple[list[Pair], Call]:
    """LINK."""
    parent, name, cred, _mode = pick(history)
    node = history.choose(stat.S_IFREG)
    return [parent, node], lambda fs, side: fs.link(node[side], parent[side], name, cred)


def removing(history: History) -> tuple[list[Pair], Call]:
    """REMOVE."""
    parent, name, cred, _mode = pick(history)
    return [parent], lambda fs, side: fs.remove(parent[side], name, cred)


def renaming(history: History) -> tuple[list[Pair], Call]:
    """RENAME."""
    parent, name, cred, _mode = pick(history)
    other, newname = history.choose(stat.S_IFDIR), history.name()
    if history.random.random() < 0.4:
        other = parent
    return [parent, other], lambda fs, side: fs.rename(parent[side], name, other[side], newname, cred)


def looking_up(history: History) -> tuple[list[Pair], Call]:
    """LOOKUP."""
    parent, _name, cred, _mode = pick(history)
    name = history.random.choice(GOOD_NAMES)
    return [parent], lambda fs, side: fs.lookup(parent[side], name, cred)


def going_up(history: History) -> tuple[list[Pair], Call]:
    """LOOKUPP, but for the root's."""
    parent, _name, cred, _mode = pick(history)
    if parent is history.objects[0]:
        return looking_up(history)
    return [parent], lambda fs, side: fs.parent(parent[side], cred)


def listing(history: History) -> tuple[list[Pair], Call]:
    """READDIR."""
    parent, _name, cred, _mode = pick(history)
    return [parent], lambda fs, side: sorted(name for _cookie, name in fs.readdir(parent[side], 0, cred))


def identifying(history: History) -> tuple[list[Pair], Call]:
    """Whether a name is free."""
    parent, _name, cred, _mode = pick(history)
    name = history.random.choice(GOOD_NAMES)
    return [], lambda fs, side: bool(fs.identify(parent[side], name, cred))


def asking(history: History) -> tuple[list[Pair], Call]:
    """ACCESS."""
    node, cred = history.choose(), history.random.choice(CALLERS)
    want = history.random.randrange(8)
    return [], lambda fs, side: fs.access(node[side], want, cred)


def reading_link(history: History) -> tuple[list[Pair], Call]:
    """READLINK."""
    node = history.choose(stat.S_IFLNK)
    return [node], lambda fs, side: fs.readlink(node[side], ROOT)


def setting(history: History) -> tuple[list[Pair], Call]:
    """SETATTR."""
    chance = history.random
    node, cred = history.choose(stat.S_IFREG), chance.choice(CALLERS)
    changes: dict[str, Any] = {}
    for name, values in (
        # A size that is the file's already changes its times on some file systems and not on others.
        ("size", range(1, 30_000)), ("mode", MODES), ("uid", (0, 1000, 1001)), ("gid", (0, 1000, 2000, 3000)),
        ("atime_ns", (5_000_000_000,)), ("mtime_ns", (6_000_000_000,)), ("now_atime", (True,)), ("now_mtime", (True,)),
    ):  # fmt: skip
        if chance.random() < 0.25:
            changes[name] = chance.choice(values)
    by_open = chance.random() < 0.3
    return [node], lambda fs, side: fs.setattr(node[side], cred, by_open=by_open, **changes)


def writing(history: History) -> tuple[list[Pair], Call]:
    """WRITE."""
    chance = history.random
    node, cred = history.choose(stat.S_IFREG), chance.choice(CALLERS)
    offset, data = chance.choice(SIZES), chance.randbytes(chance.choice(SIZES))

    def call(fs: FileSystem, side: int) -> None:
        fs.write(node[side], offset, data, cred)
        fs.touch(node[side])
        fs.release(node[side])

    return [node], call


def reading(history: History) -> tuple[list[Pair], Call]:
    """READ."""
    node, offset, count = history.choose(stat.S_IFREG), *history.random.choices(SIZES, k=2)

    def call(fs: FileSystem, side: int) -> object:
        fs.open_data(node[side], False)
        return fs.read(node[side], offset, count)

    return [node], call


def changing_space(history: History) -> tuple[list[Pair], Call]:
    """ALLOCATE and DEALLOCATE."""
    node, offset, size = history.choose(stat.S_IFREG), *history.random.choices(SIZES[1:], k=2)
    cred = history.random.choice(CALLERS)
    allocates = history.random.random() < 0.5

    def call(fs: FileSystem, side: int) -> None:
        (fs.allocate if allocates else fs.punch_hole)(node[side], offset, size, cred)

    return [node], call


def changing_xattrs(history: History) -> tuple[list[Pair], Call]:
    """SETXATTR, REMOVEXATTR, GETXATTR, LISTXATTRS."""
    chance = history.random
    node, cred, name = history.choose(chance.choice([stat.S_IFREG, stat.S_IFDIR])), chance.choice(CALLERS), b"x"
    flags = chance.choice([0, os.XATTR_CREATE, os.XATTR_REPLACE])
    call: Call = chance.choice([
        lambda fs, side: fs.setxattr(node[side], name, b"value", flags, cred),
        lambda fs, side: fs.removexattr(node[side], name, cred),
        lambda fs, side: fs.getxattr(node[side], name, cred),
        lambda fs, side: fs.listxattr(node[side], cred),
    ])  # fmt: skip
    return [node], call


def holding_open(history: History) -> tuple[list[Pair], Call]:
    """An open file, or the last CLOSE of it."""
    node = history.choose(stat.S_IFREG)

    def call(fs: FileSystem, side: int) -> None:
        if node[side].kind == stat.S_IFREG:
            fs.stat(node[side])
            node[side].opens = 1 - node[side].opens
            fs.release(node[side])

    return [], call


OPERATIONS = (
    creating, creating, making_directory, making_directory, making_link, making_special, linking, removing, renaming,
    renaming, looking_up, going_up, listing, identifying, asking, reading_link, setting, setting, setting, writing,
    reading, changing_space, changing_xattrs, changing_xattrs, holding_open,
)  # fmt: skip


def compared(left: World, right: World, parent: Pair) -> int:
    """Compare two trees from a directory on, by name; return how many objects there are."""
    names = left.names(parent[0])
    assert names == right.names(parent[1])
    count = 1
    for name in names:
        pair = left.fs.lookup(parent[0], name, ROOT), right.fs.lookup(parent[1], name, ROOT)
        assert looks_of(left.fs, pair[0])[:7] == looks_of(right.fs, pair[1])[:7]
        if pair[0].kind == stat.S_IFREG:
            assert left.read(pair[0], 0, 1 << 20) == right.read(pair[1], 0, 1 << 20)
        count += compared(left, right, pair) if pair[0].kind == stat.S_IFDIR else 1
    return count


@pytest.mark.parametrize("seed", range(8))
def test_histories_are_alike(worlds: tuple[World, World], seed: int) -> None:
    """Every step does the same in both, and what is left over is the same, before and after a restart."""
    history = History(worlds, seed)
    for number in range(STEPS):
        history.step(number)
    left, right = worlds
    for node in [node for pair in history.objects for node in pair]:
        node.opens = 0
        node.fs.release(node)
    for _ in range(2):
        assert compared(left, right, (left.root, right.root)) > 5
        for world in worlds:
            world.restart()
