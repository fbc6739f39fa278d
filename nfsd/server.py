"""The server: the composition root of one serving process.

Owns the parts (store, state, namespace, threads, listening sockets) and what runs between them: requests in,
ChangeSets to the store, replies out once they are durable.  Here, and in the transport, are the only clock, the
only randomness and the only threads.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfsd import blackout, recovery, report, rpc
from nfsd import log as logging_
from nfsd.compound import Compound
from nfsd.config import Config
from nfsd.connections import Connections
from nfsd.control import Resuming
from nfsd.duplicates import DuplicateCache
from nfsd.errors import Nfs4Error
from nfsd.exports import AUTH_NONE, Export, ExportError, Namespace, parse_exports
from nfsd.failover.pulse import Pulse
from nfsd.failover.turn import Phases, Turn
from nfsd.faults import Faults
from nfsd.inflight import InFlight
from nfsd.log import get_logger, limiter
from nfsd.restore import VERIFIER_KEY, restore
from nfsd.sockets import BACKLOG, open_listeners, text_of
from nfsd.state.durations import Durations
from nfsd.state.sessions import Session
from nfsd.state.state import State
from nfsd.transport import SCRATCH_SIZE, Connection
from nfsd.vfs import kernelmode
from nfsd.vfs.process import prepare_process
from statestore import (
    META,
    PENDING,
    ChangeSet,
    LmdbStore,
    Quarantine,
    StoreError,
    read_secret,
    rehearse,
    touch,
)
from xdr.generated import nfs4

if TYPE_CHECKING:
    from nfsd.metrics import Snapshot
    from nfsd.vfs.interface import Credentials, Node

log = get_logger()

REAP_INTERVAL_S = 1.0
STOP_S = 30.0
"""How long a stop waits for what runs."""
# Callers remembered on one connection before they are all forgotten.
_CALLERS_MAX = 1024
_CLOCK_REALTIME_COARSE = 5  # linux/time.h; the time module does not name it
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Server(Faults):
    """One serving process."""

    def __init__(
        self,
        config: Config,
        *,
        listeners: Sequence[socket.socket] | None = None,
        lock: int = -1,
        open_store: Callable[..., Any] = LmdbStore.open,
    ) -> None:
        """`listeners` are sockets that listen already; `lock` is the state directory's, if it is held already."""
        self.config = config
        self.syncs_files = config.durability == "power"
        self._open_store = open_store
        self.role = "resuming"
        self.turn: Turn | None = None
        self._listeners = list(listeners or ())
        self.lock = lock
        self._exports: list[Export] | None = None
        self.prepared_with = b""
        self.pulse = Pulse(config.cluster.pause_max_s, self.fenced) if config.cluster is not None else None
        self.scratch = bytearray(SCRATCH_SIZE)
        self.store: LmdbStore
        self.state: State
        self.durations = Durations(config.blackout_s, [(rule.match, rule.blackout_s) for rule in config.clients])
        self.namespace: Namespace
        self.server_owner = b""
        self.server_scope = b""
        self.write_verifier = bytes(8)
        self.received_bytes = 0
        self.sent_bytes = 0
        self.requests = 0
        self.replays = 0
        self.commit_records = 0
        self.clients_expired = 0
        self.duplicates = DuplicateCache()
        self.recovered: Counter[str] = Counter()
        self.quarantine = Quarantine()
        self._unswept = True
        self._graves: deque[tuple[int, bytes]] = deque()
        self.bad_requests: Counter[str] = Counter()
        self.errors: Counter[int] = Counter()
        self.connections = Connections(config.limits)
        self.recovery: dict[str, float] = {}
        self.in_flight = InFlight()
        self.names_ticket = 0
        self._last_ticket = 0
        self._held: deque[tuple[int, Connection, list[Any]]] = deque()
        self._flush_scheduled = False
        self.verifier_generation = 0
        self._loop: asyncio.AbstractEventLoop
        self._threads: ThreadPoolExecutor | None = None
        self._accepting: list[asyncio.Server] = []
        self._reaper: asyncio.TimerHandle | None = None
        self._opened = False

    # -- life ---------------------------------------------------------------------------------------------

    def prepare(self, *, mounted: bool = True) -> None:
        """Do all that needs neither the store nor the loop, so that `start` is quick.  It meets what goes wrong.

        Nothing on the volume is touched unless it is `mounted`.
        """
        config = self.config
        try:
            prepare_process()
            if not mounted:
                rehearse()
                return
            self._exports = exports = parse_exports(config.exports)
            if config.handles != "table" and all(kernelmode.usable(export.path) for export in exports):
                self.prepared_with = read_secret(config.state)
                self.open_namespace(self.prepared_with, ())
            touch(config.state)
            rehearse()
        except (StoreError, OSError, ExportError) as error:
            log.warning("server.unprepared", reason=str(error))

    def take_turn(self, turn: Turn) -> None:
        """Whose turn it was before this process's."""
        self.turn = turn

    async def start(self) -> None:
        """Open the store, load the state, listen.  Raises StoreError, ExportError, OSError."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self.loop_fault)
        config = self.config
        turn = self.turn
        phases = (turn and turn.phases) or Phases(turn.noticed if turn is not None else None)
        if self._exports is None:
            prepare_process()
        self.store = self._open_store(
            config.state,
            level=config.durability,
            on_durable=self._durable if config.durability == "power" else None,
            on_failure=self.store_failed,
            lock=self.lock,
            resumed=turn is not None and not turn.first,
            guard=self.pulse.check if self.pulse is not None else None,
        )
        self._opened = True
        logging_.set_epoch(self.store.epoch)
        phases.end("open")
        # Nothing of what is made now will be garbage soon: looking for some would double the time.
        gc.disable()
        try:
            await restore(self)
        finally:
            gc.freeze()
            gc.enable()
        phases.end("load")
        self._threads = ThreadPoolExecutor(config.limits.threads, thread_name_prefix="file")
        if config.cluster is not None:
            self.connections.commit = self.commit
        self._listeners = self._listeners or open_listeners(*config.listen)
        self._accepting = [
            await self._loop.create_server(self._accept, sock=sock, backlog=BACKLOG) for sock in self._listeners
        ]
        self.role = "active"
        phases.end("listen")
        self.recovery = phases.all()
        self._say_taken_over(phases.processor_s())
        self._reap()
        if self.pulse is not None:
            self.pulse.begin(self._loop.call_later)

    def take_past(self) -> list[tuple[str, int]]:
        """Address and port of everybody who was connected to an earlier process."""
        return self.connections.take_past()

    def absent(self, peers: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Those of the peers whose connection of that time is not open again from the same port."""
        return self.connections.absent(peers)

    def _say_taken_over(self, processor_s: float) -> None:
        state = self.state
        for phase, seconds in self.recovery.items():
            log.info("takeover.phase", phase=phase, seconds=seconds)
        log.info("state.loaded", clients=len(state.clients), opens=len(state.opens), locks=len(state.locks))
        phases = {f"{phase}_s": seconds for phase, seconds in self.recovery.items()}
        log.info("takeover.done", **phases, processor_s=processor_s)

    def open_namespace(self, secret: bytes, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Open the exports; `rows` are those of the tables that stand in for kernel file handles."""
        self.namespace = Namespace(
            self._exports if self._exports is not None else parse_exports(self.config.exports),
            secret,
            handles=self.config.handles,  # type: ignore[arg-type]
            rows=rows,
            commit=self._commit_names,
            born_ns=time.time_ns(),
        )

    async def stop(self) -> None:
        """Finish what runs, make everything durable, close the store and the connections."""
        try:
            await self.let_go(STOP_S)
        except TimeoutError as error:
            log.error("server.stopped_short", reason=str(error))
        self.connections.finish()
        limiter.flush()

    async def let_go(self, limit_s: float) -> None:
        """Finish what runs within `limit_s`, make everything durable, and close the store and the exports.

        Connections stay open, and nobody reads what arrives on them. Raises TimeoutError: then something may
        still run, and nothing is closed.
        """
        for accepting in self._accepting:
            accepting.close()
        if self._reaper is not None:
            self._reaper.cancel()
        await self.connections.run_dry(limit_s)
        self.in_flight.close()
        if self._threads is not None:
            await asyncio.to_thread(self._threads.shutdown, True)
        if self._opened:
            self.store.flush()
            if self._last_ticket:
                await asyncio.to_thread(self.store.wait, self._last_ticket)
            self._release(self.store.durable)
        if hasattr(self, "namespace"):
            self.namespace.close()
        if self._opened:
            self._opened = False
            self.store.close()

    def now(self) -> float:
        """Seconds of a clock that never jumps and goes on while the machine sleeps."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall_ns(self) -> int:
        """Nanoseconds of the clock that files' times are taken from, which advances by ticks."""
        return time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)

    def random_bytes(self, count: int) -> bytes:
        """Bytes that nobody can guess."""
        return os.urandom(count)

    def _reap(self) -> None:
        changes = self.state.reap(self.now())
        if changes:
            self.commit(changes)
        self.namespace.reap()
        if self._unswept:
            self.sweep()
        limiter.expire()
        self._reaper = self._loop.call_later(REAP_INTERVAL_S, self._reap)

    # -- connections --------------------------------------------------------------------------------------

    def _accept(self) -> Connection:
        return Connection(self, self.connections.next_number())

    def dispatch(self, connection: Connection, call: rpc.Call) -> None:
        """Run one call."""
        if self.pulse is not None:
            self.pulse.check()
        self.requests += 1
        if call.procedure == rpc.PROC_NULL:
            connection.reply(call.xid, [], 0)
            return
        Compound(self, connection, call, self.now()).run()

    def refuse_garbage(self, compound: Compound, why: str) -> None:
        """Answer a COMPOUND that does not decode."""
        self.bad_requests["xdr"] += 1
        connection = compound.connection
        limiter.write("warning", "rpc.garbage", about=connection.address, peer=connection.peer, reason=why)
        compound.connection.reply_whole(rpc.accepted(compound.call.xid, rpc.GARBAGE_ARGS))

    # -- durability ---------------------------------------------------------------------------------------

    def commit(self, changes: ChangeSet) -> int:
        """Hand changes to the store; the ticket to wait for."""
        self.commit_records += len(changes)
        self._last_ticket = self.store.commit(changes)
        if self.state.forsaken:
            self._note_graves(changes)
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)
        return self._last_ticket

    def commit_now(self, changes: ChangeSet) -> None:
        """The same, durable on return, together with everything handed over before."""
        self.commit_records += len(changes)
        self._last_ticket = ticket = self.store.commit(changes)
        if self.state.forsaken:
            self._note_graves(changes)
        self.store.flush()
        if self.store.durable < ticket:
            self.store.wait(ticket)
        if self.pulse is not None:
            self.pulse.check()

    def sweep(self) -> None:
        """Free the files without a name that nobody holds, once nobody can claim them any more."""
        if self.state.reclaim is None:
            self._unswept = False
            recovery.sweep_tombs(self)

    def _note_graves(self, changes: ChangeSet) -> None:
        """Files without a name whose last open goes with these changes: they are freed once that is durable."""
        gone = [handle for handle in self.state.forsaken if changes.has(PENDING, handle)]
        self.state.forsaken.difference_update(gone)
        self._graves.extend((self._last_ticket, handle) for handle in gone)

    def _commit_names(self, changes: ChangeSet) -> None:
        """Rows of the table that stands in for kernel file handles: no reply may tell one before it is durable."""
        self.names_ticket = self.commit(changes)

    def store_ticket(self) -> int:
        """What a reply has to wait for that shows other requests' changes."""
        return self._last_ticket

    def _flush(self) -> None:
        """After all that the loop had ready: one transaction for everything that changed."""
        self._flush_scheduled = False
        store = self.store
        store.flush()
        if store.durable >= self._last_ticket:
            self._release(store.durable)

    def hold(self, ticket: int, connection: Connection, data: list[Any]) -> None:
        """Keep a reply until its ticket is durable."""
        self._held.append((ticket, connection, data))

    def _durable(self, ticket: int) -> None:
        """From the store's writer thread: everything up to `ticket` is durable."""
        self._loop.call_soon_threadsafe(self._release, ticket)

    def _release(self, durable: int) -> None:
        """Let go of the replies that waited for this."""
        if self.pulse is not None:
            self.pulse.check()
        graves = self._graves
        while graves and graves[0][0] <= durable:
            recovery.let_go(self, graves.popleft()[1])
        held = self._held
        touched: dict[int, Connection] = {}
        while held and held[0][0] <= durable:
            _ticket, connection, data = held.popleft()
            if connection.number not in touched:
                touched[connection.number] = connection
                connection.hold_writes()
            connection.send(data)
        for connection in touched.values():
            connection.flush()

    # -- what operations ask ------------------------------------------------------------------------------

    def in_thread(self, work: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        """Run `work` in a thread, then `done(result, error)` in the loop."""
        if self._threads is None:
            # Recovery, before anybody is served: there is nobody to wait for it.
            try:
                value = work()
            except Exception as error:
                done(None, error)
            else:
                done(value, None)
            return
        post = self._loop.call_soon_threadsafe

        pulse = self.pulse

        def run() -> None:
            if pulse is not None:
                pulse.check()
            try:
                value = work()
            except BaseException as error:
                post(done, None, error)
            else:
                post(done, value, None)

        self._threads.submit(run)

    def principal(self, compound: Compound) -> bytes:
        """Who makes the request, as far as owning a client record goes (RFC 8881 2.4.3)."""
        return b"%d:%d" % (compound.call.flavor, compound.cred.uid)

    def admit(self, compound: Compound, node: Node) -> tuple[Credentials, bool]:
        """Whom the caller acts as on the node's export, and whether it may only read there.

        Raises Nfs4Error(ACCESS, WRONGSEC).
        """
        connection: Any = compound.connection
        key = (node.fs, compound.call.flavor, compound.cred)
        found = connection.callers.get(key)
        if found is not None:
            return found  # type: ignore[no-any-return]
        options = self.namespace.options(node, connection.address)
        if options is None or not options.port_allowed(connection.port):
            raise Nfs4Error(nfs4.NFS4ERR_ACCESS, "the export is not for this client or this port")
        above = node.fs.export is None
        if not above and compound.call.flavor not in options.flavours:
            raise Nfs4Error(nfs4.NFS4ERR_WRONGSEC, f"flavour {compound.call.flavor} is not allowed here")
        cred = options.anonymous() if compound.call.flavor == AUTH_NONE else options.apply(compound.cred)
        if len(connection.callers) >= _CALLERS_MAX:
            connection.callers.clear()
        found = connection.callers[key] = (cred, options.read_only or node.fs.read_only)
        return found

    def sequence_flags(self, session: Session) -> int:
        """SEQ4_STATUS bits (RFC 8881 18.46.3): a back channel that was agreed on is down until a connection has it."""
        down = session.flags and not session.back_connections
        flags = nfs4.SEQ4_STATUS_CB_PATH_DOWN_SESSION if down else 0
        if session.client.lost_until and self.now() < session.client.lost_until:
            flags |= nfs4.SEQ4_STATUS_ADMIN_STATE_REVOKED
        return flags

    def writes_lost(self) -> None:
        """In a thread: unstable data may have been lost, so the write verifier changes, over takeovers too."""
        self.verifier_generation += 1
        self.choose_verifier()
        self._loop.call_soon_threadsafe(self._keep_verifier)

    def _keep_verifier(self) -> None:
        changes = ChangeSet()
        changes.put(META, VERIFIER_KEY, self.verifier_generation.to_bytes(4, "big"))
        self.store.wait(self.commit(changes))

    def choose_verifier(self) -> None:
        """It is the same for all workers of a node, whose page cache outlives them, until the node starts anew."""
        seed = _BOOT_ID.read_bytes() + self.config.node.encode() + self.verifier_generation.to_bytes(4, "big")
        self.write_verifier = hashlib.blake2b(seed, key=self.store.secret, digest_size=8).digest()

    # -- the control socket and the figures ---------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where it listens."""
        return text_of(self._listeners[0]) if self._listeners else str(self.config.listen)

    def status(self) -> dict[str, Any]:
        """The keys of `status -o json`."""
        return report.status(self)

    def _taken_over(self) -> State:
        """The state, once it is all there.  Raises Resuming."""
        if self.role == "resuming":
            raise Resuming("the server is taking over: ask again")
        return self.state

    def clients(self) -> list[dict[str, Any]]:
        """One row a client."""
        return report.clients(self._taken_over(), self.now())

    def opens(self) -> list[dict[str, Any]]:
        """One row an open."""
        return report.opens(self._taken_over())

    def locks(self) -> list[dict[str, Any]]:
        """One row a byte range."""
        return report.locks(self._taken_over())

    def delegations(self) -> list[dict[str, Any]]:
        """One row a delegation: none are given out."""
        return []

    def expire(self, clientid: int) -> bool:
        """Remove a client and all it holds; False if there is no such client."""
        client = self._taken_over().clients.by_id.get(clientid)
        if client is None:
            return False
        log.warning("client.expired", client=client.label, opens=len(client.opens), reason="administrator")
        changes = ChangeSet()
        self.state.remove_client(changes, client)
        self.clients_expired += 1
        if changes:
            self.commit(changes)
        return True

    def blackout(self, action: str, arguments: dict[str, Any]) -> Any:
        """What `understudy blackout` asks for.  Raises ControlError."""
        self._taken_over()
        return blackout.run(self, action, arguments)

    def metrics(self) -> Snapshot:
        """The figures at this moment."""
        return report.metrics(self)
