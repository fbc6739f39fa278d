"""Where the microseconds go: compounds evaluated in one process, without sockets.

`python tests/bench/core_bench.py [--passes N]` prints, for each compound of the wire benchmark, what decoding,
evaluating, committing (level "process") and encoding cost together, in microseconds of one core.  Compounds come in
batches of 16, as from one read of a busy connection; one transaction serves a batch.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nfsd.compound.dispatch import Dispatcher  # noqa: E402
from nfsd.config import load_config  # noqa: E402
from nfsd.rpc import message  # noqa: E402
from nfsd.rpc.connection import Connection  # noqa: E402
from nfsd.server import Server  # noqa: E402
from tests.support.rpc import call  # noqa: E402
from xdr.generated import nfs4  # noqa: E402

BATCH = 16
ROUNDS = 400


class Wire(Connection):
    """A connection that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(1, "127.0.0.1", 700)
        self.replies: list[bytes] = []

    def reply(self, xid: int, body: list[Any]) -> None:
        """Encode as the transport does."""
        self.replies.append(b"".join([message.success(xid, sum(map(len, body))), *body]))

    def reply_whole(self, record: bytes) -> None:
        """An error of the RPC layer: the benchmark is wrong."""
        raise AssertionError(record)


class Driver:
    """Sends compounds in-process, one session, slots 0 to 15."""

    def __init__(self, server: Server) -> None:
        assert server._taken is not None
        engine = server._taken.engine
        self.dispatch = Dispatcher(engine).dispatch
        self.outbox = engine.outbox
        self.wire = Wire()
        self.seqids = [0] * BATCH
        self.sessionid = b""

    def encode(self, operations: list[Any]) -> bytes:
        """A whole call record without its mark."""
        packer = nfs4.Nfs4Packer()
        packer.pack_COMPOUND4args(nfs4.COMPOUND4args(b"", 1, operations))
        return call(1, packer.get_buffer())

    def call(self, record: bytes) -> nfs4.COMPOUND4res:
        """Run one call now and decode its reply."""
        self.dispatch(self.wire, message.decode_call(record))
        self.outbox.flush()
        result = nfs4.Nfs4Unpacker(self.wire.replies.pop(), 28).unpack_COMPOUND4res()
        assert result.status == nfs4.NFS4_OK, result
        return result

    def sequence(self, slot: int, cache: bool) -> Any:
        """SEQUENCE for the next request of a slot."""
        self.seqids[slot] += 1
        args = nfs4.SEQUENCE4args(self.sessionid, self.seqids[slot], slot, BATCH - 1, cache)
        return nfs4.nfs_argop4(nfs4.OP_SEQUENCE, args)

    def begin(self) -> None:
        """Make a client and a session."""
        owner = nfs4.client_owner4(bytes(8), b"bench")
        protect = nfs4.state_protect4_a(nfs4.SP4_NONE)
        args = nfs4.EXCHANGE_ID4args(owner, 0, protect, [])
        made = self.call(self.encode([nfs4.nfs_argop4(nfs4.OP_EXCHANGE_ID, args)])).resarray[0].arm.eir_resok4
        channel = nfs4.channel_attrs4(0, 1 << 20, 1 << 20, 4096, 16, BATCH, [])
        session = nfs4.CREATE_SESSION4args(
            made.eir_clientid, made.eir_sequenceid, 0, channel, channel, 0x40000000, [nfs4.callback_sec_parms4(0)]
        )
        result = self.call(self.encode([nfs4.nfs_argop4(nfs4.OP_CREATE_SESSION, session)]))
        self.sessionid = result.resarray[0].arm.csr_resok4.csr_sessionid
        complete = nfs4.nfs_argop4(nfs4.OP_RECLAIM_COMPLETE, nfs4.RECLAIM_COMPLETE4args(False))
        self.call(self.encode([self.sequence(0, False), complete]))

    def timed(self, make: Callable[[int], bytes]) -> tuple[float, list[bytes]]:
        """Microseconds a call of ROUNDS batches; the last batch's replies."""
        spent = 0
        replies: list[bytes] = []
        for _ in range(ROUNDS):
            records = [make(slot) for slot in range(BATCH)]
            self.wire.replies = replies = []
            began = time.process_time_ns()
            for record in records:
                self.dispatch(self.wire, message.decode_call(record))
            self.outbox.flush()
            spent += time.process_time_ns() - began
        return spent / ROUNDS / BATCH / 1000, replies


