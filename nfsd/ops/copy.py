"""COPY and CLONE inside this server (RFC 7862).

Owns their argument rules and the copying in bounded pieces.  Must not know who may use a stateid
(`nfsd.ops.io.file_for`), nor how bytes get from one file to the other.  Copies are always synchronous: nothing calls
a client back for them.
"""

from __future__ import annotations

from functools import partial

from nfsd.errors import Nfs4Error
from nfsd.ops.io import file_for, make_stable
from nfsd.ops.request import Request, Steps, busy_while
from nfsd.ops.require import require_regular, require_same_fs, require_writable
from nfsd.vfs.interface import Node
from xdr.generated import nfs4

# One thread's turn, and what one COPY copies at most: a short count makes the client ask again, so that
# no request holds its slot for minutes.
PIECE_SIZE = 16 << 20
COPY_SIZE_MAX = 256 << 20


def op_copy(c: Request, args: nfs4.COPY4args) -> Steps:
    """COPY (RFC 7862 15.2) from the saved to the current file; the count may be short.

    A count of 0 means up to the end of the source; a range that ends beyond it is copied as far as
    there is data, as other servers do, where the RFC would have INVAL.
    """
    if args.ca_source_server:
        raise Nfs4Error(nfs4.NFS4ERR_NOTSUPP, "copy from another server")
    source, target = _source_and_target(c)
    file_for(c, args.ca_src_stateid, source, False)
    cred = file_for(c, args.ca_dst_stateid, target, True)
    start, to = args.ca_src_offset, args.ca_dst_offset
    count = _checked_count(source, target, start, to, args.ca_count)
    wanted = min(count, COPY_SIZE_MAX)
    done = 0
    while done < wanted:
        size = min(PIECE_SIZE, wanted - done)
        piece = partial(source.fs.copy_range, source, start + done, target, to + done, size, cred)
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
    response = nfs4.write_response4([], done, nfs4.UNSTABLE4, c.services.verifier.value)
    return nfs4.COPY4resok(response, nfs4.copy_requirements4(True, True))


def _source_and_target(c: Request) -> tuple[Node, Node]:
    source, target = c.saved_node(), c.node()
    require_regular(c, source, link=nfs4.NFS4ERR_WRONG_TYPE)
    require_regular(c, target, link=nfs4.NFS4ERR_WRONG_TYPE)
    require_writable(target)
    return source, target


def _checked_count(source: Node, target: Node, start: int, to: int, count: int) -> int:
    """The bytes there are to copy.  Raises Nfs4Error INVAL or FBIG for ranges that make no sense."""
    size = source.fs.data_size(source)
    if start > size:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "source offset beyond the end of the file")
    count = min(count or size - start, size - start)
    if to + count > target.fs.file_size_max:
        raise Nfs4Error(nfs4.NFS4ERR_FBIG, "target range beyond the largest file")
    if source is target and start < to + count and to < start + count:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "source and target ranges overlap")
    return count


def op_clone(c: Request, args: nfs4.CLONE4args) -> Steps:
    """CLONE (RFC 7862 15.13): the target range shares the source's blocks, all of it or nothing.

    Raises OSError EOPNOTSUPP (NOTSUPP) where the file system has no shared blocks.
    """
    source, target = _source_and_target(c)
    require_same_fs(source, target)
    file_for(c, args.cl_src_stateid, source, False)
    cred = file_for(c, args.cl_dst_stateid, target, True)
    start, to, count = args.cl_src_offset, args.cl_dst_offset, args.cl_count
    if max(start, to) + count > target.fs.file_size_max:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "range beyond the largest file")

    def work() -> None:
        source.fs.clone_range(source, start, target, to, count, cred)
        # No COMMIT will follow.
        make_stable(c, target, whole=False)

    yield from busy_while((source, target), work)
    target.fs.touch(target)
