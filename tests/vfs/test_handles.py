"""Handles: what they survive, what is refused, and that no way leads out of the export."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsd.config import parse_export
from nfsd.exports import Namespace, parse_exports
from nfsd.vfs import BadHandle, StaleHandle
from nfsd.vfs.handles import BODY_SIZE_MAX, KERNEL, TABLE, HandleCodec
from tests.vfs.world import ROOT, SECRET, DirectoryWorld, World


@pytest.fixture
def outside(place: Path) -> Iterator[DirectoryWorld]:
    """An export that is a part of a larger directory."""
    (place / "inside").mkdir()
    made = DirectoryWorld(place / "inside", "kernel" if os.geteuid() == 0 else "table")
    yield made
    made.close()


def test_codec_round_trip() -> None:
    """Version, number and body come back; the handle depends on the secret."""
    codec = HandleCodec(SECRET)
    for version, export_id, body in ((KERNEL, 1, b"b"), (TABLE, 255, bytes(BODY_SIZE_MAX))):
        handle = codec.encode(version, export_id, body)
        assert len(handle) <= 64
        assert codec.decode(handle) == (version, export_id, body)
        with pytest.raises(BadHandle):
            HandleCodec(b"another").decode(handle)
    with pytest.raises(ValueError):
        codec.encode(KERNEL, 1, bytes(64 - 2 - 8 + 1))


def test_handle_survives_restart_and_rename(world: World) -> None:
    """A handle names the same file after a restart, wherever it was moved through the server."""
    directory = world.fs.mkdir(world.root, b"d", ROOT, 0o755)
    node = world.make(b"a", b"data")
    world.fs.rename(world.root, b"a", directory, b"b", ROOT)
    root = world.root.handle
    world.restart()
    assert world.root.handle == root
    again = world.namespace.resolve(node.handle)
    assert again is not node and again.handle == node.handle
    assert world.read(again) == b"data"
    assert world.namespace.resolve(directory.handle).handle == directory.handle
    assert world.fs.lookup(world.namespace.resolve(directory.handle), b"b", ROOT) is again


def test_handle_forged(world: World) -> None:
    """Every flipped bit, every shorter and every longer handle is a bad handle."""
    handle = world.make(b"a").handle
    damaged = [handle[:size] for size in range(len(handle))]
    damaged += [handle + b"\0", handle * 4, b"", b"\0" * 64, b"\xff" * 128]
    for bit in range(len(handle) * 8):
        flipped = bytearray(handle)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    noise = random.Random(4711)
    damaged += [noise.randbytes(noise.randrange(1, 70)) for _ in range(500)]
    for bad in damaged:
        with pytest.raises(BadHandle):
            world.namespace.resolve(bad)


def test_handle_of_deleted_file(world: World) -> None:
    """A file that was removed is stale, after a restart too."""
    node = world.make(b"a")
    world.fs.remove(world.root, b"a", ROOT)
    with pytest.raises(StaleHandle):
        world.namespace.resolve(node.handle)
    for call in (world.fs.stat, world.fs.btime_ns, lambda gone: world.fs.access(gone, os.R_OK, ROOT)):
        with pytest.raises(StaleHandle):
            call(node)
    world.restart()
    with pytest.raises(StaleHandle):
        world.namespace.resolve(node.handle)


def test_handle_of_file_deleted_behind_the_server(real: DirectoryWorld) -> None:
    """A file that another program removed is stale, and let go of."""
    node = real.make(b"a")
    real.fs.release(node)
    (real.path / "a").unlink()
    assert real.namespace.reap(100) == 1
    with pytest.raises(StaleHandle):
        real.namespace.resolve(node.handle)
    with pytest.raises(StaleHandle):
        real.fs.stat(node)
    real.restart()
    with pytest.raises(StaleHandle):
        real.namespace.resolve(node.handle)


def test_handle_of_a_new_file_with_an_old_inode(world: World) -> None:
    """A recycled inode number does not bring an old handle back to life."""
    handles = set()
    for _ in range(20):
        node = world.make(b"a")
        handles.add(node.handle)
        world.fs.release(node)
        world.fs.remove(world.root, b"a", ROOT)
    assert len(handles) == 20
    world.make(b"a")
    for handle in handles:
        with pytest.raises(StaleHandle):
            world.namespace.resolve(handle)


def test_handle_of_another_export(place: Path, handles: str) -> None:
    """A handle belongs to its export: under another number it is bad, without its export it is stale."""
    for name in ("one", "two"):
        (place / name).mkdir()
    both = [parse_export(f"{place}/one=/one,fsid=1"), parse_export(f"{place}/two=/two,fsid=2")]
    namespace = Namespace(parse_exports(both), SECRET, handles=handles)  # type: ignore[arg-type]
    root = namespace.root()
    one = root.fs.lookup(root, b"one", ROOT)
    node, _ = one.fs.create(one, b"f", ROOT, 0o600)
    codec = HandleCodec(SECRET)
    version, export_id, body = codec.decode(node.handle)
    assert export_id == 1
    with pytest.raises(BadHandle):
        namespace.resolve(node.handle[:1] + b"\2" + node.handle[2:])
    for gone in (codec.encode(version, 3, body), codec.encode(9, 1, body), codec.encode(3, 0, bytes(16))):
        with pytest.raises(StaleHandle):
            namespace.resolve(gone)
    with pytest.raises(OSError):
        two = root.fs.lookup(root, b"two", ROOT)
        one.fs.rename(one, b"f", two, b"f", ROOT)
    namespace.close()
    namespace = Namespace(parse_exports(both[1:]), SECRET, handles=handles)  # type: ignore[arg-type]
    with pytest.raises(StaleHandle):
        namespace.resolve(node.handle)
    namespace.close()


def test_symlink_out_of_the_export(outside: DirectoryWorld) -> None:
    """A link that points out is an object; nothing is found through it, made through it or read through it."""
    secret = outside.path.parent / "secret"
    secret.mkdir()
    (secret / "f").write_bytes(b"secret")
    (outside.path / "way").symlink_to("../secret")
    (outside.path / "file").symlink_to("../secret/f")
    way = outside.fs.lookup(outside.root, b"way", ROOT)
    for call in (
        lambda: outside.fs.lookup(way, b"f", ROOT),
        lambda: outside.fs.create(way, b"g", ROOT, 0o600),
        lambda: outside.fs.readdir(way, 0, ROOT),
        lambda: outside.fs.open_data(outside.fs.lookup(outside.root, b"file", ROOT), True),
    ):
        with pytest.raises(OSError):
            call()
    outside.fs.create(outside.root, b"file", ROOT, 0o600)
    assert sorted(path.name for path in secret.iterdir()) == ["f"]
    assert (secret / "f").read_bytes() == b"secret"


def test_parent_directory_out_of_the_export(outside: DirectoryWorld) -> None:
    """ ".." as a name is refused, cached or not."""
    directory = outside.fs.mkdir(outside.root, b"d", ROOT, 0o755)
    for node in (outside.root, directory):
        with pytest.raises(OSError):
            outside.fs.lookup(outside.root, b"..", ROOT)
        with pytest.raises(OSError):
            outside.fs.lookup(node, b"../..", ROOT)


def test_directory_moved_out_of_the_export(outside: DirectoryWorld) -> None:
    """A directory that was moved out leads nowhere: not upward, and not by its handle after a restart."""
    fs = outside.fs
    directory = fs.mkdir(outside.root, b"d", ROOT, 0o755)
    deep = fs.mkdir(directory, b"deep", ROOT, 0o755)
    (outside.path / "d").rename(outside.path.parent / "d")
    with pytest.raises(StaleHandle):
        fs.parent(directory, ROOT)
    with pytest.raises(StaleHandle):
        fs.parent(deep, ROOT)
    outside.restart()
    for node in (directory, deep):
        with pytest.raises(StaleHandle):
            outside.namespace.resolve(node.handle)


_BELOW = """
import sys
from pathlib import Path
from nfsd.vfs import Credentials
from tests.vfs.world import DirectoryWorld, ROOT
import os, subprocess
place, handles = Path(sys.argv[1]), sys.argv[2]
(place / "below").mkdir()
subprocess.run(["mount", "-t", "tmpfs", "none", place / "below"], check=True)
(place / "below" / "f").write_bytes(b"x")
world = DirectoryWorld(place, handles)
for call in (
    lambda: world.fs.lookup(world.root, b"below", ROOT),
    lambda: world.fs.create(world.root, b"below", ROOT, 0o600),
    lambda: world.fs.lookup(world.root, b"below", ROOT),
):
    try:
        call()
    except PermissionError:
        continue
    raise SystemExit("another file system was entered")
