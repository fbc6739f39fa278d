"""Owner strings: numbers on the wire, names accepted where this machine knows them.

Owns the translation between uid or gid and the utf8str of the owner attributes
(RFC 7530 5.9, RFC 8881 5.9).  It must not know how an owner is set on a file, nor who waits for a look-up.

Clients are told numbers.  Names come from clients alone, and looking one up may take seconds where users are kept on
another machine: that is done in a thread (`NameUnknown`).
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


NAMES_KEPT_MAX = 4096
"""Names remembered, twice: then the older ones are forgotten."""

NAME_SIZE_MAX = 256
"""As Linux has it (LOGIN_NAME_MAX)."""


class NameUnknown(Exception):
    """A name has to be looked up first: call `look_up` in a thread, and do what raised this again."""

    def __init__(self, name: str, group: bool) -> None:
        super().__init__(name)
        self.name = name
        self.group = group

    def look_up(self) -> None:
        """Ask this machine's user database, and remember the answer.  May block for seconds."""
        try:
            found = grp.getgrnam(self.name).gr_gid if self.group else pwd.getpwnam(self.name).pw_uid
        except (KeyError, ValueError, OSError):
            found = None
        NAMES.keep(self.name, self.group, found)


class Names:
    """What names meant when they were looked up last, half a minute to a minute ago at most."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], int | None] = {}
        self._before: dict[tuple[str, bool], int | None] = {}

    def keep(self, name: str, group: bool, number: int | None) -> None:
        """Remember an answer, None for a name that names nobody.  May be called in any thread."""
        if len(self._known) >= NAMES_KEPT_MAX:
            self.age()
        self._known[name, group] = number

    def find(self, name: str, group: bool) -> int | None:
        """The uid or gid of a name, None if it names nobody.  Raises NameUnknown."""
        for known in (self._known, self._before):
            if (name, group) in known:
                return known[name, group]
        raise NameUnknown(name, group)

    def age(self) -> None:
        """Forget what was looked up before the last call; called every half a minute, for names change."""
        self._before, self._known = self._known, {}


NAMES = Names()
"""The user database is the machine's, and so is what is remembered of it."""


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
    names nobody here (RFC 8881 5.9); NameUnknown for one that has to be looked up first.
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
    found = NAMES.find(local, group) if len(local) <= NAME_SIZE_MAX else None
    if found is None:
        raise Nfs4Error(nfs4.NFS4ERR_BADOWNER, "owner string names nobody on this machine")
    return found
