"""SEQUENCE, CREATE_SESSION, DESTROY_SESSION, BIND_CONN_TO_SESSION, BACKCHANNEL_CTL (RFC 8881 18.33-18.37, 18.46)."""

from __future__ import annotations

import struct

from nfsd.errors import REPLY_HEAD_SIZE, Nfs4Error, Replay, ReplayedResult, RetryWaits
from nfsd.log import get_logger
from nfsd.ops.request import Request
from nfsd.ops.speaker import follow, require_address, require_free, require_principal, require_speaker
from nfsd.state import records, sessions
from nfsd.state.clients import establish
from nfsd.state.model import Channel, Client, Session, Slot
from xdr.generated import nfs4

log = get_logger()

# The smallest channel that can carry a useful compound: SEQUENCE, PUTFH, one operation.
_REQUEST_SIZE_MIN = 256
_REPLY_SIZE_MIN = 256
# As the Linux server: a cached reply holds no data, so this is plenty.
_REPLY_CACHED_MAX = 4096
_OPERATIONS_MIN = 2
_SEQUENCE_OK = struct.Struct(">II16s5I")
_KNOWN_FLAGS = (
    nfs4.CREATE_SESSION4_FLAG_PERSIST | nfs4.CREATE_SESSION4_FLAG_CONN_BACK_CHAN | nfs4.CREATE_SESSION4_FLAG_CONN_RDMA
)
_BACK_SLOTS_MAX = 16
# Either offer of both channels is taken up: Linux fails its mount otherwise.
_DIRECTIONS = {
    nfs4.CDFC4_FORE: nfs4.CDFS4_FORE,
    nfs4.CDFC4_BACK: nfs4.CDFS4_BACK,
    nfs4.CDFC4_FORE_OR_BOTH: nfs4.CDFS4_BOTH,
    nfs4.CDFC4_BACK_OR_BOTH: nfs4.CDFS4_BOTH,
}


def op_sequence(c: Request, args: nfs4.SEQUENCE4args) -> bytes:
    """Begin a request on a slot, or answer a retry from the reply cache (RFC 8881 2.10.6): the encoded SEQUENCE4res.

    Raises Replay and RetryWaits for retries; BADSESSION, BADSLOT, SEQ_MISORDERED, SEQ_FALSE_RETRY, RETRY_UNCACHED_REP,
    TOO_MANY_OPS, REQ_TOO_BIG, BAD_HIGH_SLOT.
    """
    session = c.state.sessions.get(args.sa_sessionid)
    if session is None:
        dead = c.state.dead_sessions
        if args.sa_sessionid in dead:
            dead.remove(args.sa_sessionid)
            raise Nfs4Error(nfs4.NFS4ERR_DEADSESSION, "a request of it could not be recovered (RFC 8881 2.10.6.5)")
        raise Nfs4Error(nfs4.NFS4ERR_BADSESSION, "unknown session")
    if c.connection not in session.connections:
        follow(c, session.client, nfs4.NFS4ERR_BADSESSION)
        session.join(c.connection)
    slots = session.slots
    if args.sa_slotid >= len(slots):
        raise Nfs4Error(nfs4.NFS4ERR_BADSLOT, f"slot {args.sa_slotid} of {len(slots)}")
    if args.sa_highest_slotid >= len(slots) and args.sa_highest_slotid != 0xFFFFFFFF:
        raise Nfs4Error(nfs4.NFS4ERR_BAD_HIGH_SLOT, f"highest slot {args.sa_highest_slotid} of {len(slots)}")
    slot = slots[args.sa_slotid] or session.slot(args.sa_slotid)
    seqid = args.sa_sequenceid
    if slot.running is not None or seqid != (slot.seqid + 1) & 0xFFFFFFFF:
        _not_the_next(c, slot, seqid)
    fore = session.fore
    if c.count > fore.operations_max:
        raise Nfs4Error(nfs4.NFS4ERR_TOO_MANY_OPS, f"{c.count} operations; at most {fore.operations_max}")
    if len(c.call.data) > fore.request_size_max:
        raise Nfs4Error(nfs4.NFS4ERR_REQ_TOO_BIG, f"{len(c.call.data)} bytes; at most {fore.request_size_max}")
    client = session.client
    if slot.resumed and not c.state.filter.has_returned(client):
        log.info("client.resumed", client=client.label, peer=c.connection.peer, opens=len(client.opens))
    client.heard = session.heard = c.now
    slot.running = c
    slot.resumed = False
    slot.used = True
    slot.sequence = seqid
    slot.asked = (c.count, c.operations[-1][0].number, c.call.cred)
    c.slot = slot
    c.session = session
    c.client = client
    c.cache_this = args.sa_cachethis
    size_max = fore.reply_size_max
    if c.cache_this and fore.reply_cached_max < size_max:
        size_max = fore.reply_cached_max
    c.reply_size_max = size_max
    c.reply_size = REPLY_HEAD_SIZE + len(c.tag)
    highest = len(slots) - 1
    flags = _status_flags(c, session) if session.flags or session.client.lost_until else 0
    return _SEQUENCE_OK.pack(
        nfs4.OP_SEQUENCE, nfs4.NFS4_OK, session.sessionid, seqid, args.sa_slotid, highest, highest, flags
    )


