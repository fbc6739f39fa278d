"""What can go wrong in an operation, and the one table from errno to nfsstat4.

Owns the root error of this room and the translation of the operating system's errors.  Must not know any
operation: an operation that means something special by an errno translates it itself, before it gets here.
"""

from __future__ import annotations

import errno

from nfsd.vfs.interface import BadCookie, BadHandle
from xdr.generated import nfs4

# What a reply takes besides its results: the RPC header, status, the tag's length, the count.
REPLY_HEAD_SIZE = 24 + 12


class Nfs4Error(Exception):
    """An operation fails with an nfsstat4 (RFC 8881 15.1).

    `status` is the nfsstat4, `why` is for the log, `body` is the value of the result's failure arm where the
    operation has one (LOCK4denied, for instance).
    """

    def __init__(self, status: int, why: str = "", body: object = None) -> None:
        super().__init__(status, why)
        self.status = status
        self.why = why
        self.body = body

    def __str__(self) -> str:
        name = status_name(self.status)
        return f"{name}: {self.why}" if self.why else name


class Replay(Exception):
    """The whole compound is answered from a reply cache: `body` without the RPC header."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.body = body


class ReplayedResult(Exception):
    """One operation is answered from what was kept of its last time: its status and encoded result."""

    def __init__(self, status: int, result: bytes) -> None:
        super().__init__()
        self.status = status
        self.result = result


class Undecidable(Exception):
    """In recovery: nobody can tell whether a change was made before the crash."""


class RetryWaits(Exception):
    """A retry of a request that is still running: it is answered together with the first one."""


_FROM_ERRNO: dict[int, int] = {
    errno.EPERM: nfs4.NFS4ERR_PERM,
    errno.ENOENT: nfs4.NFS4ERR_NOENT,
    errno.EIO: nfs4.NFS4ERR_IO,
    errno.ENXIO: nfs4.NFS4ERR_NXIO,
    errno.EACCES: nfs4.NFS4ERR_ACCESS,
    errno.EEXIST: nfs4.NFS4ERR_EXIST,
    errno.EXDEV: nfs4.NFS4ERR_XDEV,
    errno.ENOTDIR: nfs4.NFS4ERR_NOTDIR,
    errno.EISDIR: nfs4.NFS4ERR_ISDIR,
    errno.EINVAL: nfs4.NFS4ERR_INVAL,
    errno.EFBIG: nfs4.NFS4ERR_FBIG,
    errno.ENOSPC: nfs4.NFS4ERR_NOSPC,
    errno.EROFS: nfs4.NFS4ERR_ROFS,
    errno.EMLINK: nfs4.NFS4ERR_MLINK,
    errno.ENAMETOOLONG: nfs4.NFS4ERR_NAMETOOLONG,
    errno.ENOTEMPTY: nfs4.NFS4ERR_NOTEMPTY,
    errno.EDQUOT: nfs4.NFS4ERR_DQUOT,
    errno.ESTALE: nfs4.NFS4ERR_STALE,
    errno.EOPNOTSUPP: nfs4.NFS4ERR_NOTSUPP,
    errno.ENOSYS: nfs4.NFS4ERR_NOTSUPP,
    errno.ELOOP: nfs4.NFS4ERR_SYMLINK,
    errno.ETXTBSY: nfs4.NFS4ERR_ACCESS,
    errno.EBUSY: nfs4.NFS4ERR_FILE_OPEN,
    errno.ENODATA: nfs4.NFS4ERR_NOXATTR,
    errno.E2BIG: nfs4.NFS4ERR_XATTR2BIG,
    errno.ERANGE: nfs4.NFS4ERR_XATTR2BIG,
    errno.ENOMEM: nfs4.NFS4ERR_DELAY,
    errno.EMFILE: nfs4.NFS4ERR_DELAY,
    errno.ENFILE: nfs4.NFS4ERR_DELAY,
    errno.EAGAIN: nfs4.NFS4ERR_DELAY,
    errno.EINTR: nfs4.NFS4ERR_DELAY,
}


def status_of(error: OSError) -> int:
    """The nfsstat4 for an error of the operating system; NFS4ERR_IO for one that no client could act on."""
    if isinstance(error, BadHandle):
        return nfs4.NFS4ERR_BADHANDLE
    if isinstance(error, BadCookie):
        return nfs4.NFS4ERR_BAD_COOKIE
    return _FROM_ERRNO.get(error.errno or 0, nfs4.NFS4ERR_IO)


def status_name(status: int) -> str:
    """The RFC's name of an nfsstat4, or its number where it has none."""
    return nfs4.nfsstat4_names.get(status, str(status))
