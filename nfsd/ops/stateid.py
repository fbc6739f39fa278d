"""TEST_STATEID, FREE_STATEID, DELEGRETURN (RFC 8881 18.6, 18.38, 18.48)."""

from __future__ import annotations

from nfsd.errors import Nfs4Error
from nfsd.ops.request import Request
from nfsd.state import locks
from nfsd.state.model import LockState
from nfsd.state.stateids import ANONYMOUS, BYPASS, find
from xdr.generated import nfs4


def op_test_stateid(c: Request, args: nfs4.TEST_STATEID4args) -> nfs4.TEST_STATEID4resok:
    """Tell of each stateid whether it is still good."""
    c.revealed = True
    return nfs4.TEST_STATEID4resok([_test(c, stateid) for stateid in args.ts_stateids])


def _test(c: Request, stateid: nfs4.stateid4) -> int:
    if stateid.other in (ANONYMOUS, BYPASS):
        return nfs4.NFS4ERR_BAD_STATEID  # special stateids name nothing (RFC 8881 18.48.3)
    try:
        find(c.state, c, stateid)
    except Nfs4Error as error:
        if c.client is not None:
            c.client.lost_until = 0.0  # It knows now, and asks about the others too.
        return error.status
    return nfs4.NFS4_OK


def op_free_stateid(c: Request, args: nfs4.FREE_STATEID4args) -> None:
    """Free a lock stateid that holds nothing.  Raises LOCKS_HELD, BAD_STATEID, OLD_STATEID."""
    state = c.state
    found = find(state, c, args.fsa_stateid)
    if not isinstance(found, LockState) or found.held():
        raise Nfs4Error(nfs4.NFS4ERR_LOCKS_HELD, "the stateid still holds something")
    locks.release(state, c.changes, found)


def op_delegreturn(c: Request, _args: nfs4.DELEGRETURN4args) -> None:
    """Give a delegation back: there are none.  Raises BAD_STATEID."""
    c.node()
    raise Nfs4Error(nfs4.NFS4ERR_BAD_STATEID, "no such delegation")
