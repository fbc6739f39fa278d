"""COPY and CLONE inside this server (RFC 7862).

Owns their argument rules and the copying in bounded pieces.  Must not know who may use a stateid
(`nfsd.ops.io.file_for`).  Copies are always synchronous: nothing calls a client back for them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING

from nfsd.errors import Nfs4Error
from nfsd.ops.directory import require_writable
from nfsd.ops.io import file_for
from nfsd.ops.space import Steps, busy_while, make_stable, require_regular
from nfsd.vfs.interface import Node
from xdr.generated import nfs4

if TYPE_CHECKING:
    from nfsd.compound import Compound

# One thread's turn, and what one COPY copies at most: a short count makes the client ask again, so that
# no request holds its slot for minutes.
PIECE_SIZE = 16 << 20
COPY_SIZE_MAX = 256 << 20
# Through memory, where the kernel cannot copy between the two files.
_BUFFER_SIZE = 1 << 20

# linux/fs.h: _IOW(0x94, 13, struct file_clone_range)
_FICLONERANGE = 0x4020940D
_CLONE_RANGE = struct.Struct("=qQQQ")
_NOT_BY_KERNEL = (errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS)


def op_copy(c: Compound, args: nfs4.COPY4args) -> Steps:
    """COPY (RFC 7862 15.2) from the saved to the current file; the count may be short.

    A count of 0 means up to the end of the source; a range that ends beyond it is copied as far as
    there is data, as other servers do, where the RFC would have INVAL.
    """
    if args.ca_source_server:
        raise Nfs4Error(nfs4.NFS4ERR_NOTSUPP, "copy from another server")
    source, target = _source_and_target(c)
    source_fd = file_for(c, args.ca_src_stateid, source, False)
    target_fd = file_for(c, args.ca_dst_stateid, target, True)
    start, to = args.ca_src_offset, args.ca_dst_offset
    count = _checked_count(source, target, source_fd, start, to, args.ca_count)
    wanted = min(count, COPY_SIZE_MAX)
    done = 0
    while done < wanted:
        size = min(PIECE_SIZE, wanted - done)
        piece = _Piece(source_fd, target_fd, start + done, to + done, size)
        try:
            copied = yield from busy_while((source, target), piece)
        except OSError:
            if not done:
                raise
            break
        if not copied:
            break
        done += copied
        target.fs.touch(target)
    response = nfs4.write_response4([], done, nfs4.UNSTABLE4, c.server.write_verifier)
    return nfs4.COPY4resok(response, nfs4.copy_requirements4(True, True))


def _source_and_target(c: Compound) -> tuple[Node, Node]:
    source, target = c.saved_node(), c.node()
    require_regular(source)
    require_regular(target)
    require_writable(target)
    return source, target


def _checked_count(source: Node, target: Node, source_fd: int, start: int, to: int, count: int) -> int:
    """The bytes there are to copy.  Raises Nfs4Error INVAL or FBIG for ranges that make no sense."""
    size = os.fstat(source_fd).st_size
    if start > size:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "source offset beyond the end of the file")
    count = min(count or size - start, size - start)
    if to + count > target.fs.file_size_max:
        raise Nfs4Error(nfs4.NFS4ERR_FBIG, "target range beyond the largest file")
    if source is target and start < to + count and to < start + count:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "source and target ranges overlap")
    return count


class _Piece:
    """One piece of a copy, for a thread: call it for the number of bytes copied."""

    __slots__ = ("size", "source_fd", "start", "target_fd", "to")

    def __init__(self, source_fd: int, target_fd: int, start: int, to: int, size: int) -> None:
        self.source_fd = source_fd
        self.target_fd = target_fd
        self.start = start
        self.to = to
        self.size = size

    def __call__(self) -> int:
        try:
            return os.copy_file_range(self.source_fd, self.target_fd, self.size, self.start, self.to)
        except OSError as error:
            if error.errno not in _NOT_BY_KERNEL:
                raise
        data = os.pread(self.source_fd, min(self.size, _BUFFER_SIZE), self.start)
        return os.pwrite(self.target_fd, data, self.to) if data else 0


def op_clone(c: Compound, args: nfs4.CLONE4args) -> Steps:
    """CLONE (RFC 7862 15.13): the target range shares the source's blocks, all of it or nothing.

    Raises OSError EOPNOTSUPP (NOTSUPP) where the file system has no shared blocks.
    """
    source, target = _source_and_target(c)
    if source.fs is not target.fs:
        raise Nfs4Error(nfs4.NFS4ERR_XDEV, "clone between file systems")
    source_fd = file_for(c, args.cl_src_stateid, source, False)
    target_fd = file_for(c, args.cl_dst_stateid, target, True)
    if max(args.cl_src_offset, args.cl_dst_offset) + args.cl_count > target.fs.file_size_max:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "range beyond the largest file")
    request = _CLONE_RANGE.pack(source_fd, args.cl_src_offset, args.cl_count, args.cl_dst_offset)

    def work() -> None:
        try:
            fcntl.ioctl(target_fd, _FICLONERANGE, request)
        except OSError as error:
            if error.errno != errno.ENOTTY:
                raise
            raise OSError(errno.EOPNOTSUPP, "file system without clone") from error
        make_stable(c, target_fd)

    yield from busy_while((source, target), work)
    target.fs.touch(target)
