"""The last blocks of a file system, which are root's, are not for everybody who writes through the server."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import operations as ops
from tests.support.client import Connection, Opened, Session, mount, unique
from tests.wire.server import ServerProcess
from xdr.generated import nfs4

pytestmark = pytest.mark.root

SIZE_MIB, ROOTS_PERCENT = 32, 50
MIB = 1 << 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server whose export is an ext4 of its own, half of which is kept for root."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no mkfs.ext4: install e2fsprogs")
    image, export = tmp_path / "image", tmp_path / "export"
    with image.open("wb") as file:
        file.truncate(SIZE_MIB * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-m", str(ROOTS_PERCENT), image], check=True, timeout=60)
    export.mkdir()
    mounted = subprocess.run(["mount", "-o", "loop", image, export], capture_output=True, text=True, timeout=60)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    made = ServerProcess(tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.close()
        subprocess.run(["umount", export], check=True, timeout=60)


def write(session: Session, opened: Opened, number: int, size: int, stable: int) -> int:
    """Write one piece; the status."""
    piece = ops.write(opened.stateid, bytes((number % 251 + 1,)) * size, offset=number * size, stable=stable)
    return session.status(ops.putfh(opened.handle), piece)


def small(session: Session, opened: Opened, number: int) -> int:
    """Unstable, at once in the event loop."""
    return write(session, opened, number, 64 * 1024, nfs4.UNSTABLE4)


def large(session: Session, opened: Opened, number: int) -> int:
    """Stable, in a thread."""
    return write(session, opened, number, MIB // 2, nfs4.FILE_SYNC4)


def allocated(session: Session, opened: Opened, number: int) -> int:
    """Space alone."""
    asked = nfs4.ALLOCATE4args(opened.stateid, number * MIB, MIB)
    return session.status(ops.putfh(opened.handle), nfs4.nfs_argop4(nfs4.OP_ALLOCATE, asked))


def copied(session: Session, opened: Opened, number: int) -> int:
    """The file's first part over and over."""
    if not number:
        return large(session, opened, 0)
    asked = nfs4.COPY4args(opened.stateid, opened.stateid, 0, number * MIB // 2, MIB // 2, True, True, [])
    file = ops.putfh(opened.handle)
    return session.status(file, ops.savefh(), nfs4.nfs_argop4(nfs4.OP_COPY, asked))


@pytest.mark.parametrize("take", [small, large, allocated, copied])
def test_last_blocks(server: ServerProcess, take: Callable[[Session, Opened, int], int]) -> None:
    """An ordinary user's file system is full while half of it is free, whoever came before; root goes on."""
    connections = [Connection(server.port, uid=1000, gid=1000), Connection(server.port)]
    try:
        user, root = (mount(connection, minor=2) for connection in connections)
        full, roots = user.create(unique(b"user")), root.create(unique(b"root"))
        statuses = []
        for number in range(SIZE_MIB * 16):
            # Between two of the user's requests the thread has been root's.
            root.ok(ops.putfh(roots.handle), ops.getattr_(), ops.access())
            statuses.append(take(user, full, number))
            if statuses[-1]:
                break
        assert len(statuses) > 5 and statuses[-1] == nfs4.NFS4ERR_NOSPC
        about = os.statvfs(server.export)
        assert about.f_bfree > about.f_blocks * (ROOTS_PERCENT - 10) // 100
        assert large(root, roots, 0) == nfs4.NFS4_OK
        assert server.stop() == 0
    finally:
        for connection in connections:
            connection.close()
