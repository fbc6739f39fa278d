"""Taking over what the store holds: clients, sessions, opens and locks, and the requests that a crash interrupted.

Owns the order of these things, before the first connection is taken. Must not know how a record is read
(`nfsd/state`), nor how an interrupted request is carried on (`nfsd/recovery.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from nfsd import recovery
from nfsd.log import get_logger
from nfsd.losses import Losses
from nfsd.state.blackout import Blackouts
from nfsd.state.reclaim import Reclaim
from nfsd.state.state import State
from nfsd.state.waiting import Waiting
from statestore import ANSWER, INTENT, META, NAME, PEER, PENDING, QUARANTINE, Damage, Quarantine

if TYPE_CHECKING:
    from nfsd.server import Server

log = get_logger()

VERIFIER_KEY = b"verifier"
"""The META record that counts how often unstable data may have been lost."""


async def restore(server: Server) -> None:
    """Take over what the store holds, and open the exports."""
    config, store = server.config, server.store
    secret = store.secret
    derived = hashlib.blake2b(b"server", key=secret, digest_size=16).hexdigest()
    server.server_owner = (config.server_owner or f"understudy-{derived}").encode()
    server.server_scope = (config.server_scope or f"understudy-{derived}").encode()
    server.state = State(
        secret=secret,
        epoch=store.epoch,
        lease_time_s=config.lease_time_s,
        clients_max=config.limits.clients_max,
        opens_max=config.limits.opens_max,
        now=server.now(),
        random_bytes=server.random_bytes,
        blackouts=Blackouts(time.time() - server.now()),
    )
    aside: dict[int, list[tuple[bytes, bytes]]] = {kind: [] for kind in (NAME, ANSWER, INTENT, PEER, QUARANTINE)}
    losses = Losses(store.epoch)
    for left_out in _recover(server, _entries(server, aside, losses)):
        losses.left_out += left_out
        await asyncio.sleep(0)
    losses.damaged = store.damaged
    losses.stand_in(aside[NAME])
    if losses.has(META, VERIFIER_KEY):
        server.verifier_generation = int.from_bytes(server.random_bytes(3), "big")
        losses.changes.put(META, VERIFIER_KEY, server.verifier_generation.to_bytes(4, "big"))
    server.choose_verifier()
    if server.prepared_with not in (b"", secret):
        server.namespace.close()
        del server.namespace
    if not hasattr(server, "namespace"):
        server.open_namespace(secret, aside[NAME])
    server.durations.namespace = server.namespace
    server.namespace.adopt_thread()
    for export, mode in server.namespace.modes():
        log.info("export.opened", path=export.path, pseudo=export.pseudo, handles=mode)
        if mode == "table":
            log.warning("export.table_handles", path=export.path, reason="files moved behind the server go stale")
    if not server.namespace.acts_as_caller:
        log.warning("server.single_user", reason="not root: every operation runs as the server's own user")
    server.connections.past = [key for key, _value in aside[PEER]]
    losses.left_out += server.duplicates.load(aside[ANSWER])
    server.quarantine = Quarantine(key for key, _value in aside[QUARANTINE])
    losses.settle(server)
    recovery.finish_requests(server, aside[INTENT], losses.keys(INTENT))
    server.sweep()


def _entries(
    server: Server, aside: dict[int, list[tuple[bytes, bytes]]], losses: Losses
) -> Iterator[tuple[int, bytes, bytes]]:
    """What the store holds for the state; records of the kinds in `aside` are put there."""
    for entry in server.store.load():
        if entry[0] in aside:
            aside[entry[0]].append(entry[1:])
            continue
        if entry[:2] == (META, VERIFIER_KEY):
            server.verifier_generation = int.from_bytes(entry[2], "big")
        if entry[0] != META or not server.state.blackouts.takes(entry[1], entry[2], losses.left_out):
            yield entry


def _recover(server: Server, entries: Iterable[tuple[int, bytes, bytes]]) -> Iterator[list[Damage]]:
    """Resume what the store holds, or let clients claim it, in steps.

    Each step yields the records that are of no use.
    """
    now, state = server.now(), server.state
    waiting = Waiting(now, server.durations, retry=server.config.blackout_response == "retry")
    if server.config.recovery == "resume":
        yield from state.load_steps(entries, now)
        state.wait_for_holders(waiting)
        return
    kept = list(entries)
    yield from state.load_steps([entry for entry in kept if entry[0] in (META, PENDING)], now)
    state.instances.forget()
    reclaim = Reclaim(waiting, state.blackouts.addresses)
    changes = reclaim.load(kept)
    if changes:
        server.store.wait(server.store.commit(changes))
    if len(reclaim):
        state.reclaim = reclaim
        state.wait_for_holders(waiting)
    yield reclaim.left_out
