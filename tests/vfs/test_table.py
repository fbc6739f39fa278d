"""The object table, and a server that is an ordinary user."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.config import parse_export
from nfsd.exports import Namespace, parse_exports
from nfsd.vfs import StaleHandle
from nfsd.vfs.objects import NAMES_MAX, ROOT_ID, ObjectTable
from statestore import NAME, MemoryStore
from tests.vfs.world import ALICE, ROOT, SECRET, DirectoryWorld, as_ordinary_user


@pytest.fixture
def table_world(place: Path) -> Iterator[DirectoryWorld]:
    """An export by the table."""
    made = DirectoryWorld(place, "table")
    yield made
    made.close()


def rows_of(store: MemoryStore) -> list[tuple[bytes, bytes]]:
    """The store's NAME records."""
    store.flush()
    return [(key, value) for kind, key, value in store.load() if kind == NAME]


def test_table_restart_and_ids() -> None:
    """Rows come back as they were, and no id is given twice, not even the last one's after a restart."""
    store = MemoryStore()
    table = ObjectTable(1, [], store.commit)
    one = table.row_of(b"one", (ROOT_ID, b"a"))
    table.add_name(one.id, (7, b"b"))
    two = table.row_of(b"two", (ROOT_ID, b"c"))
    table.remove(two.id)
    again = ObjectTable(1, rows_of(store), store.commit)
    assert again.rows[one.id].names == [(7, b"b"), (ROOT_ID, b"a")]
    assert again.rows[one.id].identity == b"one"
    three = again.row_of(b"three", (ROOT_ID, b"c"))
    assert three.id not in (one.id, two.id)
    assert len(rows_of(store)) == 2
    assert ObjectTable(2, rows_of(store), store.commit).rows == {}


def test_table_commits_before_it_tells() -> None:
    """A row is handed to the store before its id is known; asking again writes nothing."""
    commits: list[int] = []
    table = ObjectTable(1, [], lambda changes: commits.append(len(changes)))
    row = table.row_of(b"one", (ROOT_ID, b"a"))
    assert commits == [1]
    assert table.row_of(b"one", (ROOT_ID, b"a")) is row
    assert commits == [1]


def test_table_bounds_names() -> None:
    """The names kept of one object are bounded."""
    table = ObjectTable(1, [], lambda changes: None)
    row = table.row_of(b"one", (ROOT_ID, b"a"))
    for number in range(200):
        table.add_name(row.id, (ROOT_ID, b"%d" % number))
    assert len(row.names) == NAMES_MAX


def test_moved_behind_the_server_goes_stale(table_world: DirectoryWorld) -> None:
    """What another program moved is stale after a restart, and gets a new handle where it is found."""
    world = table_world
    node = world.make(b"a")
    world.close()
    world.store.flush()
    (world.path / "a").rename(world.path / "b")
    world.start()
    with pytest.raises(StaleHandle):
        world.namespace.resolve(node.handle)
    assert world.fs.lookup(world.root, b"b", ROOT).handle != node.handle


def test_removed_rows_go(table_world: DirectoryWorld) -> None:
    """Rows of removed objects leave the store, but for the mark of the highest id."""
    world = table_world
    for number in range(20):
        world.make(b"%d" % number)
    assert len(rows_of(world.store)) == 20
    for number in range(20):
        world.fs.remove(world.root, b"%d" % number, ROOT)
    assert len(rows_of(world.store)) <= 1


def test_crash_loses_no_handle(table_world: DirectoryWorld) -> None:
    """Every handle that was told is good after a crash of the store at its last commit."""
    world = table_world
    told = {world.make(b"%d" % number).handle: b"%d" % number for number in range(10)}
    world.store.flush()
    world.close()
    world.store = world.store.crash()
    world.start()
    for handle, name in told.items():
        assert world.fs.lookup(world.root, name, ROOT).handle == handle


def _serve_as_ordinary_user(directory: str) -> str:
    """Everything that `make serve` needs, as the user that runs this."""
    store = MemoryStore()
    exports = parse_exports([parse_export(f"{directory}=/export")])
    namespace = Namespace(exports, SECRET, commit=store.commit)
    assert not namespace.acts_as_caller
    root = namespace.root()
    root = root.fs.lookup(root, b"export", ROOT)
    fs = root.fs
    # git makes its objects read-only and writes them through the descriptor that made them.
    node, _ = fs.create(root, b"object", ALICE, 0o444)
    fs.write(node, 0, b"data", ROOT)
    assert fs.stat(node).st_uid == os.getuid()
    fs.release(node)
    fs.write(node, 4, b"more", ROOT)
    assert stat.S_IMODE(fs.stat(node).st_mode) == 0o444
    assert fs.access(node, os.R_OK | os.W_OK, ROOT) == os.R_OK
    directory_node = fs.mkdir(root, b"d", ROOT, 0o755)
    fs.rename(root, b"object", directory_node, b"object", ALICE)
    fs.link(node, root, b"link", ALICE)
    node.opens = 1
    fs.remove(root, b"link", ALICE)
    fs.remove(directory_node, b"object", ALICE)
    assert node.pinned and fs.read(node, 0, 99) == (b"datamore", True)
    kept, _ = fs.create(directory_node, b"kept", ALICE, 0o600)
    namespace.close()
    namespace = Namespace(exports, SECRET, rows=rows_of(store), commit=store.commit)
    assert namespace.resolve(kept.handle).fs.stat(namespace.resolve(kept.handle)).st_nlink == 1
    with pytest.raises(StaleHandle):
        namespace.resolve(node.handle)
    modes = namespace.modes()
    namespace.close()
    return modes[0][1]


def test_ordinary_user(place: Path) -> None:
    """An ordinary user serves by the table, chosen by itself, as that user."""
    assert as_ordinary_user(lambda: _serve_as_ordinary_user(str(place))) == "table"


def test_ordinary_user_behind_a_closed_directory() -> None:
    """What the server's user may not open is the caller's error, not a crash."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make what is another user's")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        closed = Path(name) / "closed"
        closed.mkdir(mode=0o700)
        (closed / "f").write_bytes(b"x")

        def serve() -> str:
            namespace = Namespace(parse_exports([parse_export(f"{name}=/")]), SECRET)
            root = namespace.root()
            node = root.fs.lookup(root, b"closed", ROOT)
            for call in (lambda: root.fs.lookup(node, b"f", ROOT), lambda: root.fs.readdir(node, 0, ROOT)):
                with pytest.raises(PermissionError):
                    call()
            with pytest.raises(FileNotFoundError):
                root.fs.parent(root, ROOT)
            return "served"

        assert as_ordinary_user(serve) == "served"
