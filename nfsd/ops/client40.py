"""SETCLIENTID, SETCLIENTID_CONFIRM, RENEW (RFC 7530 16.29, 16.33, 16.34)."""

from __future__ import annotations

from nfsd.errors import Nfs4Error
from nfsd.log import get_logger, limiter
from nfsd.ops.request import Request
from nfsd.state import leases, records
from nfsd.state.clients import came_from, confirm, remove_client
from nfsd.state.model import Callback, Client
from xdr.generated import nfs4

log = get_logger()


def op_setclientid(c: Request, args: nfs4.SETCLIENTID4args) -> nfs4.SETCLIENTID4resok:
    """Tell a client its clientid and a verifier to confirm it with (RFC 7530 16.33.5).

    Raises CLID_INUSE with the address of the client that has the owner string now.
    """
    state = c.state
    clients = state.clients
    owner, verifier = args.client.id, args.client.verifier
    principal = c.principal()
    known = clients.confirmed(0, owner)
    if known is not None and known.principal != principal:
        if known.has_state() and not leases.is_expired(state, known, c.now):
            used_by = nfs4.netaddr4(na_r_netid=known.callback.netid, na_r_addr=known.callback.address)
            raise Nfs4Error(nfs4.NFS4ERR_CLID_INUSE, "another principal uses this owner", used_by)
    same = known is not None and known.principal == principal and known.verifier == verifier
    client = Client(
        clientid=known.clientid if same and known is not None else state.new_clientid(),
        family=0,
        owner=owner,
        verifier=verifier,
        principal=principal,
        now=c.now,
    )
    came_from(client, c.connection.peer)
    client.confirm = c.services.random_bytes(8)
    location = args.callback.cb_location
    client.callback = Callback(args.callback.cb_program, location.na_r_netid, location.na_r_addr, args.callback_ident)
    if same and known is not None:
        clients.add_update(known, client)
    else:
        clients.add_unconfirmed(client)
    return nfs4.SETCLIENTID4resok(client.clientid, client.confirm)


def op_setclientid_confirm(c: Request, args: nfs4.SETCLIENTID_CONFIRM4args) -> None:
    """Confirm what SETCLIENTID told (RFC 7530 16.34.5).  Raises STALE_CLIENTID, CLID_INUSE."""
    state = c.state
    clients = state.clients
    principal = c.principal()
    update = clients.update_of(args.clientid)
    if update is not None and update.confirm == args.setclientid_confirm:
        known = clients.by_id[args.clientid]
        _same_principal(update, principal)
        clients.drop_unconfirmed(0, update.owner)
        known.callback, known.confirm = update.callback, update.confirm
        known.heard = c.now
        records.put_client(c.changes, known)
        return
    client = clients.by_id.get(args.clientid)
    if client is None or client.family or client.confirm != args.setclientid_confirm:
        raise Nfs4Error(nfs4.NFS4ERR_STALE_CLIENTID, "no such clientid and verifier")
    _same_principal(client, principal)
    client.heard = c.now
    if client.confirmed:
        return  # a retry
    old = clients.confirmed(0, client.owner)
    if old is not None:
        limiter.write("info", "client.restarted", about=c.connection.address, client=client.label, before=old.label)
        remove_client(state, c.changes, old)
    confirm(state, client)
    records.put_client(c.changes, client)
    limiter.write(
        "info",
        "client.confirmed",
        about=c.connection.address,
        client=client.label,
        owner=client.owner.decode("utf-8", "replace"),
    )


def _same_principal(client: Client, principal: bytes) -> None:
    if client.principal != principal:
        raise Nfs4Error(nfs4.NFS4ERR_CLID_INUSE, "another principal")


def op_renew(c: Request, args: nfs4.RENEW4args) -> None:
    """Renew a client's lease.  Raises STALE_CLIENTID."""
    confirmed_client(c, args.clientid).heard = c.now


def confirmed_client(c: Request, clientid: int) -> Client:
    """NFSv4.0: the client of a clientid in a request.  Raises STALE_CLIENTID."""
    state = c.state
    client = state.clients.by_id.get(clientid)
    if client is None and clientid in state.expired_clientids:
        raise Nfs4Error(nfs4.NFS4ERR_EXPIRED, "its lease ran out and its state was removed")
    if client is None or client.family or not client.confirmed:
        raise Nfs4Error(nfs4.NFS4ERR_STALE_CLIENTID, f"unknown clientid {clientid:#x}")
    return client
