"""The server: the composition root of one serving process.

Owns which parts there are, what each is given, and the order in which they begin and end.  Nothing below knows it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final

from nfsd import log as logging_
from nfsd.admin.target import Parts, Target
from nfsd.compound.dispatch import Dispatcher
from nfsd.config import Config
from nfsd.durable.faults import Faults
from nfsd.durable.outbox import Outbox
from nfsd.durable.pulse import Pulse
from nfsd.durable.threads import Threads
from nfsd.log import get_logger, limiter
from nfsd.resume.edge import of_this_machine
from nfsd.resume.exports import Exports
from nfsd.resume.leave import finish
from nfsd.resume.places import open_state
from nfsd.resume.takeover import Taken, say_taken_over, take_over, uncollected
from nfsd.resume.turn import Phases, Turn
from nfsd.rpc.connections import Connections
from nfsd.rpc.listeners import open_listeners, text_of
from nfsd.state.records import UPGRADES
from nfsd.vfs import leave, prepare_process
from statestore import Store, StoreError, rehearse, touch

log = get_logger()

STOP_S: Final = 30.0
"""How long a stop waits for what runs."""


class Server:
    """One process that serves when it is its turn; `target` is what the control socket and the figures ask."""

    def __init__(
        self,
        config: Config,
        *,
        listeners: Sequence[socket.socket] | None = None,
        lock: int = -1,
        open_store: Callable[..., Any] = open_state,
    ) -> None:
        """`listeners` are sockets that listen already; `lock` is the state directory's, if it is held already."""
        self.target = Target(config)
        self._config = config
        self._edge = of_this_machine()
        self._open_store = open_store
        self._listeners = list(listeners or ())
        self._lock = lock
        self._turn: Turn | None = None
        self._faults = Faults()
        self._exports = Exports(config, self._edge, self._faults.keeper_lost)
        self._pulse = Pulse(config.cluster.pause_max_s, self._faults.fenced) if config.cluster is not None else None
        self._check = self._pulse.check if self._pulse is not None else None
        self._outbox: Outbox | None = None
        self._threads: Threads | None = None
        self._taken: Taken | None = None
        self._connections: Connections | None = None
        self._reaper: asyncio.TimerHandle | None = None

    # -- the beginning ------------------------------------------------------------------------------------

    def prepare(self, *, mounted: bool = True) -> None:
        """Do all that needs neither the store nor the loop, so that `start` is quick; what is wrong, `start` raises.

        Nothing on the volume is touched unless it is `mounted`.
        """
        try:
            self._exports.resolve()
            if mounted:
                self._exports.prepare()
                touch(self._config.state)
            rehearse()
        except (StoreError, OSError, ValueError) as error:
            log.warning("server.unprepared", reason=str(error))

    def take_turn(self, turn: Turn, lock: int | None = None) -> None:
        """Let this process serve next; `lock` is the state directory's, where it has been taken for that."""
        self._turn = turn
        self._lock = self._lock if lock is None else lock
        self.target.take_turn(turn)

    async def start(self) -> None:
        """Open the store, take over, listen.  Raises StoreError, ExportError, OSError."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._faults.loop_fault)
        turn = self._turn
        phases = (turn and turn.phases) or Phases(turn.noticed if turn is not None else None)
        prepare_process()
        self._outbox = outbox = Outbox(self._opened, loop, self._check)
        logging_.set_epoch(outbox.store.epoch)
        phases.end("open")
        self._threads = threads = Threads(loop.call_soon_threadsafe, self._check, leave)
        with uncollected():
            taken = await take_over(self._config, outbox, threads, self._faults, self._edge, self._exports.open)
        self._taken = taken
        phases.end("load")
        threads.start(self._config.limits.threads)
        self._connections = await self._listen(outbox, taken)
        phases.end("listen")
        self.target.serve(Parts(taken, self._connections), phases.all(), text_of(self._listeners[0]))
        say_taken_over(taken.engine.services.state, phases)
        self._reap(loop, taken)
        if self._pulse is not None:
            self._pulse.begin(loop.call_later)

    def _opened(self, on_durable: Callable[[int], None]) -> Store:
        config, turn = self._config, self._turn
        return self._open_store(  # type: ignore[no-any-return]
            config.state,
            level=config.durability,
            map_size=config.limits.store_size_max,
            reserve_size=config.limits.store_reserve_size,
            on_durable=on_durable if config.durability == "power" else None,
            on_failure=self._faults.store_failed,
            lock=self._lock,
            resumed=turn is not None and not turn.first,
            guard=self._check,
            upgrades=UPGRADES,
        )

    async def _listen(self, outbox: Outbox, taken: Taken) -> Connections:
        config = self._config
        connections = Connections(
            config.limits,
            taken.engine.counters,
            Dispatcher(taken.engine, self._check).dispatch,
            known=taken.addresses,
            loop=asyncio.get_running_loop(),
            check=self._check,
            commit=outbox.commit if config.cluster is not None else None,
            past=taken.peers,
        )
        self._listeners = self._listeners or open_listeners(*config.listen)
        await connections.listen(self._listeners)
        return connections

    def _reap(self, loop: asyncio.AbstractEventLoop, taken: Taken) -> None:
        pause_s = taken.reap()
        limiter.expire()
        self._reaper = loop.call_later(pause_s, self._reap, loop, taken)

    # -- what a node asks ---------------------------------------------------------------------------------

    def note(self, phases: dict[str, float]) -> None:
        """Phases of the takeover that came after `start`, or all of them anew, in seconds."""
        self.target.note(phases)

    def take_past(self) -> list[tuple[str, int]]:
        """Address and port of everybody who was connected to an earlier process."""
        return self._connections.take_past() if self._connections is not None else []

    def absent(self, peers: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Those of the peers whose connection of that time is not open again from the same port."""
        return self._connections.absent(peers) if self._connections is not None else peers

    # -- the end ------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Finish what runs, make everything durable, close the store and the connections."""
        try:
            await self.let_go(STOP_S)
        except TimeoutError as error:
            log.error("server.stopped_short", reason=str(error))
        if self._connections is not None:
            self._connections.finish()
        limiter.flush()

    async def let_go(self, limit_s: float) -> None:
        """Finish what runs within `limit_s`, make everything durable, and close the store and the exports.

        Connections stay open, and nobody reads what arrives on them. Raises TimeoutError; then nothing is closed.
        """
        if self._reaper is not None:
            self._reaper.cancel()
        taken, outbox = self._taken, self._outbox
        if self._connections is not None:
            await finish(self._connections, taken, limit_s, alone=self._config.cluster is None)
        if taken is not None:
            taken.engine.in_doubt.close()
        if self._threads is not None:
            await asyncio.to_thread(self._threads.close)
        if outbox is not None:
            await outbox.settle()
        if taken is not None:
            taken.engine.services.namespace.close()
        if outbox is not None:
            self._outbox = None
            outbox.store.close()