def _status_flags(c: Request, session: Session) -> int:
    """SEQ4_STATUS bits (RFC 8881 18.46.3): a back channel that was agreed on is down until a connection has it."""
    down = session.flags and not session.back_connections
    flags = nfs4.SEQ4_STATUS_CB_PATH_DOWN_SESSION if down else 0
    if c.now < session.client.lost_until:
        flags |= nfs4.SEQ4_STATUS_ADMIN_STATE_REVOKED
    return flags


def _not_the_next(c: Request, slot: Slot, seqid: int) -> None:
    """A sequence id that is not simply the next one: a retry, an error, or ahead of a lower bound.

    Returns only for the last of these (RFC 8881 2.10.6.1).
    """
    if slot.running is not None:
        if seqid == slot.sequence:
            _check_same(c, slot)
            slot.retries.append((c.connection, c.call.xid))
            raise RetryWaits
    elif seqid == slot.seqid and slot.used:
        _check_same(c, slot)
        if slot.reply is None:
            raise Nfs4Error(nfs4.NFS4ERR_RETRY_UNCACHED_REP, "that reply was not kept")
        raise Replay(slot.reply)
    elif slot.resumed and seqid > slot.seqid:
        return
    raise Nfs4Error(nfs4.NFS4ERR_SEQ_MISORDERED, f"sequence id {seqid} after {slot.seqid}")


def _check_same(c: Request, slot: Slot) -> None:
    """A retry must ask for the same operations, as far as their count and the last one tell, in the same caller's name.

    Raises SEQ_FALSE_RETRY (RFC 8881 2.10.6.1.3.1, which leaves it to the server how far to look).
    """
    if slot.asked is not None and slot.asked != (c.count, c.operations[-1][0].number, c.call.cred):
        raise Nfs4Error(nfs4.NFS4ERR_SEQ_FALSE_RETRY, "a retry with other operations, or of another caller")


