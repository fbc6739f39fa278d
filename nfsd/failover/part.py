"""One node's part in its service group, in the process that plays it: standing by, taking over, letting go.

Owns the order of things around the server: fence, mount, lock, store, address, announcement; and the same backwards.
What the node shall be is a wish, and the last one counts; it comes from the command line or from a cluster manager.
Must not know how a request is served, nor how the supervisor replaces this process when it dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import time
from collections.abc import Awaitable, Iterable
from dataclasses import field
from typing import Any, Protocol

from nfsd import log as logging_
from nfsd.admin.control import ControlError
from nfsd.config import Config
from nfsd.config.model import FENCE_BY_MANAGER, FENCE_ON_HOST
from nfsd.durable.faults import EXIT_LATE
from nfsd.exports import ExportError
from nfsd.failover import announce
from nfsd.failover.helper import Helper
from nfsd.failover.holder import Holder, HolderLives, read_holder, write_holder
from nfsd.failover.hooks import HookFailed
from nfsd.failover.manager import FaultFile, NotifyFifo
from nfsd.failover.stand import Stand
from nfsd.failover.worker import Channel, Measured, Resumable
from nfsd.log import get_logger
from nfsd.resume.turn import Phases, Turn
from statestore import StoreError, StoreLocked, lock_directory

STANDBY, RESUMING, ACTIVE, DRAINING, FENCED = ROLES = ("standby", "resuming", "active", "draining", "fenced")
MANAGER = "manager"
LOCK_POLL_S, ADDRESS_POLL_S, ADDRESS_POLL_LATER_S = 0.005, 0.01, 0.1
ADDRESS_GONE_S = 10.0
"""How long connections of a node that has let go are kept silent while it still has the address."""
WATCH_S, UNASKED = 1.0, 3
"""How often a standby looks whether it has the address, and after how many times that is strange."""
ANNOUNCEMENTS_S = (0.0, 0.2, 0.8)
"""Seconds to wait before each time that the neighbours are told: one frame may get lost."""

log = get_logger()


class Playable(Resumable, Protocol):
    """The server, as its node sees it."""

    async def let_go(self, limit_s: float) -> None:
        """Finish, make durable, close; connections stay open and silent.  Raises TimeoutError."""

    def note(self, phases: dict[str, float]) -> None:
        """Phases of the takeover that came after `start`, or all of them anew, in seconds."""

    def take_past(self) -> list[tuple[str, int]]:
        """Address and port of everybody who was connected to an earlier process."""

    def absent(self, peers: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Those of the peers that have not come back on the same port."""


@dataclasses.dataclass(eq=False, slots=True, kw_only=True)
class Wish:
    """What the node shall be: ACTIVE, or STANDBY.

    `by` is who said so, `reason` what hooks are told; `released` says that no other node holds anything.
    """

    role: str
    by: str
    reason: str
    released: bool = False
    asked: float = field(default_factory=time.monotonic)
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Withdrawn(Exception):
    """Somebody has another wish meanwhile."""


FAILURES = (HookFailed, HolderLives, StoreError, ExportError, OSError, Withdrawn)