assert world.names() == [b"below"]
world.close()
"""

_UNION = """
import os, subprocess, sys
from pathlib import Path
from tests.vfs.world import DirectoryWorld, ROOT
place = Path(sys.argv[1])
for name in ("lower", "upper", "work", "union"):
    (place / name).mkdir()
(place / "lower" / "f").write_bytes(b"old")
layers = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work"
subprocess.run(["mount", "-t", "overlay", "none", "-o", layers, place / "union"], check=True)
world = DirectoryWorld(place / "union", "table")
node = world.fs.lookup(world.root, b"f", ROOT)
world.write(node, b"new")
assert world.fs.lookup(world.root, b"f", ROOT) is node
world.restart()
again = world.namespace.resolve(node.handle)
assert world.read(again) == b"new"
world.close()
"""


def run_with_mounts(script: str, *arguments: str) -> str:
    """Run a script in a mount namespace of its own; what it wrote to standard error. Skips where there can be none."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("needs root and mount namespaces")
    command = ["unshare", "-m", "--propagation", "private", sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "mount:" in done.stderr and "unknown filesystem" in done.stderr:
        pytest.skip("this kernel has no such file system")
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_mount_below_the_export(place: Path, handles: str) -> None:
    """A file system that is mounted below the export is not shown, and what it covers is not either."""
    run_with_mounts(_BELOW, str(place), handles)


_READ_ONLY = """
import subprocess, sys
from pathlib import Path
from tests.vfs.world import DirectoryWorld
place = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", place], check=True)
for options in ("rw", "ro"):
    DirectoryWorld(place, "kernel", options).close()
"""


def test_read_only_mount(tmp_path: Path) -> None:
    """An export that is writable on a mount that is not is said in the log; a read-only one may be there."""
    said = run_with_mounts(_READ_ONLY, str(tmp_path))
    assert said.count('"event":"export.read_only_mount"') == 1


def test_union_file_system_copy_up(tmp_path: Path) -> None:
    """On overlayfs a file keeps its handle when the first write copies it up."""
    run_with_mounts(_UNION, str(tmp_path))
