"""The life of an open (RFC 8881 9.1, 9.7-9.11; RFC 7530 9): granted, widened, narrowed, closed.

There is one for each client, open owner and file.  What is in its way is `conflicts.py`'s.
"""

from __future__ import annotations

from typing import Final

from nfsd.errors import Nfs4Error
from nfsd.state import locks, records
from nfsd.state.asker import Asker
from nfsd.state.model import Client, OpenState, SeqidOwner
from nfsd.state.stateids import next_seqid
from nfsd.state.tables import State
from nfsd.vfs.interface import Credentials, Node
from statestore import ChangeSet, resume_key
from xdr.generated import nfs4

# Resume keys are personalised by these; handles carry their export's number themselves.
RFS_ID: Final = b"understudy"
RFS_ID_40: Final = b"understudy 4.0"


def key_of(state: State, client: Client, owner: bytes, handle: bytes) -> bytes:
    """The resume key (16 bytes) of an open: the same before and after any restart or reclaim.

    A client of NFSv4.0 and one of 4.1 may have one owner string and one principal, and the same open owners: they are
    two.  What a store of before says of NFSv4.0's opens still has the other kind of key.
    """
    key = resume_key(state.secret, RFS_ID, client.identity, owner, handle)
    if client.family or key in client.opens or (claims := state.filter.claims) is not None and key in claims:
        return key
    return resume_key(state.secret, RFS_ID_40, client.identity, owner, handle)


def grant(
    state: State,
    asker: Asker,
    client: Client,
    owner: bytes,
    node: Node,
    access: int,
    deny: int,
    caller: Credentials,
    granted: int,
    seqid_owner: SeqidOwner | None = None,
) -> OpenState:
    """Open `node` for an open owner, or widen the open that it has.

    `granted` is what of `access` the file's permissions, or a record of before, give the caller.
    `conflicts.check_shares` and `leftovers.make_way` MUST have passed.

    Raises Nfs4Error: RESOURCE or DELAY above limits.opens_max or opens_per_client_max, SERVERFAULT where another client
    has this very open, EXPIRED for a client that was removed meanwhile.
    """
    handle = node.handle
    key = key_of(state, client, owner, handle)
    held = client.opens.get(key)
    if held is None:
        if client.removed:
            raise Nfs4Error(nfs4.NFS4ERR_EXPIRED, "the client was removed while its request was under way")
        limits = state.limits
        if len(client.opens) >= limits.opens_per_client_max or len(state.filter.opens) >= limits.opens_max:
            status = nfs4.NFS4ERR_DELAY if client.family else nfs4.NFS4ERR_RESOURCE
            raise Nfs4Error(status, f"{len(client.opens)} opens of {len(state.filter.opens)} (limits.opens_...)")
        if key in state.filter.opens:
            raise Nfs4Error(nfs4.NFS4ERR_SERVERFAULT, "another client has claimed this open under the same name")
        held = OpenState(client, key, handle, owner, state.instances.next(asker.changes), caller)
        held.node = node
        held.access, held.deny = access, deny
        held.granted = granted
        held.seqid_owner = seqid_owner
        if seqid_owner is not None:
            seqid_owner.holds.add(held)
        state.filter.add_open(held)
        state.stateids[held.other] = held
        node.opens += 1
    else:
        _note_grant(held, caller, granted, state.limits.callers_per_open_max)
        state.filter.change_open(held, held.access | access, held.deny | deny)
    held.access_seen |= 1 << access
    held.deny_seen |= 1 << deny
    held.seqid = next_seqid(held.seqid)
    records.put_open(asker.changes, held)
    return held


def _note_grant(held: OpenState, caller: Credentials, granted: int, callers_max: int) -> None:
    """Remember what one more OPEN has granted; beyond `callers_max` who opened longest ago is forgotten."""
    if held.caller is caller or held.caller == caller:
        held.granted |= granted
        return
    before = granted_to(held, caller)
    others = [each for each in held.others if each[0] != caller]
    if held.granted:
        others.insert(0, (held.caller, held.granted))
    held.others = tuple(others[: callers_max - 1])
    held.caller, held.granted = caller, before | granted


def granted_to(held: OpenState, caller: Credentials) -> int:
    """The access that OPENs of this caller, as squashed, were granted and that was not given back.

    0 for a caller that is not remembered: the file's permissions then decide.
    """
    if held.caller == caller:
        return held.granted
    return next((access for other, access in held.others if other == caller), 0)


def downgrade(state: State, asker: Asker, held: OpenState, access: int, deny: int) -> None:
    """Give a part back; it must be one that was opened so (RFC 8881 18.18.3).  Raises Nfs4Error(INVAL)."""
    if not held.access_seen >> access & 1 and access != held.access:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "no OPEN asked for that access")
    if not held.deny_seen >> deny & 1 and deny != held.deny:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "no OPEN asked for that denial")
    if access & ~held.access or deny & ~held.deny:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "that would be more than the open has")
    held.access_seen = _subsets(held.access_seen, access)
    held.deny_seen = _subsets(held.deny_seen, deny)
    held.granted &= access
    if held.others:
        held.others = tuple((caller, kept) for caller, granted in held.others if (kept := granted & access))
    held.seqid = next_seqid(held.seqid)
    state.filter.change_open(held, access, deny)
    records.put_open(asker.changes, held)


def _subsets(seen: int, most: int) -> int:
    """Of the sets in `seen`, those that lie within `most`, and `most` itself."""
    return sum(1 << n for n in range(4) if seen >> n & 1 and not n & ~most) | 1 << most


def confirm(asker: Asker, held: OpenState) -> None:
    """NFSv4.0: the open's owner has been confirmed, which counts as a change of the open (RFC 7530 16.18.5)."""
    assert held.seqid_owner is not None
    held.seqid_owner.confirmed = True
    held.seqid = next_seqid(held.seqid)
    records.put_open(asker.changes, held)


def release(state: State, changes: ChangeSet, held: OpenState) -> None:
    """End an open and the locks under it."""
    if held.locks:
        for lock in list(held.locks.values()):
            locks.release(state, changes, lock)
    state.filter.remove_open(held, changes)
    del state.stateids[held.other]
    if held.seqid_owner is not None:
        held.seqid_owner.holds.discard(held)
    node = held.node
    if node is not None:
        node.opens -= 1
        if not node.opens and (node.pinned or node.read_fd >= 0 or node.write_fd >= 0 or node.fs.apart):
            node.fs.release(node)
