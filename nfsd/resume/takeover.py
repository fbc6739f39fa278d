"""The takeover: from an open store to a complete engine, before the first connection.

Owns its order: state, exports, what waits for holders, losses, interrupted requests, tombs.  Must not know how the
store was opened, nor who listens afterwards.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from nfsd.attributes import NAMES
from nfsd.compound.engine import Engine
from nfsd.config import Config
from nfsd.counters import Counters
from nfsd.durable.faults import Faults
from nfsd.durable.outbox import Outbox
from nfsd.durable.threads import Threads
from nfsd.durable.verifier import WriteVerifier
from nfsd.exports import Namespace
from nfsd.log import get_logger
from nfsd.resume.edge import Edge
from nfsd.resume.load import Loaded, Rows
from nfsd.resume.requests import Interrupted
from nfsd.resume.tombs import Tombs
from nfsd.resume.turn import Phases
from nfsd.services import Identity, Services
from nfsd.state import leases
from nfsd.state.durations import FileDurations
from nfsd.state.reply_cache import ReplyCache
from nfsd.state.tables import State
from statestore import ANSWER, INTENT, NAME, PEER, QUARANTINE, ChangeSet, Quarantine, Waiting

log = get_logger()

# Rounds of the reaper after which names of users are asked for again.
_NAMES_ROUNDS: Final = 30

OpenExports = Callable[[bytes, Rows, Rows, Callable[[ChangeSet], None]], Namespace]
"""Opens the exports; it is given the secret, the stored numbers of exports, the stored rows of the object tables, and
what takes new ones of both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a takeover has made; `peers` are the keys of the connections that an earlier process had."""

    engine: Engine
    durations: FileDurations
    quarantine: Quarantine
    tombs: Tombs
    peers: list[bytes]
    reaper: leases.Reaper

    def addresses(self) -> set[str]:
        """Where confirmed clients have come from."""
        return {client.address for client in self.engine.services.state.clients if client.confirmed}

    def reap(self) -> float:
        """Let go of some of what nobody will miss; returns in how many seconds to call it again."""
        engine = self.engine
        engine.outbox.look_for_room()
        changes, pause_s = self.reaper.turn(engine.now())
        if changes:
            engine.outbox.commit(changes)
        if self.reaper.round_over:
            if not self.reaper.rounds % _NAMES_ROUNDS:
                NAMES.age()
            engine.services.namespace.reap()
            self.tombs.sweep()
        return pause_s


async def take_over(
    config: Config, outbox: Outbox, threads: Threads, faults: Faults, edge: Edge, open_exports: OpenExports
) -> Taken:
    """Take over what the store holds; all is durable on return.  Raises StoreError, ExportError, OSError."""
    store, now = outbox.store, edge.now()
    resume = config.recovery == "resume"
    state = State(
        secret=store.secret,
        epoch=store.epoch,
        lease_time_s=config.lease_time_s,
        limits=config.limits,
        now=now,
        random_bytes=edge.random_bytes,
        wall_offset_s=edge.wall_ns() / 1e9 - now,
    )
    loaded = Loaded(state)
    spare = int.from_bytes(edge.random_bytes(3), "big")
    await loaded.load(store, resume=resume, spare_verifier=spare)
    namespace = open_exports(store.secret, loaded.numbers, loaded.rows(NAME), outbox.commit_names)
    durations = FileDurations(namespace, config.blackout_s, [(rule.match, rule.blackout_s) for rule in config.clients])
    waiting = Waiting(now, durations, retry=config.blackout_response == "retry")
    useless = loaded.wait_for_holders(waiting, resume=resume)
    if useless:
        store.wait(outbox.commit(useless))
    replies = ReplyCache()
    loaded.losses.left_out += replies.load(loaded.rows(ANSWER))
    quarantine = Quarantine(key for key, _value in loaded.rows(QUARANTINE))
    loaded.losses.settle(outbox, quarantine, state, edge.now(), edge.wall_ns())
    engine = Engine(
        services=_services(config, outbox, edge, state, namespace, loaded.verifier_losses),
        outbox=outbox,
        threads=threads,
        faults=faults,
        counters=Counters(),
        replies=replies,
        syncs=config.durability == "power",
        now=edge.now,
        file_ns=edge.file_ns,
    )
    tombs = Tombs(outbox, state, namespace)
    Interrupted(engine, quarantine, edge.wall_ns).finish(loaded.rows(INTENT), loaded.losses.keys(INTENT))
    tombs.sweep()
    peers = [key for key, _value in loaded.rows(PEER)]
    return Taken(
        engine=engine, durations=durations, quarantine=quarantine, tombs=tombs, peers=peers, reaper=leases.Reaper(state)
    )


@contextmanager
def uncollected() -> Iterator[None]:
    """Around a takeover: nothing of what is made will be garbage soon, and looking for some would double the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def say_taken_over(state: State, phases: Phases) -> None:
    """Log what was taken over, and how long each phase took."""
    seconds = phases.all()
    for phase, phase_s in seconds.items():
        log.info("takeover.phase", phase=phase, seconds=phase_s)
    log.info("state.loaded", clients=len(state.clients), opens=len(state.filter.opens), locks=len(state.locks))
    named = {f"{phase}_s": phase_s for phase, phase_s in seconds.items()}
    log.info("takeover.done", **named, processor_s=phases.processor_s())


def _services(
    config: Config, outbox: Outbox, edge: Edge, state: State, namespace: Namespace, verifier_losses: int
) -> Services:
    secret = outbox.store.secret
    verifier = WriteVerifier(secret=secret, boot_id=edge.boot_id, node=config.node, losses=verifier_losses)
    loop = asyncio.get_running_loop()

    def writes_lost() -> None:
        loop.call_soon_threadsafe(outbox.commit_waiting, verifier.lose())

    derived = hashlib.blake2b(b"server", key=secret, digest_size=16).hexdigest()
    identity = Identity(
        owner=(config.server_owner or f"understudy-{derived}").encode(),
        scope=(config.server_scope or f"understudy-{derived}").encode(),
    )
    return Services(
        state=state,
        namespace=namespace,
        limits=config.limits,
        lease_time_s=config.lease_time_s,
        now=edge.now,
        client_moves=config.client_moves,
        identity=identity,
        verifier=verifier,
        writes_lost=writes_lost,
        random_bytes=edge.random_bytes,
    )
