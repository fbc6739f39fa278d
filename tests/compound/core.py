"""The core of a server in memory: everything behind the sockets, without a disk, a clock or a thread.

Owns how its parts are put together, one client's ways to talk to it, and its death. Time stands still until a test
moves it, randomness comes from a seed: what a test has seen once it sees again, to the byte.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from nfsd.compound.dispatch import Dispatcher
from nfsd.config import Config, parse_export
from nfsd.durable.faults import Faults
from nfsd.durable.outbox import Outbox
from nfsd.durable.threads import Threads
from nfsd.exports import Namespace, parse_exports
from nfsd.resume.edge import Edge
from nfsd.resume.load import Rows
from nfsd.resume.takeover import take_over
from nfsd.rpc.connection import Connection
from nfsd.rpc.message import decode_call
from nfsd.state.records import UPGRADES
from nfsd.vfs.memory import opening
from nfsd.vfs.memorytree import MemoryTree
from statestore import ChangeSet, MemoryStore
from tests.support import operations as ops
from xdr.generated import nfs4

SECRET = bytes(range(32))
WALL_OFFSET_S = 1_700_000_000
_SECOND_NS = 1_000_000_000


class Stopped(BaseException):
    """The process would have ended with this exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def stop(code: int) -> NoReturn:
    """End the process that is not there.  Raises Stopped."""
    raise Stopped(code)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def now(self) -> float:
        """The server's clock."""
        return self.now_s

    def wall_ns(self) -> int:
        """The wall clock."""
        return int((self.now_s + WALL_OFFSET_S) * _SECOND_NS)