def op_create_session(c: Request, args: nfs4.CREATE_SESSION4args) -> nfs4.CREATE_SESSION4resok:
    """Make a session, and confirm its client if it is new (RFC 8881 18.36.4).

    A confirmed client's further sessions may be made by any principal (RFC 8881 18.36.4), but only from its address.

    Raises STALE_CLIENTID, CLID_INUSE, SEQ_MISORDERED, INVAL, TOOSMALL, NOSPC, DELAY, ReplayedResult for a retry.
    """
    state = c.state
    client = state.clients.by_id.get(args.csa_clientid)
    if client is None or not client.family:
        raise Nfs4Error(nfs4.NFS4ERR_STALE_CLIENTID, "unknown clientid")
    require_address(c, client, nfs4.NFS4ERR_STALE_CLIENTID)
    if args.csa_sequence == client.create_sequence and client.create_reply:
        raise ReplayedResult(nfs4.NFS4_OK, client.create_reply)
    if args.csa_sequence != (client.create_sequence + 1) & 0xFFFFFFFF:
        raise Nfs4Error(nfs4.NFS4ERR_SEQ_MISORDERED, f"csa_sequence {args.csa_sequence}")
    if not client.confirmed and client.principal != c.principal():
        raise Nfs4Error(nfs4.NFS4ERR_CLID_INUSE, "another principal")
    if args.csa_flags & ~_KNOWN_FLAGS:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, f"flags {args.csa_flags:#x}")
    fore = _fore_channel(c, client, args.csa_fore_chan_attrs)
    back = _back_channel(args.csa_back_chan_attrs)
    flags = args.csa_flags & nfs4.CREATE_SESSION4_FLAG_CONN_BACK_CHAN
    session = Session(
        sessions.new_sessionid(state, client),
        client,
        flags=flags,
        callback_program=args.csa_cb_program,
        fore=fore,
        back=back,
    )
    result = nfs4.CREATE_SESSION4resok(
        csr_sessionid=session.sessionid,
        csr_sequence=args.csa_sequence,
        csr_flags=flags,
        csr_fore_chan_attrs=_attrs(fore),
        csr_back_chan_attrs=_attrs(back),
    )
    sessions.make_room(state, c.changes, client)
    _confirm(c, client)
    sessions.add_session(state, session)
    session.heard = c.now
    session.join(c.connection)
    if flags & nfs4.CREATE_SESSION4_FLAG_CONN_BACK_CHAN:
        session.back_connections.add(c.connection)
    client.create_sequence = args.csa_sequence
    packer = nfs4.Nfs4Packer()
    packer.pack_CREATE_SESSION4resok(result)
    client.create_reply = packer.get_buffer()
    records.put_client(c.changes, client)
    records.put_session(c.changes, session)
    return result


def _confirm(c: Request, client: Client) -> None:
    """The first session confirms the client (RFC 8881 18.36.4).

    Raises DELAY, and CLID_INUSE where somebody else has come to use the owner string meanwhile.
    """
    client.heard = c.now
    if client.confirmed:
        return
    old = c.state.clients.confirmed(client.family, client.owner)
    if old is not None:
        require_free(c, old, client.principal)
    establish(c.state, c.changes, client, c.now)


def _fore_channel(c: Request, client: Client, asked: nfs4.channel_attrs4) -> Channel:
    """What the fore channel will carry: what was asked for, within limits.  Raises TOOSMALL, INVAL, NOSPC, DELAY."""
    _check_rdma(asked)
    if (
        asked.ca_maxrequestsize < _REQUEST_SIZE_MIN
        or asked.ca_maxresponsesize < _REPLY_SIZE_MIN
        or asked.ca_maxoperations < _OPERATIONS_MIN
        or asked.ca_maxrequests < 1
    ):
        raise Nfs4Error(nfs4.NFS4ERR_TOOSMALL, "a channel too small for any request")
    limits = c.services.limits
    size_max = limits.record_size_max
    reply_size_max = min(asked.ca_maxresponsesize, size_max)
    reply_cached_max = min(asked.ca_maxresponsesize_cached, reply_size_max, _REPLY_CACHED_MAX)
    return Channel(
        request_size_max=min(asked.ca_maxrequestsize, size_max),
        reply_size_max=reply_size_max,
        reply_cached_max=reply_cached_max,
        operations_max=min(asked.ca_maxoperations, limits.ops_per_compound_max),
        slots=sessions.slots_for(c.state, client, min(asked.ca_maxrequests, limits.slots_max), reply_cached_max),
    )


