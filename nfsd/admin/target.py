"""What the control socket and the figures ask, answered from a server's parts.

Owns how a server that is still taking over answers.  Must not know how it takes over.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from nfsd.admin import report
from nfsd.admin.blackouts import BlackoutCommands
from nfsd.admin.control import Resuming
from nfsd.admin.metrics import Snapshot
from nfsd.apart.tasks import outcome
from nfsd.compound.engine import Engine
from nfsd.config import Config
from nfsd.log import get_logger
from nfsd.resume.takeover import Taken
from nfsd.resume.turn import Turn
from nfsd.rpc.connections import Connections
from nfsd.state.clients import remove_client
from statestore import ChangeSet

log = get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a serving process that can be asked something."""

    taken: Taken
    connections: Connections

    @property
    def engine(self) -> Engine:
        """The engine that serves."""
        return self.taken.engine

    def counts(self) -> tuple[int, int]:
        """Open connections, and records in quarantine."""
        return len(self.connections), len(self.taken.quarantine)

    def blackouts(self) -> BlackoutCommands:
        """What carries out `understudy blackout`."""
        return BlackoutCommands(self.engine, self.taken.durations)


class Target:
    """One server as it is seen from outside the protocol; its parts come when it serves."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._turn: Turn | None = None
        self._parts: Parts | None = None
        self._phases: dict[str, float] = {}
        self._listen = str(config.listen)

    def take_turn(self, turn: Turn) -> None:
        """Take note that this process begins to take over."""
        self._turn = turn

    def serve(self, parts: Parts, phases: dict[str, float], listen: str) -> None:
        """The server has taken over, in `phases` (seconds), and listens on `listen`."""
        self._parts = parts
        self._phases = phases
        self._listen = listen

    def note(self, phases: dict[str, float]) -> None:
        """More phases of the takeover, or longer ones, in seconds."""
        self._phases = self._phases | phases

    @property
    def role(self) -> str:
        """What the server is: "resuming" until it serves, then "active"."""
        return "resuming" if self._parts is None else "active"

    def _served(self) -> Parts:
        """The parts.  Raises Resuming before they are all there."""
        if self._parts is None:
            raise Resuming("the server is taking over: ask again")
        return self._parts

    def status(self) -> dict[str, Any]:
        """The keys of `status -o json`."""
        turn = self._turn
        about = {
            "role": self.role,
            "node": self._config.node,
            "pid": os.getpid(),
            "supervisor_pid": turn.supervisor_pid if turn is not None else os.getpid(),
            "warm_pid": turn.warm_pid if turn is not None else None,
            "takeovers": turn.takeovers if turn is not None else 0,
            "recovery": self._phases,
            "listen": self._listen,
            "durability": self._config.durability,
        }
        parts = self._parts
        if parts is None:
            return about | dict.fromkeys(report.COUNTS)
        return about | report.counts(parts.engine, *parts.counts())

    def clients(self) -> Iterable[dict[str, Any]]:
        """One row a client."""
        engine = self._served().engine
        return report.clients(engine.services.state, engine.now())

    def opens(self) -> Iterable[dict[str, Any]]:
        """One row an open."""
        return report.opens(self._served().engine.services.state)

    def locks(self) -> Iterable[dict[str, Any]]:
        """One row a byte range."""
        return report.locks(self._served().engine.services.state)

    def delegations(self) -> list[dict[str, Any]]:
        """One row a delegation: none are given out."""
        self._served()
        return []

    def expire(self, clientid: int) -> bool:
        """Remove a client and all it holds; False if there is no such client."""
        engine = self._served().engine
        state = engine.services.state
        client = state.clients.by_id.get(clientid)
        if client is None:
            return False
        log.warning("client.expired", client=client.label, opens=len(client.opens), reason="administrator")
        changes = ChangeSet()
        remove_client(state, changes, client)
        engine.counters.clients_expired += 1
        if changes:
            engine.outbox.commit(changes)
        return True

    def blackout(self, action: str, arguments: dict[str, Any]) -> Any:
        """What `understudy blackout` asks for.  Raises ControlError."""
        parts = self._served()
        work = partial(parts.blackouts().run, action, arguments)
        # It may look at files, and so have to wait for a tree that is served apart.
        return outcome(work) if parts.taken.engine.puts_aside else work()

    def metrics(self) -> Snapshot:
        """The figures at this moment."""
        parts = self._served()
        figures = report.figures(parts.engine, *parts.counts())
        turn = self._turn
        figures |= report.wire_figures(parts.connections)
        return figures | {
            "blackout_files": parts.blackouts().count(),
            "takeovers_total": turn.takeovers if turn is not None else 0,
            "takeover_phase_seconds": self._phases,
            "role": {self.role: 1},
        }
