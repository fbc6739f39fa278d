"""READ, WRITE, COMMIT (RFC 8881 18.3, 18.22, 18.32).

Owns who may use a file under a stateid, for every operation that does.  Owns when file data moves in the event loop
and when in a thread: a READ whose pages are in memory and a small unstable WRITE are done at once, everything that
may wait for a disk goes to a thread.  Must not make system calls: the file system moves the data.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from functools import partial
from typing import Any

from nfsd.attributes.rows import IO_SIZE_MAX
from nfsd.errors import Nfs4Error
from nfsd.ops.request import Request, Steps, busy_while
from nfsd.ops.require import require_regular, require_writable
from nfsd.state import conflicts, opens
from nfsd.state.model import OpenState
from nfsd.vfs.interface import Credentials, Node
from xdr.generated import nfs4

# Larger unstable writes go to a thread: copying this much takes about as long as handing it over.
INLINE_WRITE_MAX = 64 * 1024
_READ_HEAD = 8 + 8  # opnum, status, eof, the data's length


def file_for(c: Request, stateid: nfs4.stateid4, node: Node, write: bool) -> Credentials:
    """The caller, after checking that this stateid allows the caller to read `node`, or to change its data or size.

    The data is ready then.  Who was not granted that by an OPEN of his own, and whoever uses a special stateid, needs
    permission on the file now; an owner may always read and write what is his (RFC 8881 8.2.3; so does the Linux
    server).  Callers are compared as the export squashes them.  Raises Nfs4Error, OSError.
    """
    if node.kind != stat.S_IFREG:
        require_regular(c, node)
    cred = c.as_caller(node, reading=not write)
    if write:
        require_writable(node)
    held = conflicts.check_io(c.state, c, stateid, node, write)
    need = nfs4.OPEN4_SHARE_ACCESS_WRITE if write else nfs4.OPEN4_SHARE_ACCESS_READ
    if held is None or held.caller is not cred or not held.granted & need:
        require_granted(held, node, cred, need)
    node.fs.open_data(node, write)
    return cred


def require_granted(held: OpenState | None, node: Node, cred: Credentials, need: int) -> None:
    """Raise Nfs4Error ACCESS unless the caller may use the file so: by an OPEN of his own, or now.

    `need` is OPEN4_SHARE_ACCESS_READ or _WRITE.  Raises OSError.
    """
    if held is not None and opens.granted_to(held, cred) & need:
        return
    want = os.W_OK if need == nfs4.OPEN4_SHARE_ACCESS_WRITE else os.R_OK
    fs = node.fs
    if fs.access(node, want, cred) != want and fs.stat(node).st_uid != cred.uid:
        raise Nfs4Error(nfs4.NFS4ERR_ACCESS, "the file's permissions forbid it")


def op_read(c: Request, args: nfs4.READ4args) -> Steps:
    """Read; from memory at once, from the disk in a thread."""
    node = c.node()
    file_for(c, args.stateid, node, False)
    fs, offset, count = node.fs, args.offset, min(args.count, IO_SIZE_MAX)
    count = max(0, min(count, c.reply_size_max - c.reply_size - _READ_HEAD))
    found = fs.read_cached(node, offset, count)
    if found is None:
        found = yield from _moving(c, node, count, lambda: fs.read(node, offset, count))
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
        fs.write(node, offset, data, cred)
    else:
        work = partial(_write_and_sync, c, node, data, offset, stable, cred)
        yield from _moving(c, node, len(data), work)
    fs.touch(node)
    return nfs4.WRITE4resok(len(data), stable, c.services.verifier.value)


def _moving(c: Request, node: Node, size: int, work: Callable[[], Any]) -> Steps:
    """Run `work`, which keeps `size` bytes of data in memory, in a thread."""
    c.connection.works(size)
    try:
        return (yield from busy_while((node,), work))
    finally:
        c.connection.works(-size)


def _write_and_sync(
    c: Request, node: Node, data: bytes | memoryview, offset: int, stable: int, cred: Credentials
) -> None:
    """In a thread: write all of it, and bring it to the disk if that is asked for."""
    node.fs.write(node, offset, data, cred)
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
    require_regular(c, node)
    if args.offset + args.count > nfs4.NFS4_UINT64_MAX:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "a range beyond 2^64")
    node.fs.open_data(node, False)
    yield from busy_while((node,), lambda: make_stable(c, node, whole=True))
    return nfs4.COMMIT4resok(c.services.verifier.value)
