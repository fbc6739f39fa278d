"""A server in this process that dies at a boundary of one's choice and is started again on the same directories.

Owns the boundaries: before and after every commit of the store, and before and after every system call that changes
a file system.  Nothing in the server knows of them: the test puts itself in front of the store and of the system
calls.  Death is an exception that nobody in the server catches; the store is left as its last commit left it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nfsd.compound.dispatch import Dispatcher
from nfsd.compound.engine import Engine
from nfsd.config import load_config
from nfsd.config.model import Config
from nfsd.durable.faults import Faults
from nfsd.durable.outbox import Outbox
from nfsd.durable.threads import Threads
from nfsd.exports import Namespace
from nfsd.resume.edge import of_this_machine
from nfsd.resume.exports import Commit, Exports
from nfsd.resume.load import Rows
from nfsd.resume.takeover import take_over
from nfsd.rpc.connection import Connection
from nfsd.rpc.message import decode_call
from nfsd.state.records import UPGRADES
from nfsd.state.tables import State
from nfsd.vfs import attributes, cache, kernelmode, posix, syscalls, tablemode, tombs
from nfsd.vfs.process import prepare_process
from statestore import LmdbStore
from statestore.queueing import ThreadQueue
from tests.once.disk import Disk
from tests.support import operations as ops
from xdr.generated import nfs4

MUTATORS = frozenset(
    {
        "mkdir", "symlink", "mknod", "link", "unlink", "rmdir", "rename", "chmod", "truncate", "ftruncate", "utime",
        "setxattr", "removexattr",
    }
)  # fmt: skip
MODULES = (posix, attributes, tombs, cache, kernelmode, tablemode)


class Crash(BaseException):
    """The process dies here."""


class Boundaries:
    """Counts the boundaries that are passed while it is armed, and dies at one of them."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.deadly = 0
        self.armed = False
        self.dead = False
        # What a loss of power would undo, where that is tried.
        self.disk: Disk | None = None

    def arm(self, deadly: int = 0) -> None:
        """Count from 1, and die at number `deadly` (0: never)."""
        self.passed = []
        self.deadly = deadly
        self.armed = True
        self.dead = False

    def around(self, name: str, work: Callable[[], Any]) -> Any:
        """Do some work with a boundary before and one after it.  The dead do nothing."""
        if self.dead:
            raise Crash
        self._pass(f"before {name}")
        result = work()
        self._pass(f"after {name}")
        return result

    def change(self, name: str, real: Callable[..., Any], given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """A system call that changes a file system, with a boundary before and one after it."""
        disk = self.disk
        if disk is None or not self.armed:
            return self.around(name, lambda: real(*given, **named))
        return self.around(name, lambda: disk.change(name, real, given, named))

    def sync(self, descriptor: int) -> None:
        """fsync, with its boundaries."""

        def work() -> None:
            os.fsync(descriptor)
            if self.disk is not None:
                self.disk.fsync(descriptor)

        self.around("fsync", work)

    def sync_all(self, _descriptor: int) -> None:
        """syncfs, with its boundaries; the machine's own disks need not wait for it."""

        def work() -> None:
            if self.disk is not None:
                self.disk.settle()

        self.around("syncfs", work)

    def open_store(self, *given: Any, **named: Any) -> LmdbStore:
        """Open a store whose commits have boundaries."""
        store = LmdbStore.open(*given, **named)
        flush = store.flush

        def write() -> None:
            flush()
            if isinstance(store, ThreadQueue):
                # The writer thread does what its caller would do: nothing else runs between two boundaries.
                with store._progress:
                    store._progress.wait_for(lambda: store.durable >= store._ticket or store._failure is not None)

        def flush_or_die() -> None:
            if store._queue and not self.dead:
                self.around("commit", write)

        store.flush = flush_or_die  # type: ignore[method-assign]
        return store

    def _pass(self, name: str) -> None:
        if not self.armed:
            return
        self.passed.append(name)
        if len(self.passed) == self.deadly:
            self.armed = False
            self.dead = True
            raise Crash(name)


class Calls:
    """The os module, with boundaries around what changes a file system."""

    def __init__(self, boundaries: Boundaries) -> None:
        self._boundaries = boundaries

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name == "open":
            return self._open
        if name == "fsync":
            return self._boundaries.sync
        disk = self._boundaries.disk
        if name in ("stat", "fstat") and disk is not None:
            return lambda *given, **named: disk.stat(real, *given, **named)
        if name not in MUTATORS:
            return real
        return lambda *given, **named: self._boundaries.change(name, real, given, named)

    def _open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if not flags & os.O_CREAT:
            return os.open(path, flags, mode, dir_fd=dir_fd)
        made: int = self._boundaries.change("open", os.open, (path, flags, mode), {"dir_fd": dir_fd})
        return made


@contextmanager
def patched(boundaries: Boundaries) -> Iterator[None]:
    """Inside, every server's system calls have boundaries."""
    saved = {name: getattr(syscalls, name) for name in ("change_owner", "change_times", "sync_file_system")}
    try:
        for module in MODULES:
            module.os = Calls(boundaries)  # type: ignore[attr-defined]
        for name, real in saved.items():
            setattr(syscalls, name, _wrapped(boundaries, name, real))
        setattr(syscalls, "sync_file_system", boundaries.sync_all)  # noqa: B010  # Its own name for its argument.
        yield
    finally:
        for module in MODULES:
            module.os = os  # type: ignore[attr-defined]
        for name, real in saved.items():
            setattr(syscalls, name, real)


def _wrapped(boundaries: Boundaries, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given: boundaries.change(name, real, given, {})


class Wire(Connection):
    """A connection that keeps the last reply; it has left once its ticket was durable."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "127.0.0.1", 700)
        self.body: bytes | None = None

    def reply(self, xid: int, body: list[Any]) -> None:
        """Keep it."""
        self.body = b"".join(body)

    def reply_whole(self, record: bytes) -> None:
        """An error of the RPC layer: the test is wrong."""
        raise AssertionError(record)


class Life:
    """One life of the server: its parts without sockets and threads.  `end` takes back what the kernel would."""

    def __init__(self, config: Config, boundaries: Boundaries) -> None:
        self._config = config
        self._boundaries = boundaries
        self._namespace: Namespace | None = None
        self._store: LmdbStore | None = None
        self._loop = asyncio.new_event_loop()

    def begin(self) -> None:
        """Take over what is stored.  Raises Crash."""
        prepare_process()
        config, edge = self._config, of_this_machine()
        self.outbox = Outbox(self._opened, self._loop)
        self.exports = Exports(config, edge, Faults().keeper_lost)
        threads = Threads(self._loop.call_soon_threadsafe)
        self.taken = self._loop.run_until_complete(
            take_over(config, self.outbox, threads, Faults(), edge, self._exported)
        )
        self.engine: Engine = self.taken.engine
        self.state: State = self.engine.services.state
        self.namespace = self.engine.services.namespace
        self.dispatch = Dispatcher(self.engine).dispatch

    def _opened(self, on_durable: Callable[[int], None]) -> LmdbStore:
        self._store = self._boundaries.open_store(
            self._config.state,
            level=self._config.durability,
            on_durable=on_durable if self._config.durability == "power" else None,
            on_failure=Faults().store_failed,
            upgrades=UPGRADES,
        )
        return self._store

    def _exported(self, secret: bytes, given: Rows, rows: Rows, commit: Commit) -> Namespace:
        self._namespace = self.exports.open(secret, given, rows, commit)
        return self._namespace

    def end(self) -> None:
        """The process has ended: its store, its descriptors, its loop."""
        store = self._store
        if store is not None:
            if isinstance(store, ThreadQueue):
                store._queue.clear()
                store._stop()
            store._env.close()
            os.close(store._lock)
        if self._namespace is not None:
            self._namespace.close()
        self._loop.close()


class World:
    """Directories, the server on them, and one client."""

    def __init__(
        self,
        boundaries: Boundaries,
        directory: Path,
        handles: str = "kernel",
        options: str = "",
        durability: str = "process",
        *,
        loses: bool = False,
    ) -> None:
        """`loses`: what was not synced can be lost."""
        self.boundaries = boundaries
        self.durability = durability
        self.handles = handles
        self.options = options
        self.recovery = "resume"
        self.directory = Path(tempfile.mkdtemp(dir=directory))
        self.export = self.directory / "export"
        self.export.mkdir()
        boundaries.disk = Disk(self.directory / "hidden") if loses else None
        self.xid = 0
        self.uid = 0
        self.wires = 0
        self.life: Life
        self.start()

    def start(self) -> None:
        """A new process."""
        config = load_config(
            options={
                "state": (str(self.directory / "state"),) * 2,
                "listen": ("127.0.0.1:0",) * 2,
                "handles": (self.handles,) * 2,
                "recovery": (self.recovery,) * 2,
                "durability": (self.durability,) * 2,
            },
            exports=[f"{self.export}=/,insecure,no_root_squash{self.options}"],
        )
        self.wires += 1
        self.wire = Wire(self.wires)
        self.life = Life(config, self.boundaries)
        self.life.begin()

    def die(self, kept: int | None = None) -> None:
        """The process has ended: what the kernel takes back, and nothing more.

        With `kept` the power has gone: of the changes that were not on the disk only so many are there.
        """
        self.boundaries.armed = False
        self.life.end()
        self.boundaries.dead = False
        if self.boundaries.disk is not None:
            if kept is not None:
                self.boundaries.disk.lose(kept)
            self.boundaries.disk.settle()

    def _close_what_is_open(self) -> None:
        """Close what the server was about to keep when it died: nobody else knows of it."""
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}").startswith(f"{self.directory}/"):
                    os.close(int(name))

    def close(self) -> None:
        """Remove everything."""
        self.die()
        if self.boundaries.disk is not None:
            self.boundaries.disk.close()
            self.boundaries.disk = None
        self._close_what_is_open()
        shutil.rmtree(self.directory)

    def send(self, record: bytes) -> bytes:
        """One call; its reply's body once that may leave."""
        wire = self.wire
        wire.body = None
        self.life.dispatch(wire, decode_call(record))
        self.life.outbox.flush()
        body: bytes | None = wire.body
        assert body is not None
        return body

    def restart(self) -> None:
        """Die, and start again."""
        self.die()
        self.start()

    def record(self, minor: int, *operations: ops.Op) -> bytes:
        """A call's record."""
        self.xid += 1
        packer = nfs4.Nfs4Packer()
        packer.pack_COMPOUND4args(nfs4.COMPOUND4args(b"", minor, list(operations)))
        cred = struct.pack(">I4x4I", 1, self.uid, 0, 1, 0)
        return (
            struct.pack(">7I", self.xid, 0, 2, 100003, 4, 1, 1)
            + struct.pack(">I", len(cred))
            + cred
            + bytes(8)
            + packer.get_buffer()
        )

    def tree(self) -> dict[str, Any]:
        """What is in the export: kind, mode, owner, links, and content, by path; and in its tombs."""
        found: dict[str, Any] = {}
        if self.boundaries.disk is not None:
            self.boundaries.disk.settle()
        for path in sorted(self.export.rglob("*")):
            st = path.lstat()
            name = "tomb" if path.parent.name == ".understudy" else str(path.relative_to(self.export))
            content: Any = None
            if stat.S_ISREG(st.st_mode):
                content = path.read_bytes(), {key: os.getxattr(path, key) for key in os.listxattr(path)}
            elif stat.S_ISLNK(st.st_mode):
                content = os.readlink(path)
            links = 0 if stat.S_ISDIR(st.st_mode) else st.st_nlink
            found[name] = oct(st.st_mode), st.st_uid, st.st_gid, links, content
        return found


def decoded(body: bytes) -> nfs4.COMPOUND4res:
    """A reply's body."""
    unpacker = nfs4.Nfs4Unpacker(body)
    value = unpacker.unpack_COMPOUND4res()
    unpacker.done()
    return value


def meaning(value: Any) -> Any:
    """A reply without what differs by nature: handles, times, instances of stateids, change attributes' values.

    A change_info4 keeps whether it is atomic and whether the directory changed.
    """
    if isinstance(value, nfs4.change_info4):
        return "change", value.atomic, value.after != value.before
    if isinstance(value, nfs4.stateid4):
        return "stateid", value.seqid, value.other != bytes(12)
    if isinstance(value, nfs4.GETFH4resok):
        return "handle", len(value.object)
    if isinstance(value, nfs4.SEQUENCE4resok):
        return "sequence", value.sr_sequenceid, value.sr_slotid, value.sr_status_flags
    if isinstance(value, nfs4.WRITE4resok):
        return "write", value.count
    if isinstance(value, list | tuple):
        return [meaning(item) for item in value]
    if hasattr(value, "__slots__"):
        return type(value).__name__, [(name, meaning(getattr(value, name))) for name in value.__slots__]
    return value