class Part:
    """A node's part: a control target that is a standby, or has a server on stage."""

    def __init__(self, config: Config, server: Playable, channel: Channel, helper: Helper) -> None:
        assert config.cluster is not None
        self._config = config
        self._cluster = config.cluster
        self._server = server
        self._channel = channel
        self._helper = helper
        self._fault = FaultFile(self._cluster.fault_file)
        self._fifo: NotifyFifo | None = None
        # What an earlier process or daemon has left is not cleared away yet.
        self._role = DRAINING
        self._supervisor_pid = os.getppid()
        self._takeovers = 0
        self._wish: Wish | None = None
        self._wished = asyncio.Event()
        self._began = asyncio.Event()
        self._announcing: asyncio.Task[None] | None = None
        self.finished = asyncio.Event()
        """This process has nothing more to do; the supervisor makes another."""

    # -- the beginning --------------------------------------------------------------------------------------

    async def stand(self, stand: Stand) -> None:
        """Be the node's standby: this process began with nothing on stage.  Raises OSError."""
        self._supervisor_pid, self._takeovers = stand.supervisor_pid, stand.takeovers
        self._fault.write(True)
        if stand.fenced:
            await self._clean_up("fenced")
        elif stand.clear:
            await self._clear_away(stays=stand.promote is not None)
        self._role = FENCED if stand.fenced else STANDBY
        self._began.set()
        self._listen_to_manager()
        if not stand.fenced:
            self._fault.write(False)
        log.info("standby.ready", role=self._role, reason=stand.fenced)
        self._channel.say(standing=self._role)
        if stand.promote and self._wish is None:
            await asyncio.sleep(stand.after_s)
        # A manager that leaves the address here has chosen this node, and may have said so to a dead process; unless
        # it has been told to take the address away, and has not: then it is not there.
        told = stand.fenced or self._cluster.fault_file is not None
        chosen = self._fifo is not None and not told and announce.has_address(self._address)
        by = stand.promote or (MANAGER if chosen else None)
        if by is not None and self._wish is None:
            self._want(Wish(role=ACTIVE, by=by, reason="promote"))
        self._watch(0)

    def _watch(self, seen: int) -> None:
        """Say it if this node has the address for some time and nobody asks it to serve: clients wait for nothing."""
        if self._role in (STANDBY, FENCED) and announce.has_address(self._address):
            seen += 1
            if seen == UNASKED:
                log.warning("address.unasked", address=self._address, role=self._role, seconds=seen * WATCH_S)
        else:
            seen = 0
        asyncio.get_running_loop().call_later(WATCH_S, self._watch, seen)

    async def go_on(self, turn: Turn) -> None:
        """Serve in the place of a process of this node that died.  Raises StoreError, ExportError, OSError."""
        self._supervisor_pid, self._takeovers = turn.supervisor_pid, turn.takeovers
        self._role = RESUMING
        self._server.take_turn(turn)
        await self._server.start()
        self._on_stage()
        self._began.set()
        self._listen_to_manager()

    def _listen_to_manager(self) -> None:
        cluster = self._cluster
        if cluster.notify_fifo is not None and cluster.notify_name is not None:
            self._fifo = NotifyFifo(cluster.notify_fifo, cluster.notify_name, self._manager_said)
            self._fifo.open()

    # -- wishes ---------------------------------------------------------------------------------------------

    def _manager_said(self, state: str) -> None:
        """keepalived: MASTER, BACKUP, FAULT, STOP, or another word that changes nothing."""
        if state == "MASTER":
            self._want(Wish(role=ACTIVE, by=MANAGER, reason="promote"))
        elif state in ("BACKUP", "FAULT", "STOP"):
            self._want(Wish(role=STANDBY, by=MANAGER, reason="demote"))

    def _want(self, wish: Wish) -> None:
        if self._wish is not None and self._wish.role == wish.role and not self._wish.done.done():
            # It is under way: keepalived says FAULT because a handover asked it to.
            wish.done = self._wish.done
        elif self._wish is not None and not self._wish.done.done():
            self._wish.done.set_exception(ControlError(f"{wish.reason} was asked for meanwhile, by {wish.by}"))
            # Nobody may be waiting for it.
            self._wish.done.exception()
        log.info(f"{wish.reason}.asked", by=wish.by)
        self._wish = wish
        self._wished.set()

    async def run(self) -> None:
        """Follow the wishes until this process has nothing more to do."""
        await self._began.wait()
        while not self.finished.is_set():
            await self._wished.wait()
            self._wished.clear()
            wish = self._wish
            assert wish is not None
            try:
                await (self._enter(wish) if wish.role == ACTIVE else self._leave(wish))
            except FAILURES as error:
                reason = str(error) or type(error).__name__
                log.error("wish.failed", wish=wish.role, by=wish.by, reason=reason)
                if not wish.done.done():
                    wish.done.set_exception(ControlError(reason))
                    wish.done.exception()
                await self._abandon(wish)
            else:
                if not wish.done.done():
                    wish.done.set_result(None)

    def _still_wished(self, wish: Wish) -> None:
        if self._wish is not wish and self._wish is not None and self._wish.role != wish.role:
            raise Withdrawn(f"{self._wish.reason} was asked for meanwhile, by {self._wish.by}")

    # -- on stage -------------------------------------------------------------------------------------------

    async def _enter(self, wish: Wish) -> None:
        if self._role == ACTIVE:
            return
        server, cluster = self._server, self._cluster
        phases = Phases(wish.asked)
        self._role = RESUMING
        # Whoever gave a command hears that it failed; a manager goes on wishing.
        self._channel.say(entering=wish.by if wish.by == MANAGER else None)
        await self._fence(wish)
        phases.end("fence")
        if cluster.mount is not None:
            await self._hook("mount", wish.reason)
            phases.end("mount")
        self._still_wished(wish)
        lock = await self._lock()
        self._channel.pass_on(lock, lock=True)
        write_holder(self._config.state, Holder.this_node(self._config.node, self._supervisor_pid))
        phases.end("lock")
        turn = Turn(
            first=True, noticed=None, delay_s=0.0, takeovers=self._takeovers + 1,
            supervisor_pid=self._supervisor_pid, phases=phases,
        )  # fmt: skip
        server.take_turn(turn, lock)
        await server.start()
        if cluster.address_up is not None:
            await self._hook("address_up", wish.reason)
            phases.end("address_up")
            server.note(phases.all())
        self._fault.write(False)
        self._on_stage()

    def _on_stage(self) -> None:
        recovery = self._server.target.status()["recovery"]
        self._role = ACTIVE
        log.info("node.active", **{f"{phase}_s": seconds for phase, seconds in recovery.items()})
        self._channel.say(serving=recovery)
        self._announcing = asyncio.create_task(self._announce())

    async def _fence(self, wish: Wish) -> None:
        """Make sure that nobody else holds the state or the data, or raise HookFailed, HolderLives."""
        fence = self._cluster.fence
        # What lies below a mount point that is not mounted yet may be very old.
        hidden = self._cluster.mount is not None and fence != FENCE_ON_HOST
        holder = None if hidden else read_holder(self._config.state)
        if wish.released or (holder is not None and holder.released):
            log.info("fence.unneeded", reason="the last holder has let go", holder=holder.node if holder else None)
            return
        ours = holder is not None and holder.node == self._config.node
        if holder is not None and holder.pid == self._supervisor_pid and ours:
            # This very daemon: it was fenced, or failed on the way, and has no other process any more.
            log.info("fence.unneeded", reason="this daemon was the last holder")
            return
        if holder is not None and (ours or fence == FENCE_ON_HOST):
            await self._helper.end_holder()
        if ours or fence in (FENCE_BY_MANAGER, FENCE_ON_HOST):
            log.info("fence.done", by="this node was the last holder" if ours else fence)
            return
        await self._hook("fence", wish.reason)

    async def _lock(self) -> int:
        """The state directory's lock: the end of the one who held it takes a moment.  Raises StoreError."""
        end_s = time.monotonic() + self._cluster.hook_time_s
        while True:
            try:
                return lock_directory(self._config.state)
            except StoreLocked:
                if time.monotonic() >= end_s:
                    raise
            await asyncio.sleep(LOCK_POLL_S)

    async def _announce(self) -> None:
        """Tell neighbours and old connections where the address is now, once this node has it."""
        began = time.monotonic()
        address = self._address
        try:
            while not announce.has_address(address):
                waited_s = time.monotonic() - began
                await asyncio.sleep(ADDRESS_POLL_S if waited_s < 1 else ADDRESS_POLL_LATER_S)
            waited_s = time.monotonic() - began
            peers = self._server.take_past()
            for pause_s in ANNOUNCEMENTS_S:
                await asyncio.sleep(pause_s)
                interface = await self._helper.announce()
                # On a live connection it would keep the client from answering the next one for half a second
                # (tcp_invalid_ratelimit, ip-sysctl), and the next one may be another takeover's.
                peers = self._server.absent(peers)
                sent = await self._helper.tickle(peers) if peers else 0
                if not pause_s:
                    self._server.note({"announce": round(time.monotonic() - began, 6)})
                log.info("announce.sent", interface=interface, waited_s=round(waited_s, 6))
                log.info("tickle.sent", count=sent, peers=len(peers))
        except OSError as error:
            # Clients notice by themselves, only later.
            log.error("announce.failed", reason=str(error))

    # -- off stage ------------------------------------------------------------------------------------------

    async def _leave(self, wish: Wish) -> None:
        if self._role == FENCED:
            self._role = STANDBY
            self._channel.say(cleared=True)
            self._fault.write(False)
        if self._role != ACTIVE:
            return
        self._role = DRAINING
        if self._announcing is not None:
            self._announcing.cancel()
        began = time.monotonic()
        try:
            await self._server.let_go(self._cluster.drain_time_s)
        except TimeoutError as error:
            log.critical("drain.late", reason=str(error))
            self._fault.write(True)
            # Only the end of this process ends what still runs.
            os._exit(EXIT_LATE)
        log.info("drain.done", seconds=round(time.monotonic() - began, 6))
        await self._let_others(wish)
        log.info("released", reason=wish.reason, seconds=round(time.monotonic() - began, 6))
        await self._see_address_off()
        self._finish(None)

    async def _let_others(self, wish: Wish) -> None:
        """Give up the lock, the address and the volume, in this order, and tell the manager.  Raises HookFailed."""
        holder = Holder.this_node(self._config.node, self._supervisor_pid)
        write_holder(self._config.state, dataclasses.replace(holder, released=True))
        self._channel.say(released=True)
        await self._channel.let_go.wait()
        try:
            await self._clean_up(wish.reason, raises=True)
        finally:
            if wish.reason != "demote":
                self._fault.write(True)
        if wish.reason == "handover" and self._cluster.handover is not None:
            await self._hook("handover", wish.reason)

    async def _clear_away(self, *, stays: bool) -> None:
        """What a process has left over that died with its part: the volume, and the address, which clients still use.

        The address `stays` where a manager goes on wishing it here.
        """
        if announce.has_address(self._address) and not stays:
            await self._clean_up("stop")
            await self._see_address_off()
        elif self._cluster.unmount is not None:
            with contextlib.suppress(HookFailed):
                await self._hook("unmount", "stop")

    async def _clean_up(self, reason: str, *, raises: bool = False) -> None:
        """Take the address and the volume away from this node, both even if one fails.  Raises HookFailed."""
        failed: HookFailed | None = None
        for name, command in (("address_down", self._cluster.address_down), ("unmount", self._cluster.unmount)):
            try:
                if command is not None:
                    await self._hook(name, reason)
            except HookFailed as error:
                failed = error
        if failed is not None and raises:
            raise failed

    async def _see_address_off(self) -> None:
        """Wait until the address has gone: before that, what is closed here would be reset at the clients."""
        end_s = time.monotonic() + ADDRESS_GONE_S
        while announce.has_address(self._address):
            if time.monotonic() >= end_s:
                log.warning("address.kept", address=self._address, waited_s=ADDRESS_GONE_S)
                return
            await asyncio.sleep(ADDRESS_POLL_S)

    async def _abandon(self, wish: Wish) -> None:
        """A wish has failed: let go of what was taken so far, and let another process begin anew."""
        if wish.role == ACTIVE:
            with contextlib.suppress(TimeoutError, StoreError):
                await self._server.let_go(self._cluster.drain_time_s)
            await self._clean_up("promote")
        else:
            await self._see_address_off()
        # A manager that goes on wishing it is obeyed by trying again; a command's caller has heard of it.
        again = self._wish if self._wish is not wish else (wish if wish.by == MANAGER else None)
        self._finish(again.by if again is not None and again.role == ACTIVE else None)

    def _finish(self, promote: str | None) -> None:
        if self._fifo is not None:
            # What is said from now on is for the next process.
            self._fifo.close()
        wish = self._wish
        if promote is None and wish is not None and wish.role == ACTIVE and not wish.done.done():
            promote = wish.by
        self._channel.say(left=promote)
        self.finished.set()

    async def stop(self) -> None:
        """The whole daemon is to end."""
        if self._fifo is not None:
            self._fifo.close()
        wish = Wish(role=STANDBY, by="signal", reason="stop")
        self._want(wish)
        with contextlib.suppress(ControlError):
            # What is under way, a takeover for instance, comes to its end first.
            await wish.done
        # The manager hears of it once nothing is held any more: earlier, the other node would fence this one.
        self._fault.write(True)
        self.finished.set()

    # -- hooks ----------------------------------------------------------------------------------------------

    @property
    def _address(self) -> str:
        return self._config.listen.host

    def _hook(self, name: str, reason: str) -> Awaitable[None]:
        return self._helper.hook(name, reason, lambda group: self._channel.say(hook=group))

    # -- the control socket and the figures -----------------------------------------------------------------

    async def promote(self, *, released: bool) -> None:
        """Serve.  Raises ControlError if that fails, or is no longer wished."""
        await self._wait_for(Wish(role=ACTIVE, by="command", reason="promote", released=released))

    async def demote(self) -> None:
        """Let go of everything.  Raises ControlError."""
        await self._wait_for(Wish(role=STANDBY, by="command", reason="demote"))

    async def handover(self) -> None:
        """Let go of everything, and have the manager choose the other node.  Raises ControlError."""
        if self._role != ACTIVE:
            raise ControlError(f"this node is {self._role}: only the active one can hand over")
        await self._wait_for(Wish(role=STANDBY, by="command", reason="handover"))

    async def _wait_for(self, wish: Wish) -> None:
        self._want(wish)
        await asyncio.shield(wish.done)

    def status(self) -> dict[str, Any]:
        """The keys of `status -o json`."""
        about = self._server.target.status()
        return about | {
            "role": self._role,
            "supervisor_pid": self._supervisor_pid,
            "warm_pid": self._channel.warm_pid,
        }

    def _asked(self) -> Measured:
        if self._role != ACTIVE:
            raise ControlError(f"this node is {self._role}: ask the active one")
        return self._server.target

    def clients(self) -> Iterable[dict[str, Any]]:
        """One row a client."""
        return self._asked().clients()

    def opens(self) -> Iterable[dict[str, Any]]:
        """One row an open."""
        return self._asked().opens()

    def locks(self) -> Iterable[dict[str, Any]]:
        """One row a byte range."""
        return self._asked().locks()

    def delegations(self) -> list[dict[str, Any]]:
        """One row a delegation."""
        return self._asked().delegations()

    def expire(self, clientid: int) -> bool:
        """Remove a client and all it holds; False if there is no such client."""
        return self._asked().expire(clientid)

    def blackout(self, action: str, arguments: dict[str, Any]) -> Any:
        """`list`, `set` or `lift` of blackouts."""
        return self._asked().blackout(action, arguments)

    def metrics(self) -> dict[str, Any]:
        """The figures at this moment."""
        figures = dict(self._server.target.metrics()) if self._role == ACTIVE else {}
        figures["log_lines_lost_total"] = logging_.lines_lost()
        return figures | {"role": {role: int(role == self._role) for role in ROLES}}
