"""What a running server tells about itself: the listings of the control socket and the figures for Prometheus.

Reads state, changes nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from nfsd import blackout, table
from nfsd import log as logging_
from nfsd.errors import status_name
from nfsd.state.locks import LockState
from nfsd.state.opens import OpenState
from statestore import TO_END

if TYPE_CHECKING:
    from nfsd.metrics import Snapshot
    from nfsd.server import Server
    from nfsd.state.state import State

# What is not known before the state has been loaded.
_COUNTS = ("epoch", "clients", "sessions", "opens", "locks", "delegations", "connections", "quarantined")
_MODES = {0: "none", 1: "read", 2: "write", 3: "both"}


def status(server: Server) -> dict[str, Any]:
    """One object for the whole server."""
    turn = server.turn
    about = {
        "role": server.role,
        "node": server.config.node,
        "pid": os.getpid(),
        "supervisor_pid": turn.supervisor_pid if turn is not None else os.getpid(),
        "warm_pid": turn.warm_pid if turn is not None else None,
        "takeovers": turn.takeovers if turn is not None else 0,
        "recovery": server.recovery,
    }
    about |= {"listen": server.address, "durability": server.config.durability}
    if server.role == "resuming":
        return about | dict.fromkeys(_COUNTS)
    state = server.state
    return about | {
        "epoch": server.store.epoch,
        "clients": len(state.clients),
        "sessions": len(state.sessions),
        "opens": len(state.opens),
        "locks": sum(len(ranges) for ranges in state.ranges.values()),
        "delegations": 0,
        "connections": len(server.connections),
        "quarantined": len(server.quarantine),
    }


def clients(state: State, now: float) -> list[dict[str, Any]]:
    """One row a client: who it is, what it holds, and how long ago it was heard of (seconds)."""
    return [
        {
            "clientid": client.label,
            "version": "4.0" if client.family == 0 else "4.1+",
            "owner": client.owner.decode("utf-8", "replace"),
            "address": client.peer,
            "confirmed": client.confirmed,
            "expired": state.clients.is_expired(client, now),
            "renewed_s": round(now - client.renewed, 3),
            "sessions": len(client.sessions),
            "opens": len(client.opens),
        }
        for client in state.clients
    ]


def opens(state: State) -> list[dict[str, Any]]:
    """One row an open."""
    return [_open_row(held) for held in state.opens.values()]


def _open_row(held: OpenState) -> dict[str, Any]:
    return {
        "clientid": held.client.label,
        "file": held.handle.hex(),
        "access": _MODES[held.access],
        "deny": _MODES[held.deny],
        "stateid": held.other.hex(),
        "seqid": held.seqid,
        "resume_key": held.key.hex(),
        "locks": len(held.locks or ()),
    }


def locks(state: State) -> list[dict[str, Any]]:
    """One row a byte range; `length` is None where it goes to the end of the file."""
    return [row for locks in state.locks.values() for lock in locks for row in _lock_rows(lock)]


def _lock_rows(lock: LockState) -> list[dict[str, Any]]:
    return [
        {
            "clientid": lock.client.label,
            "file": lock.handle.hex(),
            "type": "write" if held.exclusive else "read",
            "offset": held.start,
            "length": None if held.end == TO_END else held.end - held.start,
            "owner": lock.owner.hex(),
            "stateid": lock.other.hex(),
        }
        for held in lock.held()
    ]


def metrics(server: Server) -> Snapshot:
    """Names as `nfsd.metrics` lists them."""
    state = server.state
    return {
        "connections": len(server.connections),
        "connections_total": server.connections.accepted,
        "connections_refused_total": dict(server.connections.refused),
        "requests_total": server.requests,
        "requests_bad_total": dict(server.bad_requests),
        "operations_total": {row.name: row.calls for row in table.OPERATIONS.values() if row.calls},
        "errors_total": {status_name(number): count for number, count in server.errors.items()},
        "replays_total": server.replays,
        "intents_recovered_total": dict(server.recovered),
        "received_bytes_total": server.received_bytes,
        "sent_bytes_total": server.sent_bytes,
        "clients": len(state.clients),
        "sessions": len(state.sessions),
        "opens": len(state.opens),
        "locks": sum(len(ranges) for ranges in state.ranges.values()),
        "delegations": 0,
        "clients_expired_total": server.clients_expired,
        "blackout_files": blackout.count(server),
        "blackout_refusals_total": state.blackouts.refusals,
        "quarantined_records": len(server.quarantine),
        "commits_total": server.store.transactions,
        "commit_records_total": server.commit_records,
        "epoch": server.store.epoch,
        "takeovers_total": server.turn.takeovers if server.turn is not None else 0,
        "takeover_phase_seconds": server.recovery,
        "role": {server.role: 1},
        "log_lines_lost_total": logging_.lines_lost(),
    }
