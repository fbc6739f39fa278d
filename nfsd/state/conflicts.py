"""Every refusal because of somebody else: shares, byte ranges, claims of before, blackouts.

Owns what the filter's verdicts come to in NFSv4: which status, and who loses his state because his lease has run out.
Whether something is in the way is `statestore`'s to say (`statestore/filter.py`).
"""

from __future__ import annotations

import hashlib

from nfsd.errors import Nfs4Error
from nfsd.log import limiter
from nfsd.state import blackouts, leftovers, stateids
from nfsd.state.asker import Asker
from nfsd.state.leases import take_from_expired
from nfsd.state.model import Client, OpenState
from nfsd.state.stateids import ANONYMOUS, BYPASS, SEQID_MAX
from nfsd.state.tables import State
from nfsd.vfs.interface import Node
from statestore import HOLDER_KEY_SIZE, TO_END, Answer, Claimed, Range, Verdict
from xdr.generated import nfs4

_Verdict = Verdict[Client, OpenState]


def check_shares(
    state: State, asker: Asker, handle: bytes, access: int, deny: int, refusal: int = nfs4.NFS4ERR_SHARE_DENIED
) -> None:
    """Whether an object may be opened so, or used so without an open (`deny` 0, `refusal` LOCKED; RFC 8881 8.2.3).

    An open owner's own opens count too (RFC 8881 9.7).  Somebody who only has his open by courtesy loses it
    (RFC 8881 8.4.2.4).  Raises Nfs4Error(`refusal`, or DELAY for a holder who may still come back, and where much of a
    removed client is in the way).
    """
    met = 0
    while (verdict := state.filter.share_verdict(handle, access, deny, asker.now)) is not None:
        met = _one_more(met)
        if not _gives_way(state, asker, verdict):
            raise Nfs4Error(_refused(asker, verdict, refusal), "another open denies it")


def check_range(
    state: State, asker: Asker, handle: bytes, owner_key: bytes, start: int, end: int, exclusive: bool
) -> None:
    """Whether nobody else's lock stands in the way; locks held by courtesy do not.

    Raises Nfs4Error: DENIED with the LOCK4denied that names the conflicting lock, DELAY for a holder who may still
    come back, and where much of a removed client is in the way.
    """
    ask = state.filter.range_verdict
    met = 0
    while (verdict := ask(handle, owner_key, start, end, exclusive, asker.now)) is not None:
        met = _one_more(met)
        if not _gives_way(state, asker, verdict):
            status = _refused(asker, verdict, nfs4.NFS4ERR_DENIED)
            assert verdict.range is not None
            body = _denied(state, verdict.range) if status == nfs4.NFS4ERR_DENIED else None
            raise Nfs4Error(status, "another lock is in the way", body)


def _denied(state: State, conflict: Range) -> nfs4.LOCK4denied:
    """Who has it (RFC 8881 18.10.2).

    Whoever knows a clientid may speak for its client (RFC 7530 9.1): the one told is another, always the same for a
    client, that nobody can speak by.
    """
    holder_key = conflict.owner[:HOLDER_KEY_SIZE]
    digest = hashlib.blake2b(holder_key, key=state.secret, person=b"denied", digest_size=8).digest()
    clientid = int.from_bytes(digest, "big")
    return nfs4.LOCK4denied(
        conflict.start,
        nfs4.NFS4_UINT64_MAX if conflict.end == TO_END else conflict.end - conflict.start,
        nfs4.WRITE_LT if conflict.exclusive else nfs4.READ_LT,
        nfs4.lock_owner4(clientid, conflict.owner[HOLDER_KEY_SIZE:]),
    )


def _one_more(met: int) -> int:
    """Count what one request has had to take away.  Raises Nfs4Error(DELAY) where that would take too long."""
    if met >= leftovers.PORTION:
        raise Nfs4Error(nfs4.NFS4ERR_DELAY, "much of a removed client is in the way")
    return met + 1


def _gives_way(state: State, asker: Asker, verdict: _Verdict) -> bool:
    """Whether what is in the way has gone just now, or its holder has: ask again.

    Raises Nfs4Error(DELAY) as `leftovers.give_way` does.
    """
    holder = verdict.holder
    if holder is None:
        return False
    if holder.removed:
        if verdict.open is not None:
            leftovers.give_way(state, asker, verdict.open)
        else:
            assert verdict.range is not None
            leftovers.give_way_range(state, asker, verdict.object, verdict.range)
        return True
    if not take_from_expired(state, asker, holder):
        return False
    state.filter.withdraw(verdict)
    return True


