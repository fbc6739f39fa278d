"""What the fuzzer's inputs are given to: a server's core in memory, with clients that hold opens and locks.

Owns the clients' renewal when an input has ended them, what stands for what in an input, and what is wrong with an
outcome. Must not know how inputs are made.
"""

from __future__ import annotations

import gc
import struct
import time
import traceback
from pathlib import Path
from typing import Any, Final, NamedTuple

from nfsd import log
from nfsd.rpc.message import CallError, CallRefused, ReplyCame, decode_call
from nfsd.rpc.record import RecordError, RecordReader
from tests.compound.core import Core, Session, Stopped, Wire, arms, decoded
from tests.hostile import fuzz_inputs
from tests.hostile.fuzz_inputs import COMPOUND, HANDLES, STREAM, How, form_of, locked, opened
from tests.support import operations as ops
from tests.support.rpc import AUTH_NONE, auth_sys, authentic, call
from xdr.generated import nfs4

TREE_SIZE_MAX: Final = 8 << 20
FILE_SIZE_MAX: Final = 1 << 40
LIFE: Final = 1000
"""Inputs until the core dies and takes over what it has left; every so many lives it begins with nothing."""
LIVES: Final = 8
DECODE_INTERVAL: Final = 8
_SCRATCH_SIZE: Final = 1 << 16
_PIECE_SIZE: Final = 100
_SEQUENCE: Final = struct.Struct(">II")
_SEQUENCE_HEAD: Final = struct.pack(">I", nfs4.OP_SEQUENCE)
# Then what waits for threads is done, whatever an input says.
_WAITING_MAX: Final = 8
# AUTH_NONE gets nowhere, so there are few of it.
_CALLERS: Final = tuple(map(authentic, (auth_sys(), auth_sys(1000, 1000, (4, 27)), auth_sys(65534, 65534), auth_sys())))
_NOBODY: Final = authentic(b"", AUTH_NONE)


class Outcome(NamedTuple):
    """What came of one input: how long it took (processor time), and what was wrong, or nothing."""

    seconds: float
    problem: str


class _Client:
    """The clients of one minor version: what it holds, and the names that stand for that in inputs."""

    def __init__(self, live: Live, minor: int) -> None:
        self._live = live
        self.minor = minor
        self.names: dict[bytes, bytes] = {}
        self.sessionid = b""
        self._others: list[bytes] = []
        self._instance = 0

    def lives(self) -> bool:
        """Whether everything is there that inputs use."""
        state = self._live.core.state
        session = not self.minor or self.sessionid in state.sessions
        return session and all(other in state.stateids for other in self._others)

    def renew(self) -> None:
        """Begin anew, with two opens and a lock under each."""
        self._instance += 1
        if self.minor:
            self._begin()
        else:
            self._begin40()
        self._hold()

    def _call(self, *operations: ops.Op) -> list[Any]:
        """The results of a request that must succeed, without SEQUENCE's."""
        core = self._live.core
        if not self.minor:
            return arms(core.call(0, *operations))
        session = core.state.sessions[self.sessionid]
        slot = session.slots[0] or session.slot(0)
        return arms(core.call(self.minor, ops.sequence(self.sessionid, slot.seqid + 1), *operations))[1:]

    def _begin40(self) -> None:
        [told] = self._call(ops.setclientid(b"client of 4.0", struct.pack(">Q", self._instance)))
        self._call(ops.setclientid_confirm(told.resok4.clientid, told.resok4.setclientid_confirm))
        self.clientid = told.resok4.clientid
        self.names = {
            fuzz_inputs.CLIENTS[0]: struct.pack(">Q", self.clientid),
            fuzz_inputs.CONFIRM: told.resok4.setclientid_confirm,
        }

    def _begin(self) -> None:
        core, owner = self._live.core, b"client of 4.%d" % self.minor
        [known] = arms(core.call(self.minor, ops.exchange_id(owner, struct.pack(">Q", self._instance))))
        self.clientid, sequence = known.eir_resok4.eir_clientid, known.eir_resok4.eir_sequenceid
        fore = ops.channel(operations=64, slots=32)
        [made] = arms(core.call(self.minor, ops.create_session(self.clientid, sequence, fore=fore)))
        self.sessionid = made.csr_resok4.csr_sessionid
        self._call(ops.reclaim_complete())
        self.names = {
            fuzz_inputs.CLIENTS[self.minor]: struct.pack(">Q", self.clientid),
            fuzz_inputs.SESSIONS[self.minor]: self.sessionid,
            fuzz_inputs.CREATE_SEQUENCE: struct.pack(">I", sequence + 1),
        }

    def _hold(self) -> None:
        self._others = []
        for number in range(2):
            # A new owner each time in NFSv4.0: what an input has left of the old one is unknown.
            name = b"owner of 4.%d" % self.minor if self.minor else b"owner %d-%d" % (self._instance, number)
            seqid = 1
            opening = ops.open_(b"f%d" % number, owner=name, clientid=self.clientid, seqid=seqid)
            _root, held, handle = self._call(ops.putrootfh(), opening, ops.getfh())
            stateid, put = held.resok4.stateid, ops.putfh(handle.resok4.object)
            if held.resok4.rflags & nfs4.OPEN4_RESULT_CONFIRM:
                seqid += 1
                stateid = self._call(put, ops.open_confirm(stateid, seqid))[1].resok4.open_stateid
            locking = ops.lock_new(
                stateid, 1000 * self.minor, 10, owner=b"holder of " + name, clientid=self.clientid, open_seqid=seqid + 1
            )
            lock = self._call(put, locking)[1].resok4.lock_stateid
            self._others += [stateid.other, lock.other]
            self.names[opened(self.minor, number)] = stateid.other
            self.names[locked(self.minor, number)] = lock.other
            self.names[fuzz_inputs.OPEN_SEQID_NEXT] = struct.pack(">I", seqid + 2)


