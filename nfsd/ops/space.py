"""Space in files: ALLOCATE, DEALLOCATE, SEEK and IO_ADVISE (RFC 7862).

Owns their argument rules, and that a change of space is stable when it is answered.  Must not know who may use a
stateid (`nfsd.ops.io.file_for`), nor make system calls: the file system does.
"""

from __future__ import annotations

from collections.abc import Callable

from nfsd.errors import Nfs4Error
from nfsd.ops.io import file_for, make_stable
from nfsd.ops.request import Request, Steps, busy_while
from nfsd.ops.require import require_regular
from nfsd.vfs.interface import FILE_SIZE_MAX, Credentials, Node
from xdr.generated import nfs4


def op_allocate(c: Request, args: nfs4.ALLOCATE4args) -> Steps:
    """ALLOCATE (RFC 7862 15.1): space for a range, the file grown to hold it."""
    return _change_space(c, args.aa_stateid, args.aa_offset, args.aa_length, c.node().fs.allocate)


def op_deallocate(c: Request, args: nfs4.DEALLOCATE4args) -> Steps:
    """DEALLOCATE (RFC 7862 15.4): a hole in place of a range, the size unchanged."""
    return _change_space(c, args.da_stateid, args.da_offset, args.da_length, c.node().fs.punch_hole)


def _change_space(
    c: Request, stateid: nfs4.stateid4, offset: int, length: int,
    change: Callable[[Node, int, int, Credentials], None],
) -> Steps:  # fmt: skip
    node = c.node()
    require_regular(c, node, link=nfs4.NFS4ERR_WRONG_TYPE)
    if not length:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "empty range")
    if offset + length > node.fs.file_size_max:
        raise Nfs4Error(nfs4.NFS4ERR_FBIG, "range beyond the largest file")
    cred = file_for(c, stateid, node, True)

    def work() -> None:
        change(node, offset, length, cred)
        # No COMMIT will follow.
        make_stable(c, node, whole=False)

    yield from busy_while((node,), work)
    node.fs.touch(node)


def op_seek(c: Request, args: nfs4.SEEK4args) -> nfs4.seek_res4:
    """SEEK (RFC 7862 15.11): the next data or hole from an offset on.

    Raises Nfs4Error NXIO where the offset is not inside the file, UNION_NOTSUPP for another kind of content.
    """
    node = c.node()
    require_regular(c, node, link=nfs4.NFS4ERR_WRONG_TYPE)
    file_for(c, args.sa_stateid, node, False)
    fs = node.fs
    if args.sa_what == nfs4.NFS4_CONTENT_DATA:
        find = fs.next_data
    elif args.sa_what == nfs4.NFS4_CONTENT_HOLE:
        find = fs.next_hole
    else:
        raise Nfs4Error(nfs4.NFS4ERR_UNION_NOTSUPP, f"content {args.sa_what}")
    size = fs.data_size(node)
    if args.sa_offset >= size:
        raise Nfs4Error(nfs4.NFS4ERR_NXIO, "offset beyond the end of the file")
    found = find(node, args.sa_offset)
    if found is None:
        # Only a hole follows: the search for data ends at the end of the file.
        return nfs4.seek_res4(True, size)
    return nfs4.seek_res4(found >= size, found)


# Hints about a range of the file: whether it will be needed.  Those about the order of access (sequential, random)
# would change the read-ahead of a file that all clients share, and are left out of the answer.
_NEEDED = {
    nfs4.IO_ADVISE4_WILLNEED: True,
    nfs4.IO_ADVISE4_WILLNEED_OPPORTUNISTIC: True,
    nfs4.IO_ADVISE4_DONTNEED: False,
}


def op_io_advise(c: Request, args: nfs4.IO_ADVISE4args) -> nfs4.IO_ADVISE4resok:
    """IO_ADVISE (RFC 7862 15.5): the hints that were passed on to the file system."""
    node = c.node()
    require_regular(c, node, link=nfs4.NFS4ERR_WRONG_TYPE)
    if args.iaa_offset + args.iaa_count > FILE_SIZE_MAX:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "range beyond the largest file")
    file_for(c, args.iaa_stateid, node, False)
    honoured = 0
    for hint, needed in _NEEDED.items():
        if args.iaa_hints >> hint & 1:
            node.fs.advise(node, args.iaa_offset, args.iaa_count, needed=needed)
            honoured |= 1 << hint
    return nfs4.IO_ADVISE4resok(honoured)