class Later(Threads):
    """Threads that do their work when a test says so."""

    def __init__(self) -> None:
        super().__init__(lambda *_given: None)
        self.waiting: list[tuple[Callable[[], Any], Callable[[Any, BaseException | None], None]]] = []
        self.keeps = False

    def run(self, work: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        """Do it at once, or keep it while `keeps` is set."""
        if self.keeps:
            self.waiting.append((work, done))
        else:
            super().run(work, done)

    def run_aside(self, work: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        """Do it as any other work."""
        self.run(work, done)

    def work(self) -> None:
        """Do what has waited longest."""
        super().run(*self.waiting.pop(0))


class Wire(Connection):
    """A connection that keeps what it is sent: bodies by xid, in their order, and whole records."""

    __slots__ = ("replies", "records")

    def __init__(self, number: int, address: str = "192.0.2.1") -> None:
        super().__init__(number, address, 700)
        self.replies: list[tuple[int, bytes]] = []
        self.records: list[bytes] = []

    def reply(self, xid: int, body: list[Any]) -> None:
        """Keep it."""
        self.replies.append((xid, b"".join(body)))

    def reply_whole(self, record: bytes) -> None:
        """Keep it."""
        self.records.append(record)


running: list[Core] = []
"""Lives that have not ended."""


class Core:
    """One life of a server on a store and a tree in memory, which it takes over as it begins.

    `sent` are replies that have left. `crash` ends it; what it returns is the next one.
    """

    def __init__(self, *, before: Core | None = None, keep: int | None = None, seed: int = 1, **settings: Any) -> None:
        """`before` is the life before this one, `keep` the last ticket of its that has reached the disk."""
        self.settings: dict[str, Any] = before.settings if before is not None else settings
        self.clock: Clock = before.clock if before is not None else Clock()
        self.tree: MemoryTree = before.tree if before is not None else MemoryTree(self.clock.wall_ns, mode=0o777)
        self.xid: int = before.xid if before is not None else 0
        self.seed = seed
        left = before.store.crash(keep) if before is not None else MemoryStore(secret=SECRET)
        self._left = left
        self.store: MemoryStore
        self.loop = asyncio.new_event_loop()
        running.append(self)
        self.threads = Later()
        config = Config(
            exports=(parse_export("/tree=/,rw,insecure,no_root_squash"),), state=Path("/nowhere"),
            control=Path("/nowhere/control"), node="core", **self.settings,
        )  # fmt: skip
        edge = Edge(
            now=self.clock.now, file_ns=self.clock.wall_ns, wall_ns=self.clock.wall_ns,
            random_bytes=random.Random(seed * 1000 + left.epoch).randbytes, boot_id=b"boot",
        )  # fmt: skip
        self.config = config
        self.outbox = Outbox(self._open_store, self.loop)
        self.taken = self.loop.run_until_complete(
            take_over(config, self.outbox, self.threads, Faults(stop), edge, self._open_exports)
        )
        self.engine = self.taken.engine
        self.state = self.engine.services.state
        self.namespace = self.engine.services.namespace
        self.dispatch = Dispatcher(self.engine).dispatch
        self.wire = Wire(1)

    def _open_store(self, on_durable: Callable[[int], None]) -> MemoryStore:
        left = self._left
        self.store = MemoryStore(
            on_durable=on_durable if self.config.durability == "power" else None,
            on_failure=Faults(stop).store_failed,
            records=left.records,
            epoch=left.epoch,
            secret=left.secret,
            upgrades=UPGRADES,
        )
        return self.store

    def _open_exports(
        self, secret: bytes, _given: Rows, _rows: Rows, _commit: Callable[[ChangeSet], None]
    ) -> Namespace:
        return Namespace(parse_exports(self.config.exports), secret, opener=opening({"/tree": self.tree}))

    # -- talking to it ------------------------------------------------------------------------------------

    def record(self, minor: int, *operations: ops.Op, tag: bytes = b"", procedure: int = 1, uid: int = 0) -> bytes:
        """A call's record, with an xid of its own."""
        self.xid += 1
        packer = nfs4.Nfs4Packer()
        packer.pack_COMPOUND4args(nfs4.COMPOUND4args(tag, minor, list(operations)))
        credential = struct.pack(">I4x4I", 1, uid, 0, 1, 0)
        head = struct.pack(">8I", self.xid, 0, 2, 100003, 4, procedure, 1, len(credential))
        return head + credential + bytes(8) + packer.get_buffer()

    def deliver(self, record: bytes, wire: Wire | None = None) -> None:
        """One call arrives; nothing is written before `settle`."""
        self.dispatch(wire or self.wire, decode_call(record))

    def settle(self) -> None:
        """What was handed over becomes durable, and the replies behind it leave."""
        self.outbox.flush()
        self.loop.run_until_complete(asyncio.sleep(0))

    def send(self, record: bytes) -> bytes:
        """One call, and the body of its reply."""
        count = len(self.wire.replies)
        self.deliver(record)
        self.settle()
        [(_xid, body)] = self.wire.replies[count:]
        return body

    def call(self, minor: int, *operations: ops.Op) -> nfs4.COMPOUND4res:
        """One COMPOUND, and its reply."""
        return decoded(self.send(self.record(minor, *operations)))

    def crash(self, keep: int | None = None) -> Core:
        """Die, and begin again with what is durable."""
        self.close()
        return Core(before=self, keep=keep, seed=self.seed)

    def close(self) -> None:
        """End, if it has not ended."""
        if self in running:
            running.remove(self)
            self.namespace.close()
            self.loop.close()


class Session:
    """A client of NFSv4.1 with one session of four slots, over the lives of a core."""

    def __init__(self, core: Core, owner: bytes = b"client", **channel: Any) -> None:
        self.core = core
        [known] = arms(core.call(1, ops.exchange_id(owner)))
        self.clientid = known.eir_resok4.eir_clientid
        attrs = ops.channel(slots=4, **channel)
        [made] = arms(core.call(1, ops.create_session(self.clientid, known.eir_resok4.eir_sequenceid, fore=attrs)))
        self.sessionid: bytes = made.csr_resok4.csr_sessionid
        self.seqids = [0] * 4
        arms(self.call(ops.reclaim_complete()))

    def operations(self, *operations: ops.Op, slot: int = 0, cache: bool = False) -> list[ops.Op]:
        """SEQUENCE for the next request of a slot, and these."""
        self.seqids[slot] += 1
        return [ops.sequence(self.sessionid, self.seqids[slot], slot, cache=cache), *operations]

    def record(self, *operations: ops.Op, slot: int = 0, cache: bool = False) -> bytes:
        """The record of the next request of a slot."""
        return self.core.record(1, *self.operations(*operations, slot=slot, cache=cache))

    def call(self, *operations: ops.Op, slot: int = 0, cache: bool = False) -> nfs4.COMPOUND4res:
        """The next request of a slot, and its reply."""
        return decoded(self.core.send(self.record(*operations, slot=slot, cache=cache)))


def decoded(body: bytes) -> nfs4.COMPOUND4res:
    """A reply's body."""
    unpacker = nfs4.Nfs4Unpacker(body)
    value = unpacker.unpack_COMPOUND4res()
    unpacker.done()
    return value


def arms(reply: nfs4.COMPOUND4res) -> list[Any]:
    """The results of a COMPOUND that must have succeeded."""
    assert reply.status == nfs4.NFS4_OK, (reply.status, reply)
    return [result.arm for result in reply.resarray]