class Live:
    """A core with clients of each minor version, which lives from input to input.

    `inputs` are those since it began with nothing: with them everything can be repeated. `log_file` is where the
    server's log goes, whose every line is a fault.
    """

    def __init__(self, log_file: Path) -> None:
        self.done = 0
        self.inputs: list[bytes] = []
        self.begun = 0
        self._log_file = log_file
        log.configure(node="fuzz", level="error", file=log_file)
        self._log_size = log_file.stat().st_size
        self._begin()

    # -- lives --------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Begin with nothing but a few files."""
        self.begun += 1
        self.inputs.clear()
        self._since = 0
        self._asked = 0
        # Inputs come from two addresses, and take clients along that the next ones begin anew.
        self.core = Core(seed=1, client_moves="always")
        self.core.tree.pages_max = TREE_SIZE_MAX // 4096
        self.core.tree.file_size_max = FILE_SIZE_MAX
        self._furnish()
        self._join()

    def _furnish(self) -> None:
        setup = Session(self.core, b"set up")
        handles: dict[str, bytes] = {}
        how = ops.unchecked(ops.attrs(mode=0o666))
        made = {
            "top": [], "directory": [ops.mkdir(b"d0")], "link": [ops.symlink(b"f2", b"../canary")],
            "fifo": [ops.Op(nfs4.OP_CREATE, nfs4.CREATE4args(nfs4.createtype4(nfs4.NF4FIFO), b"f3", ops.attrs()))],
            "file 0": [ops.open_(b"f0", how=how)], "file 1": [ops.open_(b"f1", how=how)],
        }  # fmt: skip
        for kind, making in made.items():
            handles[kind] = arms(setup.call(ops.putrootfh(), *making, ops.getfh()))[-1].resok4.object
        self._handles = {HANDLES[kind]: handle for kind, handle in handles.items()}
        for name, handle in self._handles.items():
            assert len(name) == len(handle), "names have the sizes of what they stand for"

    def _join(self) -> None:
        """Give the core its clients."""
        self._wires = [Wire(number, f"192.0.2.{number}") for number in (1, 2)]
        self._readers = [self._reader() for _ in self._wires]
        self._clients = [_Client(self, minor) for minor in (0, 1, 2)]
        for client in self._clients:
            client.renew()

    def _reader(self) -> RecordReader:
        return RecordReader(self.core.config.limits.record_size_max, bytearray(_SCRATCH_SIZE))

    def _next_life(self) -> None:
        """Die, and go on with what is stored; or begin with nothing."""
        self._since = 0
        gc.collect()
        if self.done // LIFE % LIVES == 0:
            self.close()
            self._begin()
            return
        self.core = self.core.crash()
        self._asked = 0
        self._wires = [Wire(number, f"192.0.2.{number}") for number in (1, 2)]
        self._readers = [self._reader() for _ in self._wires]

    def close(self) -> None:
        """End."""
        self.core.close()

    # -- inputs -------------------------------------------------------------------------------------------

    def give(self, data: bytes) -> Outcome:
        """Deliver one input, and judge what came of it; after a problem the core begins with nothing."""
        if len(data) < 2:
            return Outcome(0.0, "")
        self.done += 1
        began = time.thread_time()
        problem = ""
        try:
            self._since += 1
            if self._since > LIFE:
                self._next_life()
            self._renew()
            # Only now: where that began with nothing, this is the first input of its life.
            self.inputs.append(data)
            delivery = self._prepared(data)
            began = time.thread_time()
            self._deliver(*delivery)
            seconds = time.thread_time() - began
            self._answered()
        except Stopped as stopped:
            problem = f"the server ended with exit code {stopped.code}"
        except Exception as error:
            problem = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        if problem or self._log_file.stat().st_size != self._log_size:
            seconds = time.thread_time() - began
            problem = f"{problem}\n{self._new_lines()}".strip()
        return Outcome(seconds, problem)

    def start_anew(self) -> None:
        """Begin with nothing, after a problem."""
        self.close()
        self._begin()

    def _new_lines(self) -> str:
        with self._log_file.open(encoding="utf-8", errors="replace") as file:
            file.seek(self._log_size)
            found = file.read()
        self._log_size = self._log_file.stat().st_size
        return found

    def _renew(self) -> None:
        """Give the clients back what inputs have ended; where that cannot be, begin with nothing."""
        try:
            for client in self._clients:
                if not client.lives():
                    self._work()
                    client.renew()
        except (AssertionError, KeyError):
            self.start_anew()

    def _work(self) -> None:
        """Let the threads do what waits, and what comes at once."""
        threads = self.core.threads
        threads.keeps = False
        while threads.waiting:
            threads.work()

    def _prepared(self, data: bytes) -> tuple[How, int, bytes]:
        how, form, body = How(data[0]), form_of(data[1]), data[2:]
        if b"<" in body:
            for name, value in self._handles.items():
                body = body.replace(name, value)
            for client in self._clients:
                for name, value in client.names.items():
                    body = body.replace(name, value)
        if not how & How.STALE_SEQID:
            body = self._sequenced(body)
        if form == COMPOUND:
            self.core.xid += 1
            nobody = data[0] >> 6 == 3 and how & How.IN_PIECES
            body = call(self.core.xid & 0xFFFFFFFF, body, _NOBODY if nobody else _CALLERS[data[0] >> 6])
        return how, form, body

    def _sequenced(self, body: bytes) -> bytes:
        """Put the next sequence id of its slot into a SEQUENCE."""
        for client in self._clients[1:]:
            at = body.find(_SEQUENCE_HEAD + client.sessionid) + 20
            if at >= 20 and len(body) >= at + 8:
                session = self.core.state.sessions[client.sessionid]
                _seqid, slotid = _SEQUENCE.unpack_from(body, at)
                slot = session.slots[slotid % len(session.slots)]
                seqid = slot.seqid + 1 & 0xFFFFFFFF if slot is not None else 1
                found = bytearray(body)
                _SEQUENCE.pack_into(found, at, seqid, slotid % len(session.slots))
                return bytes(found)
        return body

    def _deliver(self, how: How, form: int, body: bytes) -> None:
        core = self.core
        if how & How.IN_PIECES and len(core.threads.waiting) < _WAITING_MAX:
            core.threads.keeps = True
        else:
            self._work()
        if how & How.SECOND_PASSES:
            lease = How.AGAIN | How.LEASE_PASSES
            core.clock.now_s += core.config.lease_time_s + 1 if how & lease == lease else 1
            core.taken.reap()
        which = bool(how & How.SECOND_CONNECTION)
        if form != STREAM:
            self._take(self._wires[which], body)
            if how & How.AGAIN:
                self._take(self._wires[which], body)
        else:
            step = _PIECE_SIZE if how & How.IN_PIECES else _SCRATCH_SIZE
            for at in range(0, len(body), step):
                self._receive(which, body[at : at + step])
        core.settle()

    def _receive(self, which: bool, data: bytes) -> None:
        """Give bytes to a connection; after an error it is another one."""
        reader = self._readers[which]
        while data:
            buffer = reader.buffer
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            data = data[size:]
            try:
                records = reader.received(size)
            except RecordError:
                self._readers[which] = self._reader()
                return
            for record in records:
                if not self._take(self._wires[which], record):
                    self._readers[which] = self._reader()
                    return

    def _take(self, wire: Wire, record: bytes | bytearray) -> bool:
        """Give one record to the core; whether its connection lives on."""
        try:
            asked = decode_call(record)
        except CallRefused:
            return True
        except ReplyCame:
            return True
        except CallError:
            return False
        self._asked += 1
        self.core.dispatch(wire, asked)
        return True

    def _answered(self) -> None:
        """Each call has one reply when its work is done, and each reply decodes.  Raises AssertionError, XdrError."""
        replies = [body for wire in self._wires for _xid, body in wire.replies]
        refused = sum(len(wire.records) for wire in self._wires)
        for wire in self._wires:
            wire.replies.clear()
            wire.records.clear()
        self._asked -= len(replies) + refused
        assert self._asked >= 0, f"{-self._asked} replies that nobody asked for"
        assert not self._asked or self.core.threads.waiting, f"{self._asked} calls without a reply"
        if self.done % DECODE_INTERVAL == 0:
            for body in replies:
                if body:
                    decoded(body)
