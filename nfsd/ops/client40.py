"""SETCLIENTID, SETCLIENTID_CONFIRM, RENEW (RFC 7530 16.29, 16.33, 16.34)."""

from __future__ import annotations

from nfsd.errors import Nfs4Error
from nfsd.ops.request import Request
from nfsd.ops.speaker import follow, require_address, require_admitted, require_free, require_principal
from nfsd.state import records
from nfsd.state.clients import came_from, establish
from nfsd.state.model import Callback, Client
from xdr.generated import nfs4


def op_setclientid(c: Request, args: nfs4.SETCLIENTID4args) -> nfs4.SETCLIENTID4resok:
    """Tell a client its clientid and a verifier to confirm it with (RFC 7530 16.33.5).

    Raises CLID_INUSE with the address of the client that has the owner string now, INVAL.
    """
    state = c.state
    require_admitted(c)
    location = args.callback.cb_location
    size_max = c.services.limits.callback_address_size_max
    if len(location.na_r_netid) > size_max or len(location.na_r_addr) > size_max:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, f"a callback address of more than {size_max} bytes")
    owner, verifier = args.client.id, args.client.verifier
    principal = c.principal()
    known = state.clients.confirmed(0, owner)
    same = known if known is not None and (known.principal, known.verifier) == (principal, verifier) else None
    if known is not None and same is None:
        require_free(c, known, principal)
    client = Client(
        clientid=same.clientid if same is not None else state.new_clientid(),
        family=0,
        owner=owner,
        verifier=verifier,
        principal=principal,
        now=c.now,
    )
    came_from(client, c.connection.peer)
    client.confirm = c.services.random_bytes(8)
    client.callback = Callback(args.callback.cb_program, location.na_r_netid, location.na_r_addr, args.callback_ident)
    if same is not None:
        state.clients.add_update(client)
    else:
        state.clients.add_unconfirmed(client)
    return nfs4.SETCLIENTID4resok(client.clientid, client.confirm)


def op_setclientid_confirm(c: Request, args: nfs4.SETCLIENTID_CONFIRM4args) -> None:
    """Confirm what SETCLIENTID told (RFC 7530 16.34.5).  Raises STALE_CLIENTID, CLID_INUSE."""
    clients = c.state.clients
    update = clients.update_of(args.clientid)
    if update is not None and update.confirm == args.setclientid_confirm:
        _confirm_update(c, clients.by_id[args.clientid], update)
        return
    client = clients.by_id.get(args.clientid)
    if client is None or client.family or client.confirm != args.setclientid_confirm:
        raise Nfs4Error(nfs4.NFS4ERR_STALE_CLIENTID, "no such clientid and verifier")
    _require_confirmer(c, client)
    client.heard = c.now
    if not client.confirmed:
        _confirm(c, client)


def _require_confirmer(c: Request, client: Client) -> None:
    """Only who sent the SETCLIENTID may confirm it.  Raises CLID_INUSE for another principal, STALE_CLIENTID."""
    require_address(c, client, nfs4.NFS4ERR_STALE_CLIENTID)
    require_principal(c, client, nfs4.NFS4ERR_CLID_INUSE)


def _confirm_update(c: Request, known: Client, update: Client) -> None:
    """A known instance tells other callbacks, and perhaps comes from another address."""
    _require_confirmer(c, update)
    c.state.clients.drop_unconfirmed(0, update.owner)
    known.callback, known.confirm = update.callback, update.confirm
    known.heard = c.now
    follow(c, known, nfs4.NFS4ERR_STALE_CLIENTID)
    records.put_client(c.changes, known)


def _confirm(c: Request, client: Client) -> None:
    """Confirm a new instance.  Raises DELAY, CLID_INUSE where somebody has come to use the owner string meanwhile."""
    state = c.state
    old = state.clients.confirmed(0, client.owner)
    if old is not None:
        require_free(c, old, client.principal)
    establish(state, c.changes, client, c.now)
    records.put_client(c.changes, client)


def op_renew(c: Request, args: nfs4.RENEW4args) -> None:
    """Renew a client's lease.  Raises STALE_CLIENTID, EXPIRED, ACCESS for another principal (RFC 7530 16.29)."""
    client = _confirmed(c, args.clientid)
    require_principal(c, client, nfs4.NFS4ERR_ACCESS)
    follow(c, client, nfs4.NFS4ERR_STALE_CLIENTID)
    client.heard = c.now


def confirmed_client(c: Request, clientid: int) -> Client:
    """NFSv4.0: the client that a request speaks for by its clientid.  Raises STALE_CLIENTID, EXPIRED."""
    client = _confirmed(c, clientid)
    follow(c, client, nfs4.NFS4ERR_STALE_CLIENTID)
    return client


def _confirmed(c: Request, clientid: int) -> Client:
    state = c.state
    client = state.clients.by_id.get(clientid)
    if client is None and clientid in state.expired_clientids:
        raise Nfs4Error(nfs4.NFS4ERR_EXPIRED, "its lease ran out and its state was removed")
    if client is None or client.family or not client.confirmed:
        raise Nfs4Error(nfs4.NFS4ERR_STALE_CLIENTID, f"unknown clientid {clientid:#x}")
    return client
