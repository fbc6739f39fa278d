"""READ, WRITE, COMMIT (RFC 8881 18.3, 18.22, 18.32).

Owns when file data moves in the event loop and when in a thread: a READ whose pages are in memory and a small
unstable WRITE are done at once, everything that may wait for a disk goes to a thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from nfsd.errors import Nfs4Error
from nfsd.vfs.interface import Credentials
from xdr.generated import nfs4

if TYPE_CHECKING:
    from nfsd.compound import Compound
    from nfsd.vfs.interface import Node

Steps = Generator[Callable[[], Any], Any, Any]

IO_SIZE_MAX = 1024 * 1024  # what FATTR4_MAXREAD and MAXWRITE say
# Larger unstable writes go to a thread: copying this much takes about as long as handing it over.
INLINE_WRITE_MAX = 64 * 1024
_READ_HEAD = 8 + 8  # opnum, status, eof, the data's length
_SETID = stat.S_ISUID | stat.S_ISGID
_ROOT = Credentials(0, 0)


def file_for(c: Compound, stateid: nfs4.stateid4, node: Node, write: bool) -> int:
    """The data descriptor of `node`, after checking that this stateid allows it.

    Who did not open the file himself, and whoever uses a special stateid, needs permission on it now; an owner may
    always read and write what is his (RFC 8881 8.2.3; so does the Linux server).  Raises Nfs4Error, OSError.
    """
    kind = node.kind
    if kind != stat.S_IFREG:
        if kind == stat.S_IFDIR:
            raise Nfs4Error(nfs4.NFS4ERR_ISDIR, "I/O on a directory")
        if kind == stat.S_IFLNK and c.minor:
            raise Nfs4Error(nfs4.NFS4ERR_SYMLINK, "I/O on a symbolic link")
        raise Nfs4Error(nfs4.NFS4ERR_WRONG_TYPE if c.minor else nfs4.NFS4ERR_INVAL, "I/O on no regular file")
    cred = c.as_caller(node, not write)
    if write and node.fs.read_only:
        raise Nfs4Error(nfs4.NFS4ERR_ROFS, "read-only export")
    held = c.server.state.check_io(c, stateid, node, write)
    need = nfs4.OPEN4_SHARE_ACCESS_WRITE if write else nfs4.OPEN4_SHARE_ACCESS_READ
    if held is None or held.caller is not cred and held.caller != cred or not held.access & need:
        want = os.W_OK if write else os.R_OK
        fs = node.fs
        if fs.access(node, want, cred) != want and fs.stat(node).st_uid != cred.uid:
            raise Nfs4Error(nfs4.NFS4ERR_ACCESS, "the file's permissions forbid it")
    return node.fs.data_fd(node, write)


def op_read(c: Compound, args: nfs4.READ4args) -> Steps:
    """Read; from memory at once, from the disk in a thread."""
    node = c.node()
    fd = file_for(c, args.stateid, node, False)
    offset, count = args.offset, min(args.count, IO_SIZE_MAX)
    count = max(0, min(count, c.reply_size_max - c.reply_size - _READ_HEAD))
    size = os.fstat(fd).st_size
    if offset >= size or not count:
        return nfs4.READ4resok(offset >= size, b"")
    count = min(count, size - offset)
    data: bytes | memoryview | None = _read_cached(fd, count, offset)
    if data is None:
        node.busy += 1
        try:
            data = yield lambda: os.pread(fd, count, offset)
        finally:
            node.busy -= 1
    assert data is not None
    return nfs4.READ4resok(offset + len(data) >= size, data)


def _read_cached(fd: int, count: int, offset: int) -> memoryview | None:
    """The bytes, if all of them are in memory; None if the disk would have to be waited for."""
    buffer = bytearray(count)
    try:
        got = os.preadv(fd, [buffer], offset, os.RWF_NOWAIT)
    except OSError:  # EAGAIN: not in memory; EOPNOTSUPP: this file system cannot tell
        return None
    return memoryview(buffer) if got == count else None


def op_write(c: Compound, args: nfs4.WRITE4args) -> Steps:
    """Write; small unstable data at once, everything that is synced in a thread."""
    node = c.node()
    fd = file_for(c, args.stateid, node, True)
    data, offset, stable = args.data, args.offset, args.stable
    if len(data) > IO_SIZE_MAX:
        data = data[:IO_SIZE_MAX]
    if offset + len(data) > node.fs.file_size_max:
        raise Nfs4Error(nfs4.NFS4ERR_FBIG, "beyond the largest file")
    written = 0
    if stable == nfs4.UNSTABLE4 and len(data) <= INLINE_WRITE_MAX:
        written = os.pwrite(fd, data, offset) if data else 0
    else:
        node.busy += 1
        try:
            written = yield lambda: _write_and_sync(c, fd, data, offset, stable)
        finally:
            node.busy -= 1
    node.fs.touch(node)
    mode = os.fstat(fd).st_mode
    if mode & _SETID and c.as_caller(node).uid:
        _drop_setid(node, mode)
    return nfs4.WRITE4resok(written, stable, c.server.write_verifier)


def _drop_setid(node: Node, mode: int) -> None:
    """Somebody else than root wrote: the kernel would have taken these bits away, had it been the writer (write(2))."""
    dropped = stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0)
    if mode & dropped:
        node.fs.setattr(node, _ROOT, mode=stat.S_IMODE(mode) & ~dropped)


def _write_and_sync(c: Compound, fd: int, data: bytes | memoryview, offset: int, stable: int) -> int:
    """In a thread: write all of it, and bring it to the disk if that is asked for."""
    written = 0
    while written < len(data):
        written += os.pwrite(fd, data[written:], offset + written)
    if stable != nfs4.UNSTABLE4:
        _sync(c, fd, stable == nfs4.FILE_SYNC4)
    return written


def _sync(c: Compound, fd: int, whole: bool) -> None:
    """In a thread: fsync or fdatasync.  After a failure nobody knows which pages are lost, so that the verifier
    changes and every client sends its uncommitted data again (RFC 8881 18.32.4)."""
    try:
        if whole:
            os.fsync(fd)
        else:
            os.fdatasync(fd)
    except OSError:
        c.server.writes_lost()
        raise


def op_commit(c: Compound, args: nfs4.COMMIT4args) -> Steps:
    """Bring what was written unstable to the disk."""
    node = c.node()
    if node.kind != stat.S_IFREG:
        status = nfs4.NFS4ERR_ISDIR if node.kind == stat.S_IFDIR else nfs4.NFS4ERR_INVAL
        if c.minor and node.kind != stat.S_IFDIR:
            status = nfs4.NFS4ERR_SYMLINK if node.kind == stat.S_IFLNK else nfs4.NFS4ERR_WRONG_TYPE
        raise Nfs4Error(status, "COMMIT of no regular file")
    if args.offset + args.count > nfs4.NFS4_UINT64_MAX:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "a range beyond 2^64")
    fd = node.fs.data_fd(node, False)
    node.busy += 1
    try:
        yield lambda: _sync(c, fd, True)
    finally:
        node.busy -= 1
    return nfs4.COMMIT4resok(c.server.write_verifier)
