"""The honest client: rounds of GETATTR, OPEN, LOCK, WRITE, READ, LOCKU, CLOSE, each timed, and new mounts besides.

Owns two threads, each with connections of its own, and what they have measured. Must not know what goes on beside them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

from tests.hostile.server import HONEST, OWN
from tests.support import operations as ops
from tests.support.client import Connection, Reply, Session, mount, unique
from tests.support.rpc import RpcReply
from xdr.generated import nfs4

PACE_S = 0.004
"""Between two rounds."""
MOUNT_PACE_S = 0.25
TIMEOUT_S = 30.0
"""Longer than any stall that is worth measuring: who has waited so long has waited in vain."""


class Timed(NamedTuple):
    """One request: when it was sent (seconds, monotonic) and how long its reply took."""

    at: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles in milliseconds."""

    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    def __str__(self) -> str:
        return f"{self.p50_ms:.1f} / {self.p99_ms:.1f} / {self.max_ms:.0f}"


def latency(samples: Sequence[Timed], pace_s: float = PACE_S) -> Latency:
    """What somebody felt who asks every `pace_s` whatever comes.

    A client that waits for its reply asks nothing in the meantime, so that a second of silence would be one slow
    request among a thousand. What it would have asked then is counted as having waited for the rest of that second.
    """
    felt: list[float] = []
    for _at, seconds in samples:
        felt.append(seconds)
        for missed in range(1, int(seconds / pace_s)):
            felt.append(seconds - missed * pace_s)
    if not felt:
        return Latency(0, math.nan, math.nan, math.nan)
    felt.sort()

    def percentile(share: float) -> float:
        return felt[min(len(felt) - 1, int(len(felt) * share))] * 1e3

    return Latency(len(felt), percentile(0.5), percentile(0.99), felt[-1] * 1e3)


class HonestClient:
    """Works and mounts until it is stopped; `problems` says what was answered wrongly or not at all."""

    def __init__(self, port: int) -> None:
        self.requests: list[Timed] = []
        self.mounts: list[Timed] = []
        self.problems: list[str] = []
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._work, self._mount)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after what is under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)

    def between(self, start: float, end: float) -> Latency:
        """How long the requests took that were sent in a span."""
        return latency([timed for timed in self.requests if start <= timed.at < end])

    def mounted_between(self, start: float, end: float) -> list[Timed]:
        """The mounts that were begun in a span."""
        return [timed for timed in self.mounts if start <= timed.at < end]

    # -- rounds -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            with closing(self._connect()) as connection:
                session = mount(connection, owner=unique(b"honest"), pseudo=OWN.strip("/").encode())
                if not self._there(session):
                    session.create(b"honest file")
                while not self._stop.is_set():
                    self._round(session)
                    self._stop.wait(PACE_S)
        except (AssertionError, EOFError, OSError) as error:
            self.problems.append(f"the honest client, after {len(self.requests)} requests: {error!r}")

    def _there(self, session: Session) -> bool:
        return session.status(ops.putfh(session.directory), ops.lookup(b"honest file")) == nfs4.NFS4_OK

    def _round(self, session: Session) -> None:
        directory = ops.putfh(session.directory)
        self._ask(session, directory, ops.getattr_(nfs4.FATTR4_SIZE, nfs4.FATTR4_CHANGE))
        opened = self._ask(session, directory, ops.open_(b"honest file", owner=b"honest"), ops.getfh())
        file, stateid = ops.putfh(opened.value(3).object), opened.value(2).stateid
        locked = self._ask(session, file, ops.lock_new(stateid, 0, 100, owner=b"honest"))
        self._ask(session, file, ops.write(stateid, b"honest" * 100))
        self._ask(session, file, ops.read(stateid))
        self._ask(session, file, ops.locku(locked.value(2).lock_stateid, 0, 100))
        self._ask(session, file, ops.close(stateid))

    def _ask(self, session: Session, *operations: ops.Op) -> Reply:
        """One request; only what the server and the wire take is timed."""
        message = session.message(*operations)
        began = time.monotonic()
        try:
            session.connection.send(message)
            record = session.connection.receive_record()
        finally:
            self.requests.append(Timed(began, time.monotonic() - began))
        session.seqids[0] += 1
        reply = Reply(RpcReply(record))
        if reply.status != nfs4.NFS4_OK:
            raise AssertionError(f"{nfs4.nfsstat4_names[reply.status]} from operation {len(reply.results) - 1}")
        return reply

    # -- mounts -------------------------------------------------------------------------------------------

    def _mount(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                with closing(self._connect()) as connection:
                    session = mount(connection, owner=unique(b"newcomer"), pseudo=OWN.strip("/").encode())
                    taken = time.monotonic() - began
                    session.connection.call(ops.destroy_session(session.sessionid))
                    session.connection.call(ops.destroy_clientid(session.clientid))
                self.mounts.append(Timed(began, taken))
            except (AssertionError, EOFError, OSError) as error:
                self.problems.append(f"a new mount: {error!r}")
            self._stop.wait(MOUNT_PACE_S)

    def _connect(self) -> Connection:
        return Connection(self._port, source=HONEST, timeout_s=TIMEOUT_S)
