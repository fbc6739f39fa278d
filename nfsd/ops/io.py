"""READ, WRITE, COMMIT (RFC 8881 18.3, 18.22, 18.32).

Owns when file data moves in the event loop and when in a thread: a READ whose pages are in memory and a small
unstable WRITE are done at once, everything that may wait for a disk goes to a thread.  Must not make system calls:
the file system moves the data.
"""

from __future__ import annotations

import os
import stat

from nfsd.errors import Nfs4Error
from nfsd.ops.request import Request, Steps, Thread
from nfsd.state import conflicts
from nfsd.vfs.interface import Credentials, Node
from xdr.generated import nfs4

IO_SIZE_MAX = 1024 * 1024  # what FATTR4_MAXREAD and MAXWRITE say
# Larger unstable writes go to a thread: copying this much takes about as long as handing it over.
INLINE_WRITE_MAX = 64 * 1024
_READ_HEAD = 8 + 8  # opnum, status, eof, the data's length


def file_for(c: Request, stateid: nfs4.stateid4, node: Node, write: bool) -> Credentials:
    """The caller, after checking that this stateid allows the caller to read or write `node`, whose data is ready then.

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
    cred = c.as_caller(node, reading=not write)
    fs = node.fs
    if write and fs.read_only:
        raise Nfs4Error(nfs4.NFS4ERR_ROFS, "read-only export")
    held = conflicts.check_io(c.state, c, stateid, node, write)
    need = nfs4.OPEN4_SHARE_ACCESS_WRITE if write else nfs4.OPEN4_SHARE_ACCESS_READ
    if held is None or held.caller is not cred and held.caller != cred or not held.access & need:
        want = os.W_OK if write else os.R_OK
        if fs.access(node, want, cred) != want and fs.stat(node).st_uid != cred.uid:
            raise Nfs4Error(nfs4.NFS4ERR_ACCESS, "the file's permissions forbid it")
    fs.open_data(node, write)
    return cred


def op_read(c: Request, args: nfs4.READ4args) -> Steps:
    """Read; from memory at once, from the disk in a thread."""
    node = c.node()
    file_for(c, args.stateid, node, False)
    fs, offset, count = node.fs, args.offset, min(args.count, IO_SIZE_MAX)
    count = max(0, min(count, c.reply_size_max - c.reply_size - _READ_HEAD))
    found = fs.read_cached(node, offset, count)
    if found is None:
        node.busy += 1
        try:
            found = yield Thread(lambda: fs.read(node, offset, count))
        finally:
            node.busy -= 1
    assert found is not None
    data, at_end = found
    return nfs4.READ4resok(at_end, data)


def op_write(c: Request, args: nfs4.WRITE4args) -> Steps:
    """Write; small unstable data at once, everything that is synced in a thread."""
    node = c.node()
    cred = file_for(c, args.stateid, node, True)
    fs, data, offset, stable = node.fs, args.data, args.offset, args.stable
    if len(data) > IO_SIZE_MAX:
        data = data[:IO_SIZE_MAX]
    if offset + len(data) > fs.file_size_max:
        raise Nfs4Error(nfs4.NFS4ERR_FBIG, "beyond the largest file")
    if stable == nfs4.UNSTABLE4 and len(data) <= INLINE_WRITE_MAX:
        fs.write(node, offset, data)
    else:
        node.busy += 1
        try:
            yield Thread(lambda: _write_and_sync(c, node, data, offset, stable))
        finally:
            node.busy -= 1
    fs.written(node, cred)
    return nfs4.WRITE4resok(len(data), stable, c.services.verifier.value)


def _write_and_sync(c: Request, node: Node, data: bytes | memoryview, offset: int, stable: int) -> None:
    """In a thread: write all of it, and bring it to the disk if that is asked for."""
    node.fs.write(node, offset, data)
    if stable != nfs4.UNSTABLE4:
        make_stable(c, node, whole=stable == nfs4.FILE_SYNC4)


def make_stable(c: Request, node: Node, *, whole: bool) -> None:
    """In a thread: bring to the disk what was written; `whole`, with everything else that belongs to the file.

    After a failure nobody knows what is lost, so that the verifier changes and every client sends its uncommitted
    data again (RFC 8881 18.32.4).  Raises OSError.
    """
    try:
        node.fs.sync_data(node, whole=whole)
    except OSError:
        c.services.writes_lost()
        raise


def op_commit(c: Request, args: nfs4.COMMIT4args) -> Steps:
    """Bring what was written unstable to the disk."""
    node = c.node()
    if node.kind != stat.S_IFREG:
        status = nfs4.NFS4ERR_ISDIR if node.kind == stat.S_IFDIR else nfs4.NFS4ERR_INVAL
        if c.minor and node.kind != stat.S_IFDIR:
            status = nfs4.NFS4ERR_SYMLINK if node.kind == stat.S_IFLNK else nfs4.NFS4ERR_WRONG_TYPE
        raise Nfs4Error(status, "COMMIT of no regular file")
    if args.offset + args.count > nfs4.NFS4_UINT64_MAX:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "a range beyond 2^64")
    node.fs.open_data(node, False)
    node.busy += 1
    try:
        yield Thread(lambda: make_stable(c, node, whole=True))
    finally:
        node.busy -= 1
    return nfs4.COMMIT4resok(c.services.verifier.value)
