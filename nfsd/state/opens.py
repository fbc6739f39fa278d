"""Opens (RFC 8881 9.1, 9.7-9.11; RFC 7530 9): one OpenState for each client, open owner and file.

Owns the life of an open: granted, widened, narrowed, closed.  The conflict rule itself is `statestore`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nfsd.errors import Nfs4Error
from nfsd.state import records
from nfsd.state.ids import stateid_other
from statestore import OPEN, ChangeSet, resume_key
from xdr.generated import nfs4

if TYPE_CHECKING:
    from nfsd.state.asker import Asker
    from nfsd.state.clients import Client
    from nfsd.state.locks import LockState
    from nfsd.state.owners import SeqidOwner
    from nfsd.state.state import State
    from nfsd.vfs.interface import Credentials, Node

# Resume keys are personalised by this; handles carry their export's number themselves.
RFS_ID = b"understudy"


def next_seqid(seqid: int) -> int:
    """The stateid seqid after `seqid`; zero is skipped, it means "the latest" (RFC 8881 8.2.2)."""
    return seqid + 1 if seqid < 0xFFFFFFFF else 1


class OpenState:
    """One open: `access` and `deny` are the unions of what was asked for and not given back.

    `caller` is who opened it last: I/O in the same name is not checked against the file's permissions again.
    `access_seen` and `deny_seen` have bit n set where an OPEN asked for exactly n (RFC 8881 18.18.3).
    """

    __slots__ = (
        "client", "key", "handle", "node", "owner", "seqid_owner", "access", "deny", "access_seen", "deny_seen",
        "seqid", "instance", "other", "locks", "caller",
    )  # fmt: skip

    def __init__(
        self, client: Client, key: bytes, handle: bytes, owner: bytes, instance: int, caller: Credentials
    ) -> None:
        self.client = client
        self.key = key
        self.handle = handle
        self.node: Node | None = None
        self.owner = owner
        self.seqid_owner: SeqidOwner | None = None
        self.access = 0
        self.deny = 0
        self.access_seen = 0
        self.deny_seen = 0
        self.seqid = 0
        self.instance = instance
        self.other = stateid_other(key, instance)
        self.locks: dict[bytes, LockState] | None = None
        self.caller = caller

    @property
    def open(self) -> OpenState:
        """Itself: what I/O under this stateid is allowed by."""
        return self

    def stateid(self) -> nfs4.stateid4:
        """Its stateid as it is now."""
        return nfs4.stateid4(self.seqid, self.other)

    def save(self, changes: ChangeSet) -> None:
        """Put its record."""
        changes.put(OPEN, self.key, records.encode_open(self))


def key_of(state: State, client: Client, owner: bytes, handle: bytes) -> bytes:
    """The resume key (16 bytes) of an open: the same before and after any restart or reclaim."""
    return resume_key(state.secret, RFS_ID, client.identity, owner, handle)


def grant(
    state: State,
    asker: Asker,
    client: Client,
    owner: bytes,
    node: Node,
    access: int,
    deny: int,
    caller: Credentials,
    seqid_owner: SeqidOwner | None = None,
) -> OpenState:
    """Open `node` for an open owner, or widen the open that it has.  `check_shares` MUST have passed.

    Raises Nfs4Error(RESOURCE, DELAY) above limits.opens_max.
    """
    handle = node.handle
    key = key_of(state, client, owner, handle)
    held = client.opens.get(key)
    if held is None:
        if len(state.opens) >= state.opens_max:
            status = nfs4.NFS4ERR_DELAY if client.family else nfs4.NFS4ERR_RESOURCE
            raise Nfs4Error(status, f"{state.opens_max} opens (limits.opens_max)")
        held = OpenState(client, key, handle, owner, state.instances.next(asker.changes), caller)
        held.node = node
        held.access, held.deny = access, deny
        held.seqid_owner = seqid_owner
        if seqid_owner is not None:
            seqid_owner.users += 1
        state.shares.add(handle, key, client.key, access, deny)
        client.opens[key] = held
        state.opens[key] = held
        state.stateids[held.other] = held
        node.opens += 1
    else:
        held.caller = caller
        held.access |= access
        held.deny |= deny
        state.shares.replace(handle, key, held.access, held.deny)
    held.access_seen |= 1 << access
    held.deny_seen |= 1 << deny
    held.seqid = next_seqid(held.seqid)
    held.save(asker.changes)
    return held


def check_shares(
    state: State, asker: Asker, handle: bytes, access: int, deny: int, refusal: int = nfs4.NFS4ERR_SHARE_DENIED
) -> None:
    """Whether an object may be opened so, or used so without an open (`deny` 0, `refusal` LOCKED; RFC 8881 8.2.3).

    An open owner's own opens count too (RFC 8881 9.7).  Somebody who only has his open by courtesy loses it
    (RFC 8881 8.4.2.4).  Raises Nfs4Error(`refusal`, or DELAY for a holder who may still come back).
    """
    while (key := state.shares.conflict(handle, access, deny)) is not None:
        holder = state.opens[key].client
        if not state.take_from_expired(asker, holder):
            asker.revealed = True
            raise Nfs4Error(state.refusal(asker, handle, holder, refusal), "another open denies it")


def downgrade(state: State, asker: Asker, held: OpenState, access: int, deny: int) -> None:
    """Give a part back; it must be one that was opened so (RFC 8881 18.18.3).  Raises Nfs4Error(INVAL)."""
    if not held.access_seen >> access & 1 and access != held.access:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "no OPEN asked for that access")
    if not held.deny_seen >> deny & 1 and deny != held.deny:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "no OPEN asked for that denial")
    if access & ~held.access or deny & ~held.deny:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "that would be more than the open has")
    held.access, held.deny = access, deny
    held.access_seen = _subsets(held.access_seen, access)
    held.deny_seen = _subsets(held.deny_seen, deny)
    held.seqid = next_seqid(held.seqid)
    state.shares.replace(held.handle, held.key, access, deny)
    held.save(asker.changes)


def _subsets(seen: int, most: int) -> int:
    """Of the sets in `seen`, those that lie within `most`, and `most` itself."""
    return sum(1 << n for n in range(4) if seen >> n & 1 and not n & ~most) | 1 << most


def release(state: State, changes: ChangeSet, held: OpenState) -> None:
    """End an open and the locks under it."""
    if held.locks:
        for lock in list(held.locks.values()):
            state.remove_lock(changes, lock)
    state.shares.remove(held.handle, held.key)
    del state.opens[held.key]
    del state.stateids[held.other]
    del held.client.opens[held.key]
    changes.remove(OPEN, held.key)
    if state.reclaim is not None:
        state.reclaim.give_up(held.key, changes)
    if held.handle in state.unlinked and held.handle not in state.shares:
        state.forsake(changes, held.handle)
    if held.seqid_owner is not None:
        held.seqid_owner.users -= 1
    node = held.node
    if node is not None:
        node.opens -= 1
        if not node.opens and (node.pinned or node.read_fd >= 0 or node.write_fd >= 0):
            node.fs.release(node)
