"""Owner strings: numbers on the wire, names accepted where this machine knows them.

Owns the translation between uid or gid and the utf8str of the owner attributes
(RFC 7530 5.9, RFC 8881 5.9).  It must not know how an owner is set on a file.
"""

import grp
import pwd

from nfsd.attributes.wire import opaque
from nfsd.errors import Nfs4Error
from xdr.generated import nfs4

# Owner strings are asked for with every GETATTR; a server sees few distinct owners, and the bound
# only keeps a tree full of odd ones from holding memory.
OWNERS_CACHED_MAX = 4096

# 2**32 - 1 is the kernel's "leave it alone" in chown and no valid id.
ID_MAX = 0xFFFFFFFE


class OwnerStrings(dict[int, bytes]):
    """id -> its decimal string as an encoded XDR opaque, made on the first use."""

    __slots__ = ()

    def __missing__(self, number: int) -> bytes:
        if len(self) >= OWNERS_CACHED_MAX:
            self.clear()
        value = self[number] = opaque(b"%d" % number)
        return value


def resolve_owner(text: bytes, *, group: bool) -> int:
    """The uid (or gid, with `group`) an owner string names.

    Accepts a decimal id and `name@domain` or `name` where the machine's user database knows the
    name; the domain is not compared, as there is no configured one.

    Raises Nfs4Error INVAL for an empty string or one that is not UTF-8, BADOWNER for one that
    names nobody here (RFC 8881 5.9).
    """
    if not text:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "empty owner string")
    if text.isdigit():
        number = int(text) if len(text) <= 10 else ID_MAX + 1
        if number > ID_MAX:
            raise Nfs4Error(nfs4.NFS4ERR_BADOWNER, "owner id does not fit 32 bits")
        return number
    try:
        name = text.decode("utf-8").rpartition("@")
    except UnicodeDecodeError:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "owner string is not UTF-8") from None
    local = name[0] if name[1] else name[2]
    try:
        return grp.getgrnam(local).gr_gid if group else pwd.getpwnam(local).pw_uid
    except (KeyError, ValueError):
        raise Nfs4Error(nfs4.NFS4ERR_BADOWNER, "owner string names nobody on this machine") from None
