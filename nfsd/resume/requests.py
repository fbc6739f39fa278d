"""Requests that a crash interrupted, carried on before anybody is served (docs/failover.md).

Owns what is done with each intent that the store holds: the server carries the request on from where it was, as its
client's retry would, and keeps the reply for that retry.  Whether the operation under way had been carried out is
decided by its handler, from the evidence in `nfsd/ops/once.py`.  Must not know operations.

MUST run after the state is loaded and the exports are open, and before the first connection.  A crash in here leaves
the intents as they are, or finished ones removed: the next start begins with them anew.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from functools import partial

from nfsd.apart import start
from nfsd.compound.engine import Engine
from nfsd.compound.evaluate import Compound
from nfsd.compound.intent import Intent, session_of
from nfsd.durable.outbox import Buffer
from nfsd.errors import Nfs4Error, Replay, Undecidable
from nfsd.log import get_logger
from nfsd.resume.losses import put_aside
from nfsd.rpc.connection import Carried, Connection
from nfsd.rpc.message import CallError, CallRefused, ReplyCame, decode_call
from nfsd.state.sessions import remove_session
from nfsd.vfs.credentials import leave
from statestore import INTENT, ChangeSet, Quarantine, useless
from xdr.codec import XdrError

log = get_logger()

# A request whose recovery ends the process again and again must not keep the server from ever serving.
ATTEMPTS_MAX = 5
_NUMBER = 0


class Absent(Connection):
    """The connection of a client that is not there: its replies are kept for the retry, and go nowhere."""

    __slots__ = ()

    present = False

    def carry(self, thing: Carried) -> bool:
        """No connection carries anything yet."""
        return False

    def reply(self, xid: int, body: list[Buffer]) -> None:
        """The retry will be answered."""

    def reply_whole(self, record: bytes) -> None:
        """The retry will be answered."""


class Interrupted:
    """The requests that a crash interrupted.  `quarantine` is where intents go that cannot be read."""

    def __init__(self, engine: Engine, quarantine: Quarantine, wall_ns: Callable[[], int]) -> None:
        self._wall_ns = wall_ns
        self._engine = engine
        self._outbox = engine.outbox
        self._sessions = engine.services.state.sessions
        self._quarantine = quarantine

    def finish(self, entries: list[tuple[bytes, bytes]], damaged: Iterable[bytes] = ()) -> None:
        """Carry on every request whose intent is stored (keys and values); all is durable on return.

        Those on a tree that is served apart may be put aside, and nobody else works on the tree before them.

        `damaged` are the keys of intents that were lost: nobody can tell what they were about.

        Those that may or may not have changed a file system come first: one at most at `process`, because every intent
        is durable only behind everything that was done before it; at `power` no two about the same directory or object.
        """
        for key in damaged:
            log.error("intent.undecidable", intent=key.hex(), reason="its record is damaged")
            self._give_up(key)
        intents = []
        for key, value in entries:
            session = session_of(key)
            if session and session not in self._sessions:
                # Forgotten, as after a start with --recovery reclaim: no retry can come.
                log.info("intent.dropped", intent=key.hex())
                self._engine.counters.recovered["dropped"] += 1
                self._forget(key)
                continue
            try:
                intents.append(Intent(key, value))
            except (XdrError, struct.error) as error:
                log.error("intent.undecidable", intent=key.hex(), reason=f"unreadable: {error}")
                put_aside(
                    self._outbox,
                    self._quarantine,
                    useless(INTENT, key, value, f"cannot be read: {error}"),
                    self._wall_ns(),
                )
                self._give_up(key)
        for intent in sorted(intents, key=lambda each: not each.kept.undecided):
            if self._engine.puts_aside:
                start(partial(self._carry_on, intent))
            else:
                self._carry_on(intent)

    def _carry_on(self, intent: Intent) -> None:
        kept = intent.kept
        kept.attempts += 1
        changes = ChangeSet()
        changes.put(INTENT, intent.key, intent.encode())
        self._outbox.commit_now(changes)
        engine = self._engine
        try:
            if kept.attempts > ATTEMPTS_MAX:
                raise Undecidable(f"recovered {ATTEMPTS_MAX} times in vain")
            call = decode_call(kept.request)
            compound = Compound(engine, Absent(_NUMBER, kept.address.decode(), kept.port), call, engine.now())
            compound.recover(intent)
        except Replay:
            # Its reply is there, so that nothing was left to do.
            self._forget(intent.key)
        except (Undecidable, Nfs4Error, XdrError, CallError, CallRefused, ReplyCame) as error:
            log.error("intent.undecidable", intent=intent.key.hex(), attempts=kept.attempts, reason=str(error))
            self._give_up(intent.key)
        else:
            engine.counters.recovered["finished"] += 1
            operation = compound.operations[kept.index][0].name if kept.index < len(compound.operations) else None
            log.info("intent.recovered", intent=intent.key.hex(), operation=operation, status=compound.status)
        finally:
            leave()
        self._outbox.commit_now(ChangeSet())

    def _give_up(self, key: bytes) -> None:
        """Never guess: the session dies, and its client makes a new one and keeps its state (RFC 8881 2.10.6.5).

        NFSv4.0 has nothing like it: the retry runs anew.
        """
        self._engine.counters.recovered["undecidable"] += 1
        changes = ChangeSet()
        changes.remove(INTENT, key)
        session = self._sessions.get(session_of(key))
        if session is not None:
            state = self._engine.services.state
            remove_session(state, changes, session)
            state.dead_sessions.add(session.sessionid)
        self._outbox.commit_now(changes)

    def _forget(self, key: bytes) -> None:
        changes = ChangeSet()
        changes.remove(INTENT, key)
        self._outbox.commit_now(changes)
