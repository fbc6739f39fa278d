"""EXCHANGE_ID, DESTROY_CLIENTID, RECLAIM_COMPLETE (RFC 8881 18.35, 18.50, 18.51)."""

from __future__ import annotations

from nfsd.errors import Nfs4Error
from nfsd.log import limiter
from nfsd.ops.request import Request
from nfsd.ops.speaker import follow, require_admitted, require_free, require_speaker
from nfsd.state import leases, records
from nfsd.state.clients import came_from, remove_client
from nfsd.state.model import Client
from xdr.generated import nfs4

# Without RFC 7862's SUPP_FENCE_OPS: like the Linux server, this one does not know what it would fence.
_KNOWN_FLAGS = (
    nfs4.EXCHGID4_FLAG_SUPP_MOVED_REFER
    | nfs4.EXCHGID4_FLAG_SUPP_MOVED_MIGR
    | nfs4.EXCHGID4_FLAG_BIND_PRINC_STATEID
    | nfs4.EXCHGID4_FLAG_USE_NON_PNFS
    | nfs4.EXCHGID4_FLAG_USE_PNFS_MDS
    | nfs4.EXCHGID4_FLAG_USE_PNFS_DS
    | nfs4.EXCHGID4_FLAG_UPD_CONFIRMED_REC_A
)


def op_exchange_id(c: Request, args: nfs4.EXCHANGE_ID4args) -> nfs4.EXCHANGE_ID4resok:
    """Tell a client owner its clientid: RFC 8881 18.35.4's cases, numbered as there.

    Raises INVAL, NOENT, NOT_SAME, PERM, CLID_INUSE, ENCR_ALG_UNSUPP.
    """
    if args.eia_flags & ~_KNOWN_FLAGS or len(args.eia_client_impl_id) > 1:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, f"flags {args.eia_flags:#x}")
    how = args.eia_state_protect.spa_how
    if how == nfs4.SP4_SSV:
        raise Nfs4Error(nfs4.NFS4ERR_ENCR_ALG_UNSUPP, "SSV is not offered")
    if how == nfs4.SP4_MACH_CRED:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "SP4_MACH_CRED needs RPCSEC_GSS")
    require_admitted(c)
    owner, verifier = args.eia_clientowner.co_ownerid, args.eia_clientowner.co_verifier
    principal = c.principal()
    if args.eia_flags & nfs4.EXCHGID4_FLAG_UPD_CONFIRMED_REC_A:
        client = _update(c, owner, verifier, principal)
    else:
        client = _identify(c, owner, verifier, principal)
    flags = nfs4.EXCHGID4_FLAG_USE_NON_PNFS
    if client.confirmed:
        flags |= nfs4.EXCHGID4_FLAG_CONFIRMED_R
    identity = c.services.identity
    return nfs4.EXCHANGE_ID4resok(
        eir_clientid=client.clientid,
        eir_sequenceid=(client.create_sequence + 1) & 0xFFFFFFFF,
        eir_flags=flags,
        eir_state_protect=nfs4.state_protect4_r(spr_how=nfs4.SP4_NONE),
        eir_server_owner=nfs4.server_owner4(0, identity.owner),
        eir_server_scope=identity.scope,
        eir_server_impl_id=[],
    )


def _update(c: Request, owner: bytes, verifier: bytes, principal: bytes) -> Client:
    """Cases 6 to 9: the client says that it is confirmed already."""
    client = c.state.clients.confirmed(1, owner)
    if client is None:
        raise Nfs4Error(nfs4.NFS4ERR_NOENT, "no confirmed client to update")
    if client.verifier != verifier:
        raise Nfs4Error(nfs4.NFS4ERR_NOT_SAME, "another instance of the client")
    if client.principal != principal:
        raise Nfs4Error(nfs4.NFS4ERR_PERM, "another principal")
    return _again(c, client)


def _again(c: Request, client: Client) -> Client:
    """A confirmed instance comes again, perhaps from another address: it knows its own verifier."""
    follow(c, client, nfs4.NFS4ERR_CLID_INUSE)
    client.heard = c.now
    return client


def _identify(c: Request, owner: bytes, verifier: bytes, principal: bytes) -> Client:
    """Cases 1 to 5: a new client, a known one, one that has restarted, or somebody else."""
    state = c.state
    clients = state.clients
    client = clients.confirmed(1, owner)
    if client is not None:
        if client.principal == principal and client.verifier == verifier:
            return _again(c, client)
        require_free(c, client, principal)
        if client.principal != principal:
            remove_client(state, c.changes, client)
    client = Client(
        clientid=state.new_clientid(),
        family=1,
        owner=owner,
        verifier=verifier,
        principal=principal,
        now=c.now,
    )
    came_from(client, c.connection.peer)
    clients.add_unconfirmed(client)
    return client


def op_destroy_clientid(c: Request, args: nfs4.DESTROY_CLIENTID4args) -> None:
    """Forget a client without state.  Raises STALE_CLIENTID, CLIENTID_BUSY."""
    state = c.state
    client = state.clients.by_id.get(args.dca_clientid)
    if client is None or not client.family:
        raise Nfs4Error(nfs4.NFS4ERR_STALE_CLIENTID, "unknown clientid")
    require_speaker(c, client, nfs4.NFS4ERR_STALE_CLIENTID)
    if client.has_state():
        raise Nfs4Error(nfs4.NFS4ERR_CLIENTID_BUSY, "the client has sessions or state")
    limiter.write("info", "client.destroyed", about=c.connection.address, client=client.label)
    remove_client(state, c.changes, client)


def op_reclaim_complete(c: Request, args: nfs4.RECLAIM_COMPLETE4args) -> None:
    """The client has nothing more to reclaim.  Raises COMPLETE_ALREADY, NOFILEHANDLE."""
    client = c.client
    assert client is not None
    if args.rca_one_fs:
        c.node()
        return
    if client.reclaim_complete:
        raise Nfs4Error(nfs4.NFS4ERR_COMPLETE_ALREADY, "reclaim was complete already")
    client.reclaim_complete = True
    records.put_client(c.changes, client)
    leases.reclaim_complete(c.state, c.changes, client)