def _op(name: str, args: Any = None) -> Any:
    return nfs4.nfs_argop4(getattr(nfs4, f"OP_{name}"), args)


LINUX_MASK = 0x0010011A | 0x00B0A23A << 32


def measure(driver: Driver, path: Path) -> dict[str, float]:
    """Microseconds of each compound."""
    for slot in range(BATCH):
        (path / f"file{slot}").write_bytes(b"x" * 4096)
    root = driver.call(driver.encode([driver.sequence(0, False), _op("PUTROOTFH"), _op("GETFH")]))
    handle = root.resarray[2].arm.resok4.object
    put = _op("PUTFH", nfs4.PUTFH4args(handle))
    getattr_ = _op("GETATTR", nfs4.GETATTR4args(LINUX_MASK))

    def simple(*operations: Any) -> Callable[[int], bytes]:
        return lambda slot: driver.encode([driver.sequence(slot, False), *operations])

    def lookup(slot: int) -> bytes:
        name = _op("LOOKUP", nfs4.LOOKUP4args(b"file%d" % slot))
        return driver.encode([driver.sequence(slot, False), put, name, _op("GETFH"), getattr_])

    def open_(slot: int) -> bytes:
        args = nfs4.OPEN4args(
            0, 3, 0, nfs4.open_owner4(0, b"owner%08d" % slot), nfs4.openflag4(nfs4.OPEN4_NOCREATE),
            nfs4.open_claim4(nfs4.CLAIM_NULL, file=b"file%d" % slot),
        )  # fmt: skip
        return driver.encode([driver.sequence(slot, True), put, _op("OPEN", args), _op("GETFH")])

    stateids: list[Any] = []

    def close(slot: int) -> bytes:
        held, file = stateids[slot]
        args = nfs4.CLOSE4args(0, held)
        return driver.encode([driver.sequence(slot, True), _op("PUTFH", nfs4.PUTFH4args(file)), _op("CLOSE", args)])

    figures = {
        "null": driver.timed(simple())[0],
        "getattr": driver.timed(simple(put, getattr_))[0],
        "access": driver.timed(simple(put, _op("ACCESS", nfs4.ACCESS4args(0x1F)), getattr_))[0],
        "lookup": driver.timed(lookup)[0],
    }
    spent_open = spent_close = 0.0
    global ROUNDS
    rounds, ROUNDS = ROUNDS, 1
    for _ in range(rounds):
        cost, replies = driver.timed(open_)
        spent_open += cost
        stateids.clear()
        for reply in replies:
            result = nfs4.Nfs4Unpacker(reply, 28).unpack_COMPOUND4res()
            assert result.status == 0, result
            stateids.append((result.resarray[2].arm.resok4.stateid, result.resarray[3].arm.resok4.object))
        spent_close += driver.timed(close)[0]
    ROUNDS = rounds
    figures["open"] = spent_open / rounds
    figures["close"] = spent_close / rounds
    return figures


async def run(passes: int) -> None:
    """Print the least of `passes`."""
    with tempfile.TemporaryDirectory() as directory:
        export = Path(directory) / "export"
        export.mkdir()
        config = load_config(
            options={"state": (str(Path(directory) / "state"),) * 2, "listen": ("127.0.0.1:0",) * 2},
            exports=[f"{export}=/,insecure,no_root_squash"],
        )
        server = Server(config)
        await server.start()
        driver = Driver(server)
        driver.begin()
        best: dict[str, float] = {}
        for _ in range(passes):
            for name, figure in measure(driver, export).items():
                best[name] = min(figure, best.get(name, figure))
        await server.stop()
    for name, figure in best.items():
        print(f"{name:10} {figure:6.1f} us")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passes", type=int, default=5)
    asyncio.run(run(parser.parse_args().passes))
