"""Space in files: ALLOCATE, DEALLOCATE, SEEK and IO_ADVISE (RFC 7862).

Owns their argument rules and the calls on the file's data descriptor.  Must not know who may use a
stateid (`nfsd.ops.io.file_for`).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from nfsd.errors import Nfs4Error
from nfsd.ops.io import file_for
from nfsd.vfs.interface import FILE_SIZE_MAX, Node
from xdr.generated import nfs4

if TYPE_CHECKING:
    from nfsd.compound import Compound

Steps = Generator[Callable[[], Any], Any, Any]

_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2

# The C library's posix_fallocate writes zeros where a file system cannot allocate, which races with
# other writers; the system call itself says so instead.
_fallocate = ctypes.CDLL(None, use_errno=True).fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def require_regular(node: Node) -> None:
    """Raise Nfs4Error unless the object is a regular file (RFC 7862 11.2)."""
    if node.kind == stat.S_IFDIR:
        raise Nfs4Error(nfs4.NFS4ERR_ISDIR, "a directory has no data")
    if node.kind != stat.S_IFREG:
        raise Nfs4Error(nfs4.NFS4ERR_WRONG_TYPE, "not a regular file")


def op_allocate(c: Compound, args: nfs4.ALLOCATE4args) -> Steps:
    """ALLOCATE (RFC 7862 15.1): space for a range, the file grown to hold it."""
    return _change_space(c, args.aa_stateid, 0, args.aa_offset, args.aa_length)


def op_deallocate(c: Compound, args: nfs4.DEALLOCATE4args) -> Steps:
    """DEALLOCATE (RFC 7862 15.4): a hole in place of a range, the size unchanged."""
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    return _change_space(c, args.da_stateid, mode, args.da_offset, args.da_length)


def _change_space(c: Compound, stateid: nfs4.stateid4, mode: int, offset: int, length: int) -> Steps:
    node = c.node()
    require_regular(node)
    if not length:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "empty range")
    if offset + length > node.fs.file_size_max:
        raise Nfs4Error(nfs4.NFS4ERR_FBIG, "range beyond the largest file")
    fd = file_for(c, stateid, node, True)

    def work() -> None:
        if _fallocate(fd, mode, offset, length):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        make_stable(c, fd)

    yield from busy_while((node,), work)
    node.fs.touch(node)


def make_stable(c: Compound, fd: int) -> None:
    """In a thread: bring to the disk what no COMMIT will follow.

    After a failure nobody knows what is lost, so every client has to send its uncommitted data again.
    """
    try:
        os.fdatasync(fd)
    except OSError:
        c.server.writes_lost()
        raise


def busy_while(nodes: tuple[Node, ...], work: Callable[[], Any]) -> Steps:
    """Run `work` in a thread with the nodes' descriptors kept open; returns its result."""
    for node in nodes:
        node.busy += 1
    try:
        return (yield work)
    finally:
        for node in nodes:
            node.busy -= 1


_WHENCE = {nfs4.NFS4_CONTENT_DATA: os.SEEK_DATA, nfs4.NFS4_CONTENT_HOLE: os.SEEK_HOLE}


def op_seek(c: Compound, args: nfs4.SEEK4args) -> nfs4.seek_res4:
    """SEEK (RFC 7862 15.11): the next data or hole from an offset on.

    Raises Nfs4Error NXIO where the offset is not inside the file, UNION_NOTSUPP for another kind of content.
    """
    node = c.node()
    require_regular(node)
    fd = file_for(c, args.sa_stateid, node, False)
    whence = _WHENCE.get(args.sa_what)
    if whence is None:
        raise Nfs4Error(nfs4.NFS4ERR_UNION_NOTSUPP, f"content {args.sa_what}")
    size = os.fstat(fd).st_size
    if args.sa_offset >= size:
        raise Nfs4Error(nfs4.NFS4ERR_NXIO, "offset beyond the end of the file")
    try:
        offset = os.lseek(fd, args.sa_offset, whence)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        # Only a hole follows: the search for data ends at the end of the file.
        return nfs4.seek_res4(True, size)
    return nfs4.seek_res4(offset >= size, offset)


# Hints about a range of the file.  Those about the order of access (sequential, random) would change
# the read-ahead of a descriptor that all clients share, and are left out of the answer.
_ADVICE = {
    nfs4.IO_ADVISE4_WILLNEED: os.POSIX_FADV_WILLNEED,
    nfs4.IO_ADVISE4_WILLNEED_OPPORTUNISTIC: os.POSIX_FADV_WILLNEED,
    nfs4.IO_ADVISE4_DONTNEED: os.POSIX_FADV_DONTNEED,
}


def op_io_advise(c: Compound, args: nfs4.IO_ADVISE4args) -> nfs4.IO_ADVISE4resok:
    """IO_ADVISE (RFC 7862 15.5): the hints that were passed on to the kernel."""
    node = c.node()
    require_regular(node)
    if args.iaa_offset + args.iaa_count > FILE_SIZE_MAX:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "range beyond the largest file")
    fd = file_for(c, args.iaa_stateid, node, False)
    honoured = 0
    for hint, advice in _ADVICE.items():
        if args.iaa_hints >> hint & 1:
            os.posix_fadvise(fd, args.iaa_offset, args.iaa_count, advice)
            honoured |= 1 << hint
    return nfs4.IO_ADVISE4resok(honoured)
