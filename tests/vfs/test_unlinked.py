"""Objects that live on: open files without names, with and without a tomb, and nodes beyond the cache's limit."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest

from nfsd.vfs import Node, StaleHandle
from tests.vfs.world import ROOT, World


def test_nodes_stay_bounded(make_world: Callable[..., World]) -> None:
    """A node that was evicted comes back by its handle; one that somebody holds is the same object again."""
    world = make_world(path_fd_limit=16, node_limit=50)
    if world.fs.apart:
        pytest.skip("the keeper's limit is its own")
    held = world.make(b"held")
    opened = world.make(b"opened")
    opened.opens = 1
    others = [world.make(b"%d" % number).handle for number in range(200)]
    gc.collect()
    assert len(world.namespace.cache.nodes) <= 50 + 32
    assert world.namespace.cache.nodes[opened.handle] is opened
    assert world.namespace.resolve(held.handle) is held
    for handle in others:
        assert world.namespace.resolve(handle).handle == handle
    assert world.fs.stat(held).st_nlink == 1


def test_open_file_without_name(world: World) -> None:
    """A file that is removed while it is open goes on until it is released, and not beyond."""
    node = world.make(b"a", b"data")
    node.opens = 1
    world.fs.release(node)
    world.fs.remove(world.root, b"a", ROOT)
    assert node.pinned
    assert world.namespace.resolve(node.handle) is node
    assert world.fs.stat(node).st_nlink == 0
    world.write(node, b"more", 4)
    assert world.read(node) == b"datamore"
    world.fs.setattr(node, ROOT, size=6, by_open=True)
    assert world.fs.stat(node).st_size == 6
    with pytest.raises(FileNotFoundError):
        world.fs.link(node, world.root, b"b", ROOT)
    node.opens = 0
    world.fs.release(node)
    with pytest.raises(StaleHandle):
        world.namespace.resolve(node.handle)
    with pytest.raises(StaleHandle):
        world.fs.stat(node)


def test_open_file_with_another_name_is_not_pinned(world: World) -> None:
    """A file that keeps a name needs no pin."""
    node = world.make(b"a")
    node.opens = 1
    world.fs.link(node, world.root, b"b", ROOT)
    world.fs.remove(world.root, b"a", ROOT)
    assert not node.pinned


def opened(world: World, name: bytes) -> Node:
    """A new file with data, as an OPEN leaves it."""
    node = world.make(name, b"data")
    node.opens = 1
    return node


def buried(world: World, name: bytes) -> Node:
    """An open file whose last name has gone, with a tomb."""
    node = opened(world, name)
    assert world.fs.bury(world.root, name, node.key)
    world.fs.sync_tombs()
    world.fs.remove(world.root, name, ROOT)
    return node


def test_identity(world: World) -> None:
    """An object is recognised by the same bytes under each of its names; a free name has none."""
    node = world.make(b"a")
    identity = world.fs.identify(world.root, b"a", ROOT)
    world.fs.link(node, world.root, b"b", ROOT)
    world.fs.rename(world.root, b"a", world.root, b"c", ROOT)
    assert identity and world.fs.identify(world.root, b"b", ROOT) == identity
    assert world.fs.identify(world.root, b"c", ROOT) == identity
    assert world.fs.identify(world.root, b"a", ROOT) == b""
    assert world.fs.handle_of(identity) == node.handle
    assert world.fs.handle_of(b"") == b""
    with pytest.raises(NotADirectoryError):
        world.fs.identify(node, b"x", ROOT)


def test_tomb_survives_a_restart(world: World) -> None:
    """A buried file keeps its handle and its data over a restart, and goes with its tomb."""
    if not world.fs.keeps_unlinked:
        node = opened(world, b"a")
        assert not world.fs.bury(world.root, b"a", node.key)
        assert not world.fs.is_buried(node.key) and world.fs.buried() == []
        return
    node = buried(world, b"a")
    assert world.names() == [] and node.pinned
    assert world.fs.stat(node).st_nlink - node.pinned == 0
    world.restart()
    assert world.fs.buried() == [node.key] and world.fs.is_buried(node.key)
    again = world.namespace.resolve(node.handle)
    again.opens, again.pinned = 1, True
    assert world.read(again) == b"data"
    again.opens = 0
    world.fs.unbury(node.key)
    assert world.fs.buried() == []
    with pytest.raises(StaleHandle):
        world.namespace.resolve(node.handle)
    world.fs.unbury(node.key)


def test_tomb_of_a_file_that_got_a_name_again(world: World) -> None:
    """A buried file may be linked; then it stays when its tomb goes."""
    if not world.fs.keeps_unlinked:
        pytest.skip("no tombs here")
    node = buried(world, b"a")
    world.fs.link(node, world.root, b"b", ROOT)
    world.fs.unbury(node.key)
    assert world.fs.stat(node).st_nlink == 1
    assert world.read(world.fs.lookup(world.root, b"b", ROOT)) == b"data"


def test_tomb_only_for_the_last_name(world: World) -> None:
    """A file with another name needs no tomb, a directory and a missing name have none."""
    node = opened(world, b"a")
    world.fs.link(node, world.root, b"b", ROOT)
    directory = world.fs.mkdir(world.root, b"d", ROOT, 0o755)
    assert not world.fs.bury(world.root, b"a", node.key)
    assert not world.fs.bury(world.root, b"d", directory.key)
    assert not world.fs.bury(world.root, b"missing", node.key)


def test_unlinked_file_that_is_in_use(world: World) -> None:
    """While a thread works on the data of a file that nobody has open, it outlives its name, and not longer."""
    if world.fs.apart:
        pytest.skip("the keeper knows what is in use: its own threads' calls")
    node = world.make(b"a", b"data")
    node.busy += 1
    world.fs.remove(world.root, b"a", ROOT)
    assert world.read(node) == b"data"
    node.busy -= 1
    with pytest.raises(StaleHandle):
        world.fs.stat(node)
    with pytest.raises(StaleHandle):
        world.namespace.resolve(node.handle)


def test_unlinked_file_dies_with_the_process(world: World) -> None:
    """Without a tomb an open file without a name is gone after a restart."""
    node = opened(world, b"a")
    world.fs.remove(world.root, b"a", ROOT)
    assert world.read(node) == b"data"
    world.restart()
    with pytest.raises(StaleHandle):
        world.namespace.resolve(node.handle)