def _refused(asker: Asker, verdict: _Verdict, refusal: int) -> int:
    """The status of a refusal that shows what another client holds."""
    asker.revealed = True
    if verdict.until:
        _say_refused(asker, verdict, blackouts.FILE, "takeover")
    return nfs4.NFS4ERR_DELAY if verdict.answer is Answer.WAIT else refusal


def check_claims(state: State, asker: Asker, handle: bytes, client: Client | None) -> None:
    """Whether a file is free of what others may still claim of before.  Raises Nfs4Error(GRACE)."""
    held = state.filter
    if held.claims is None:
        return
    identity = client.identity if client is not None else b""
    verdict = held.claim_verdict(handle, identity, asker.now)
    if verdict is not None:
        _say_refused(asker, verdict, blackouts.FILE, "takeover")
        raise Nfs4Error(nfs4.NFS4ERR_GRACE, "its holder may still claim it")
    held.expire_claims(handle, asker.now, asker.changes)


def require_granted(outcome: Claimed, what: str) -> None:
    """What an attempt to claim something of before comes to (RFC 8881 8.4.2.1).

    Raises Nfs4Error(NO_GRACE, RECLAIM_BAD).
    """
    if outcome is Claimed.TOO_LATE:
        raise Nfs4Error(nfs4.NFS4ERR_NO_GRACE, "the file's blackout is over")
    if outcome is Claimed.NOT_RECORDED:
        raise Nfs4Error(nfs4.NFS4ERR_RECLAIM_BAD, f"the record has no such {what}")


def check_blackouts(state: State, asker: Asker, node: Node, client: Client | None) -> None:
    """Whether no blackout that an administrator has set forbids the use of a file.

    An NFSv4.0 request names its client only sometimes: there a client's blackout holds for its address.
    Raises Nfs4Error(DELAY, ACCESS).
    """
    held = state.filter
    if not held.blackouts.standing:
        return
    export = node.fs.export
    verdict = held.blackout_verdict(
        node.handle,
        blackouts.tree_of(export.pseudo) if export is not None else None,
        client.identity if client is not None else None,
        "" if asker.minor else asker.connection.address,
        asker.now,
    )
    if verdict is not None:
        assert verdict.blackout is not None
        what = blackouts.NAMES[verdict.blackout.subject]
        _say_refused(asker, verdict, what, "administrator")
        status = nfs4.NFS4ERR_DELAY if verdict.answer is Answer.WAIT else nfs4.NFS4ERR_ACCESS
        raise Nfs4Error(status, f"{what} {verdict.blackout.name} is blacked out")


def _say_refused(asker: Asker, verdict: _Verdict, what: str, why: str) -> None:
    limiter.write(
        "info",
        "blackout.refused",
        about=asker.connection.address,
        peer=asker.connection.peer,
        client=asker.client.label if asker.client is not None else None,
        file=verdict.object.hex(),
        what=what,
        why=why,
    )


def check_io(state: State, asker: Asker, stateid: nfs4.stateid4, node: Node, write: bool) -> OpenState | None:
    """Whether READ, WRITE or a change of size may go on under this stateid (RFC 8881 8.2.3, 9.1.2).

    Returns the open, or None for the special stateids: the caller's permission on the file then decides.
    Raises Nfs4Error(LOCKED, OPENMODE, BAD_STATEID, OLD_STATEID, GRACE, DELAY).
    """
    other, seqid = stateid.other, stateid.seqid
    if other == ANONYMOUS and seqid == 0 or other == BYPASS and seqid == SEQID_MAX:
        check_claims(state, asker, node.handle, asker.client)
        if write or other == ANONYMOUS:
            access = nfs4.OPEN4_SHARE_ACCESS_WRITE if write else nfs4.OPEN4_SHARE_ACCESS_READ
            check_shares(state, asker, node.handle, access, 0, nfs4.NFS4ERR_LOCKED)
        return None
    held = stateids.find(state, asker, stateid, node).open
    stateids.require_confirmed(held)
    if write and not held.access & nfs4.OPEN4_SHARE_ACCESS_WRITE:
        raise Nfs4Error(nfs4.NFS4ERR_OPENMODE, "opened for reading only")
    return held