def _back_channel(asked: nfs4.channel_attrs4) -> Channel:
    """The back channel as it was asked for.  Raises TOOSMALL where no callback would fit."""
    _check_rdma(asked)
    if (
        asked.ca_maxrequestsize < _REQUEST_SIZE_MIN
        or asked.ca_maxresponsesize < _REPLY_SIZE_MIN
        or asked.ca_maxoperations < _OPERATIONS_MIN
    ):
        raise Nfs4Error(nfs4.NFS4ERR_TOOSMALL, "a back channel too small for any callback")
    return Channel(
        request_size_max=asked.ca_maxrequestsize,
        reply_size_max=asked.ca_maxresponsesize,
        reply_cached_max=asked.ca_maxresponsesize_cached,
        operations_max=asked.ca_maxoperations,
        slots=min(asked.ca_maxrequests, _BACK_SLOTS_MAX),
    )


def _check_rdma(asked: nfs4.channel_attrs4) -> None:
    if len(asked.ca_rdma_ird) > 1:
        raise Nfs4Error(nfs4.NFS4ERR_BADXDR, "more than one ca_rdma_ird")


def _attrs(channel: Channel) -> nfs4.channel_attrs4:
    return nfs4.channel_attrs4(
        ca_headerpadsize=0,
        ca_maxrequestsize=channel.request_size_max,
        ca_maxresponsesize=channel.reply_size_max,
        ca_maxresponsesize_cached=channel.reply_cached_max,
        ca_maxoperations=channel.operations_max,
        ca_maxrequests=channel.slots,
        ca_rdma_ird=[],
    )


def op_destroy_session(c: Request, args: nfs4.DESTROY_SESSION4args) -> None:
    """End a session; its client and the client's state stay.  Raises BADSESSION, NOT_ONLY_OP, DELAY."""
    state = c.state
    session = state.sessions.get(args.dsa_sessionid)
    if session is None:
        raise Nfs4Error(nfs4.NFS4ERR_BADSESSION, "unknown session")
    require_speaker(c, session.client, nfs4.NFS4ERR_BADSESSION)
    if session is c.session and c.index != c.count - 1:
        raise Nfs4Error(nfs4.NFS4ERR_NOT_ONLY_OP, "its own session must be destroyed last")
    if session.is_busy(c):
        raise Nfs4Error(nfs4.NFS4ERR_DELAY, "requests are still running")
    sessions.remove_session(state, c.changes, session)


def op_bind_conn_to_session(c: Request, args: nfs4.BIND_CONN_TO_SESSION4args) -> nfs4.BIND_CONN_TO_SESSION4resok:
    """Bind this connection to a session's channels.  Raises BADSESSION, INVAL, NOT_ONLY_OP."""
    if c.count > 1:
        raise Nfs4Error(nfs4.NFS4ERR_NOT_ONLY_OP, "must be the only operation")
    session = c.state.sessions.get(args.bctsa_sessid)
    if session is None:
        raise Nfs4Error(nfs4.NFS4ERR_BADSESSION, "unknown session")
    require_principal(c, session.client, nfs4.NFS4ERR_BADSESSION)
    follow(c, session.client, nfs4.NFS4ERR_BADSESSION)
    direction = _DIRECTIONS.get(args.bctsa_dir)
    if direction is None:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, f"direction {args.bctsa_dir}")
    session.client.heard = c.now
    session.join(c.connection)
    if direction != nfs4.CDFS4_FORE:
        session.back_connections.add(c.connection)
    return nfs4.BIND_CONN_TO_SESSION4resok(session.sessionid, direction, False)


def op_backchannel_ctl(c: Request, args: nfs4.BACKCHANNEL_CTL4args) -> None:
    """Take the callback program's number.  Raises INVAL without any security flavour."""
    session = c.session
    assert session is not None
    if not args.bca_sec_parms:
        raise Nfs4Error(nfs4.NFS4ERR_INVAL, "no callback security")
    session.callback_program = args.bca_cb_program
    records.put_session(c.changes, session)
