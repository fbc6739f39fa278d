"""From an RPC call to the compound that answers it.

Owns the two procedures of the NFS program (RFC 8881 16.1).  Must not know how a compound is evaluated.
"""

from __future__ import annotations

from collections.abc import Callable

from nfsd.apart import start
from nfsd.compound.engine import Engine
from nfsd.compound.evaluate import Compound
from nfsd.rpc.connection import Connection
from nfsd.rpc.message import PROC_NULL, Call


class Dispatcher:
    """Answers every call that it is given, with one engine.

    `check` is called first; it MUST NOT return when this process may not serve any more.
    """

    __slots__ = ("_engine", "_counters", "_now", "_check", "_puts_aside")

    def __init__(self, engine: Engine, check: Callable[[], None] | None = None) -> None:
        self._engine = engine
        self._counters = engine.counters
        self._now = engine.now
        self._check = check
        self._puts_aside = engine.puts_aside

    def dispatch(self, connection: Connection, call: Call) -> None:
        """Run one call; its reply leaves when it may."""
        if self._check is not None:
            self._check()
        self._counters.requests += 1
        if call.procedure == PROC_NULL:
            connection.reply(call.xid, [])
            return
        compound = Compound(self._engine, connection, call, self._now())
        if self._puts_aside:
            start(compound.run, compound.still_wanted)
        else:
            compound.run()
