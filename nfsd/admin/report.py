"""What a running server tells about itself: the listings of the control socket and the figures for Prometheus.

Reads state, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nfsd import log as logging_
from nfsd.compound import table
from nfsd.compound.engine import Engine
from nfsd.errors import status_name
from nfsd.rpc.connections import Connections
from nfsd.state import leases
from nfsd.state.model import LockState, OpenState
from nfsd.state.tables import State
from statestore import TO_END

COUNTS = ("epoch", "clients", "sessions", "opens", "locks", "delegations", "connections", "quarantined")
"""The keys of `counts`."""
_MODES = {0: "none", 1: "read", 2: "write", 3: "both"}


def counts(engine: Engine, connections: int, quarantined: int) -> dict[str, Any]:
    """How much a server holds, for its status."""
    state = engine.services.state
    return {
        "epoch": engine.outbox.store.epoch,
        "clients": len(state.clients),
        "sessions": len(state.sessions),
        "opens": len(state.filter.opens),
        "locks": state.filter.tally.count,
        "delegations": 0,
        "connections": connections,
        "quarantined": quarantined,
    }


def clients(state: State, now: float) -> Iterator[dict[str, Any]]:
    """One row a client: who it is, what it holds, and how long ago it was heard of (seconds).

    State may change between two rows, of this listing and the others.
    """
    for client in state.clients:
        yield {
            "clientid": client.label,
            "version": "4.0" if client.family == 0 else "4.1+",
            "owner": client.owner.decode("utf-8", "replace"),
            "address": client.peer,
            "confirmed": client.confirmed,
            "expired": leases.is_expired(state, client, now),
            "renewed_s": round(leases.idle_s(state, client, now), 3),
            "sessions": len(client.sessions),
            "opens": len(client.opens),
        }


def opens(state: State) -> Iterator[dict[str, Any]]:
    """One row an open."""
    for held in list(state.filter.opens.values()):
        if not held.holder.removed:
            yield _open_row(held)


def _open_row(held: OpenState) -> dict[str, Any]:
    return {
        "clientid": held.holder.label,
        "file": held.object.hex(),
        "access": _MODES[held.access],
        "deny": _MODES[held.deny],
        "stateid": held.other.hex(),
        "seqid": held.seqid,
        "resume_key": held.key.hex(),
        "locks": len(held.locks or ()),
    }


def locks(state: State) -> Iterator[dict[str, Any]]:
    """One row a byte range; `length` is None where it goes to the end of the file."""
    for siblings in list(state.locks.values()):
        for lock in list(siblings):
            if not lock.holder.removed:
                yield from _lock_rows(lock)


def _lock_rows(lock: LockState) -> list[dict[str, Any]]:
    return [
        {
            "clientid": lock.holder.label,
            "file": lock.object.hex(),
            "type": "write" if held.exclusive else "read",
            "offset": held.start,
            "length": None if held.end == TO_END else held.end - held.start,
            "owner": lock.owner.hex(),
            "stateid": lock.other.hex(),
        }
        for held in lock.held()
    ]


def wire_figures(connections: Connections) -> dict[str, Any]:
    """What connections make the server keep, by the names that `nfsd.admin.metrics` lists."""
    return {
        "connections_dropped_total": dict(connections.counters.connections_dropped),
        "receiving_bytes": connections.budget.receiving,
        "unsent_bytes": connections.budget.unsent,
        "turns_deferred_total": connections.turns.deferrals,
    }


def figures(engine: Engine, connections: int, quarantined: int) -> dict[str, Any]:
    """What has been counted and what is held, by the names that `nfsd.admin.metrics` lists."""
    counters, state = engine.counters, engine.services.state
    found = counts(engine, connections, quarantined)
    found["quarantined_records"] = found.pop("quarantined")
    return found | {
        "connections_total": counters.connections_accepted,
        "connections_refused_total": dict(counters.connections_refused),
        "requests_total": counters.requests,
        "requests_bad_total": dict(counters.bad_requests),
        "operations_total": {row.name: row.calls for row in table.OPERATIONS.values() if row.calls},
        "errors_total": {status_name(number): count for number, count in counters.errors.items()},
        "replays_total": counters.replays,
        "intents_recovered_total": dict(counters.recovered),
        "received_bytes_total": counters.received_bytes,
        "sent_bytes_total": counters.sent_bytes,
        "clients_unconfirmed": state.clients.counts()[1],
        "reply_cache_bytes": state.reply_cache_size,
        "owners": {
            "open": sum(len(client.open_owners) for client in state.clients),
            "lock": sum(len(client.lock_owners) for client in state.clients),
        },
        "evicted_total": dict(state.clients.evicted),
        "clients_expired_total": counters.clients_expired,
        "blackout_refusals_total": state.filter.refusals,
        "store_used_bytes": engine.outbox.store.used,
        "store_nearly_full": int(engine.outbox.store.nearly_full),
        "store_refusals_total": counters.store_refusals,
        "commits_total": engine.outbox.store.transactions,
        "commit_records_total": engine.outbox.records,
        "log_lines_suppressed_total": logging_.limiter.suppressed,
        "log_lines_lost_total": logging_.lines_lost(),
    }
