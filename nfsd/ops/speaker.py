"""Who may speak for a client, and who may take an owner string: the one place of both rules.

With AUTH_SYS and AUTH_NONE a principal is only claimed, so a client is also known by the address that it comes from;
its port changes with every connection.  A connection speaks for nobody unless an export admits its address and port.

    require_speaker    what ends something of a client's: only by the principal and from the address that made it
    require_address    from the address that made it, whatever the principal
    require_principal  by the principal that made it
    follow             who shows what only the client can know (a session id, an NFSv4.0 clientid, its verifier) is the
                       client; where it comes from now is its address
    require_free       another instance wants the owner string of a client that may still be there
"""

from __future__ import annotations

from nfsd.config import MOVES_WITH_LEASE
from nfsd.errors import Nfs4Error
from nfsd.log import limiter
from nfsd.ops.request import Request
from nfsd.state import clients, leases
from nfsd.state.model import Client
from xdr.generated import nfs4


def is_admitted(c: Request) -> bool:
    """Whether any export admits the connection's address and port; found out once for each connection."""
    connection = c.connection
    admitted = connection.admitted
    if admitted is None:
        admitted = connection.admitted = c.services.namespace.admits(connection.address, connection.port)
    return admitted


def require_admitted(c: Request) -> None:
    """Whether the caller may become a client at all.

    Raises CLID_INUSE: the refusal that EXCHANGE_ID and SETCLIENTID share (RFC 8881 15.2, RFC 7530 13.2), and that has
    Linux give the mount up at once, with EPERM.  Its client_using (SETCLIENTID) names nobody.
    """
    if not is_admitted(c):
        _log_refused(c, None, "no export admits its address and port")
        raise Nfs4Error(nfs4.NFS4ERR_CLID_INUSE, "no export admits this address and port", nfs4.netaddr4(b"", b""))


def require_address(c: Request, client: Client, status: int) -> None:
    """Whether the caller comes from where the client does, or by one of its sessions.

    A client without an address gets this one.  Raises Nfs4Error(`status`), which should be the one for a client or
    session that is not there.
    """
    if client is c.client:
        return
    if not is_admitted(c):
        raise _refused(c, client, status, "no export admits its address and port")
    if not client.address:
        clients.move(c.state, c.changes, client, c.connection.peer)
    elif client.address != c.connection.address:
        raise _refused(c, client, status, "another address")


def require_speaker(c: Request, client: Client, status: int) -> None:
    """Whether the caller is who made the client, or comes by one of its sessions.  Raises Nfs4Error(`status`)."""
    if client is not c.client:
        require_address(c, client, status)
        require_principal(c, client, status)


def require_principal(c: Request, client: Client, status: int) -> None:
    """Whether the caller has the principal that made the client.  Raises Nfs4Error(`status`)."""
    if client.principal != c.principal():
        raise _refused(c, client, status, "another principal")


def follow(c: Request, client: Client, status: int) -> None:
    """The caller has shown what only this client knows: from any admitted address it is the client.

    Raises Nfs4Error(`status`) where no export admits it.
    """
    connection = c.connection
    if not connection.present:
        return
    if not is_admitted(c):
        raise _refused(c, client, status, "no export admits its address and port")
    if client.address != connection.address:
        clients.move(c.state, c.changes, client, connection.peer)
    client.peer = connection.peer


def require_free(c: Request, known: Client, principal: bytes) -> None:
    """Whether another instance, of `principal`, may have the owner string of a confirmed client.

    Raises CLID_INUSE, with where that one takes its callbacks, while it holds state and its lease lives: for another
    principal (RFC 8881 18.35.4, RFC 7530 16.33.5), and with `client_moves = "lease"` from another address too.
    """
    lives = known.has_state() and not leases.is_expired(c.state, known, c.now)
    elsewhere = known.address not in ("", c.connection.address)
    waits = elsewhere and c.services.client_moves == MOVES_WITH_LEASE
    if lives and (waits or known.principal != principal):
        limiter.write(
            "warning",
            "client.in_use",
            about=c.connection.address,
            client=known.label,
            owner=known.owner.decode("utf-8", "replace"),
            before=known.address,
            address=c.connection.address,
        )
        used_by = nfs4.netaddr4(known.callback.netid, known.callback.address)
        raise Nfs4Error(nfs4.NFS4ERR_CLID_INUSE, "somebody else has state under this owner", used_by)


def _refused(c: Request, client: Client, status: int, reason: str) -> Nfs4Error:
    _log_refused(c, client, reason)
    return Nfs4Error(status, reason)


def _log_refused(c: Request, client: Client | None, reason: str) -> None:
    connection = c.connection
    limiter.write(
        "warning",
        "client.refused",
        about=connection.address,
        peer=connection.peer,
        operation=c.operation.name,
        client=client.label if client is not None else None,
        address=client.address if client is not None else None,
        reason=reason,
    )
