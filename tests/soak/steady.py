"""The good client: it goes on working on an export of its own while others misbehave, and checks every byte.

Owns one connection and one session in a thread.  Must not know what the others do.
"""

from __future__ import annotations

import random
import threading
import time

from tests.soak.holders import CHANNEL, sequence
from tests.support.client import Connection, Reply
from tests.support.operations import encoded
from xdr.generated import nfs4

PAUSE_S = 0.005
_CREATE = nfs4.openflag4(
    nfs4.OPEN4_CREATE,
    nfs4.createhow4(nfs4.UNCHECKED4, createattrs=nfs4.fattr4(1 << nfs4.FATTR4_MODE, b"\0\0\x01\xa4")),
)


class SteadyClient:
    """getattr, open, write, read back, close, over and over; `problems` says what went wrong."""

    def __init__(self, address: tuple[str, int], export: bytes, seed: int) -> None:
        self.rounds = 0
        self.slowest_s = 0.0
        self.problems: list[str] = []
        self._address = address
        self._export = export
        self._rng = random.Random(seed)
        self._seed = seed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steady", daemon=True)
        self._written: dict[bytes, bytes] = {}
        self._seqid = 0
        self._sessionid = bytes(16)
        self._clientid = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after reading every file once more."""
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        try:
            self._wire = Connection(self._address[1])
            top = self._begin()
            while not self._stop.is_set():
                began = time.monotonic()
                self._round(top, b"steady-%d-%d" % (self._seed, self._rng.randrange(8)))
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
                self.rounds += 1
                self._stop.wait(PAUSE_S)
            for name in self._written:
                self._check(top, name)
        except (AssertionError, EOFError, OSError) as error:
            self.problems.append(f"after {self.rounds} rounds: {error}")

    def _ask(self, *operations: bytes) -> Reply:
        self._seqid += 1
        head = sequence(self._sessionid, self._seqid, 0, 0)
        return self._wire.ask(head, *operations)

    def _begin(self) -> bytes:
        none = nfs4.state_protect4_a(nfs4.SP4_NONE)
        who = nfs4.client_owner4(self._rng.randbytes(8), b"steady client")
        exchange = encoded("EXCHANGE_ID", nfs4.EXCHANGE_ID4args(who, 0, none, []))
        told = self._wire.ask(exchange).value(0)
        self._clientid = told.eir_clientid
        create = nfs4.CREATE_SESSION4args(told.eir_clientid, told.eir_sequenceid, 0, CHANNEL, CHANNEL, 1, [])
        self._sessionid = self._wire.ask(encoded("CREATE_SESSION", create)).value(0).csr_sessionid
        self._ask(encoded("RECLAIM_COMPLETE", nfs4.RECLAIM_COMPLETE4args(False)))
        look = encoded("LOOKUP", nfs4.LOOKUP4args(self._export))
        handle: bytes = self._ask(encoded("PUTROOTFH"), look, encoded("GETFH")).value(3).object
        return handle

    def _open(self, top: bytes, name: bytes) -> tuple[bytes, nfs4.stateid4]:
        owner = nfs4.open_owner4(self._clientid, b"owner")
        args = nfs4.OPEN4args(0, 3, 0, owner, _CREATE, nfs4.open_claim4(nfs4.CLAIM_NULL, file=name))
        put = encoded("PUTFH", nfs4.PUTFH4args(top))
        getattr_ = encoded("GETATTR", nfs4.GETATTR4args(1 << nfs4.FATTR4_SIZE | 1 << nfs4.FATTR4_CHANGE))
        reply = self._ask(put, getattr_, encoded("OPEN", args), encoded("GETFH"))
        return reply.value(4).object, reply.value(3).stateid

    def _check(self, top: bytes, name: bytes) -> None:
        """The file holds what was last written to it."""
        handle, stateid = self._open(top, name)
        put = encoded("PUTFH", nfs4.PUTFH4args(handle))
        wanted = self._written.get(name, b"")
        reply = self._ask(put, encoded("READ", nfs4.READ4args(stateid, 0, 1 << 16)))
        assert bytes(reply.value(2).data) == wanted, f"{name!r} holds other bytes than were written"
        self._ask(put, encoded("CLOSE", nfs4.CLOSE4args(0, stateid))).value(2)

    def _round(self, top: bytes, name: bytes) -> None:
        self._check(top, name)
        handle, stateid = self._open(top, name)
        data = self._rng.randbytes(4096)
        put = encoded("PUTFH", nfs4.PUTFH4args(handle))
        write = encoded("WRITE", nfs4.WRITE4args(stateid, 0, nfs4.UNSTABLE4, data))
        close = encoded("CLOSE", nfs4.CLOSE4args(0, stateid))
        written = self._ask(put, write, close).value(2).count
        assert written == len(data), f"{written} of {len(data)} bytes written"
        self._written[name] = data
