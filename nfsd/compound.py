"""One COMPOUND: its operations in order, the current and saved file handle and stateid, and its reply.

Owns the rules that hold for every operation (RFC 8881 2.10.6.4, 16.2; RFC 7530 14.2): which may come first, what
needs a file handle, how large a reply may get, what a failure looks like.  Must not know what any operation means;
that is in `nfsd/ops`, found through `nfsd/table.py`.

A compound runs to its end in one go unless an operation has to wait for a disk: then `run` hands the work to the
server's threads and goes on when the work is done.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Protocol

from nfsd import table
from nfsd.duplicates import Key, key_of
from nfsd.errors import REPLY_HEAD_SIZE, Held, Nfs4Error, Replay, ReplayedResult, Undecidable, status_name, status_of
from nfsd.log import flags, get_logger, limiter
from nfsd.ops.blackout import admit
from nfsd.state.intents import Before, Intent, encode_intent, intent_key
from nfsd.vfs.interface import Credentials, FileSystem, Node, StaleHandle
from statestore import INTENT, ChangeSet
from xdr.codec import Buffer, XdrError
from xdr.generated import nfs4

if TYPE_CHECKING:
    from nfsd.rpc import Call
    from nfsd.server import Server
    from nfsd.state.clients import Client
    from nfsd.state.owners import SeqidOwner
    from nfsd.state.sessions import Session, Slot

log = get_logger()

_TWO = struct.Struct(">2I")
_WORD = struct.Struct(">I")
_UNTAGGED = struct.Struct(">III")
_NO_TAG = bytes(4)

Steps = Generator[Callable[[], Any], Any, Any]

TAG_SIZE_MAX = 1024  # Chosen here; RFC 8881 16.2.3 leaves it to the server.


class Connection(Protocol):
    """What a compound may know of the connection that it came on."""

    peer: str
    address: str
    port: int
    number: int

    def joined(self, session: Session) -> None:
        """The connection carries a session from now on."""

    def reply(self, xid: int, body: list[Buffer], ticket: int) -> None:
        """Send `body` as the reply to `xid` once `ticket` is durable (0: at once)."""

    def reply_whole(self, record: bytes) -> None:
        """Send a record of the RPC layer's own as the reply."""


REPLY_SIZE_UNLIMITED = 1 << 62
NOBODY = Credentials(uid=65534, gid=65534)


class Compound:
    """The state of one COMPOUND while it runs."""

    __slots__ = (
        "server", "connection", "call", "cred", "now", "minor", "tag", "operations", "index", "count",
        "current", "saved", "stateid", "saved_stateid", "client", "session", "slot", "cache_this", "changes",
        "revealed", "owner", "packer", "results", "reply_size", "reply_size_max", "retries", "mutated", "status",
        "admitted", "caller", "read_only", "duplicate_key", "intent", "begun", "unsynced",
    )  # fmt: skip

    def __init__(self, server: Server, connection: Connection, call: Call, now: float) -> None:
        self.server = server
        self.connection = connection
        self.call = call
        self.cred = call.cred
        self.now = now
        self.minor = self.index = self.count = self.reply_size = self.status = 0
        self.reply_size_max = REPLY_SIZE_UNLIMITED
        self.tag = b""
        self.operations: list[tuple[table.Operation, Any]] = []
        self.current: Node | None = None
        self.saved: Node | None = None
        self.stateid: tuple[int, bytes] | None = None
        self.saved_stateid: tuple[int, bytes] | None = None
        self.client: Client | None = None
        self.session: Session | None = None
        self.slot: Slot | None = None
        self.owner: SeqidOwner | None = None
        self.cache_this = self.revealed = self.mutated = self.read_only = False
        self.changes = ChangeSet()
        self.packer = nfs4.Nfs4Packer()
        self.results: list[Buffer] = self.packer.get_parts()
        self.retries: list[tuple[Connection, int]] | None = None
        self.admitted: FileSystem | None = None
        self.caller = NOBODY
        self.duplicate_key: Key | None = None
        self.intent: Intent | None = None
        self.begun = False
        self.unsynced: set[Node] | None = None

    # -- what operations use ------------------------------------------------------------------------------

    @property
    def config(self) -> Any:
        """The server's configuration."""
        return self.server.config

    def node(self) -> Node:
        """The current file handle's object.  Raises Nfs4Error(NOFILEHANDLE)."""
        if self.current is None:
            raise Nfs4Error(nfs4.NFS4ERR_NOFILEHANDLE, "no current file handle")
        return self.current

    def saved_node(self) -> Node:
        """The saved file handle's object.  Raises Nfs4Error(NOFILEHANDLE)."""
        if self.saved is None:
            raise Nfs4Error(nfs4.NFS4ERR_NOFILEHANDLE, "no saved file handle")
        return self.saved

    def set_node(self, node: Node | None) -> None:
        """Set the current file handle; the current stateid goes with the old one (RFC 8881 16.2.3.1.2)."""
        self.current = node
        self.stateid = None

    def as_caller(self, node: Node, reading: bool = False) -> Credentials:
        """The caller as `node`'s export squashes it.

        `reading`: the operation only reads this node, whatever it does to another one.  Raises Nfs4Error: ACCESS or
        WRONGSEC for a client that the export is not for, ROFS where it may only read.
        """
        if node.fs is not self.admitted:
            self.caller, self.read_only = self.server.admit(self, node)
            self.admitted = node.fs
        if self.read_only and not reading and self.operations[self.index][0].writes:
            raise Nfs4Error(nfs4.NFS4ERR_ROFS, "read-only for this client")
        return self.caller

    def may_write(self, node: Node) -> bool:
        """Whether the node's export is writable for this client."""
        self.as_caller(node)
        return not self.read_only

    # -- exactly once -------------------------------------------------------------------------------------

    def unfinished(self) -> Before | None:
        """In recovery: what there was before this very operation, if it may have been carried out already."""
        intent = self.intent
        if intent is None or intent.kept.index != self.index or not intent.kept.undecided:
            return None
        return intent.before

    def begin(self, before: Before) -> None:
        """Make durable that this operation is about to change a file system; MUST come before the change.

        What earlier operations of the compound changed in the state becomes durable with it: after a crash the
        compound goes on from here.
        """
        if self.unsynced:
            self._sync_now()
        before.at_ns = self.server.wall_ns()
        self._save_intent(before)
        if self.server.syncs_files:
            self.unsynced = {node for node in (self.current, self.saved) if node is not None}

    def _save_intent(self, before: Before | None) -> None:
        key = intent_key(self)
        changes = ChangeSet()
        changes.merge(self.changes)
        changes.put(INTENT, key, encode_intent(self, before))
        if before is None:
            # Nothing can change a file system before this is durable: its own intent goes the same way behind it.
            self.server.commit(changes)
        else:
            self.server.commit_now(changes)
        self.changes.remove(INTENT, key)
        self.begun = True

    def recover(self, intent: Intent) -> None:
        """Go on with a request where a crash interrupted it, and keep its reply for the retry.

        Raises Undecidable, Nfs4Error where its session is gone, Replay where it had been answered, XdrError.
        """
        kept = intent.kept
        self.decode()
        if self.status or kept.index > len(self.operations):
            raise Undecidable("the request is refused by limits that it came before")
        if self.minor:
            operation, args = self.operations[0]
            operation.handler(self, args)
        else:
            self.duplicate_key = key_of(self.connection.address, self.call.xid, self.call.data)
        resolve = self.server.namespace.resolve
        try:
            self.current = resolve(kept.current) if kept.current else None
            self.saved = resolve(kept.saved) if kept.saved else None
        except OSError as error:
            raise Undecidable(f"a directory or file of the request is gone: {error}") from error
        if kept.undecided and self.server.syncs_files:
            # If the change was made, it may not be on the disk yet.
            self.unsynced = {node for node in (self.current, self.saved) if node is not None}
        self.stateid, self.saved_stateid = intent.stateid, intent.saved_stateid
        self.results.append(kept.results)
        self.reply_size += len(kept.results)
        self.index = kept.index
        self.intent = intent
        self.begun = self.mutated = True
        self.changes.remove(INTENT, intent.key)
        self.go_on()

    # -- running ------------------------------------------------------------------------------------------

    def decode(self) -> None:
        """Decode the whole request (RFC 8881 16.2.2).  Raises XdrError where it is no COMPOUND at all.

        Leaves a status other than NFS4_OK where it cannot be evaluated.  An operation whose arguments do not decode
        ends the list: it is answered BADXDR when its turn comes.
        """
        data, start = self.call.data, self.call.start
        unpacker = nfs4.Nfs4Unpacker(data, start)
        if data[start : start + 4] == _NO_TAG:
            try:
                _size, self.minor, self.count = _UNTAGGED.unpack_from(data, start)
            except struct.error:
                raise XdrError("the data ends before the operations") from None
            unpacker.position = start + 12
        else:
            self.tag = unpacker.unpack_opaque()
            self.minor, self.count = unpacker.unpack_uint(), unpacker.unpack_uint()
        self.status = self._whole_status()
        if self.status:
            return
        by_number = table.BY_MINOR[self.minor]
        word, append = _WORD.unpack_from, self.operations.append
        try:
            for _ in range(self.count):
                (number,) = word(data, unpacker.position)
                unpacker.position += 4
                operation = by_number.get(number, table.ILLEGAL)
                if operation.unpack is not None:
                    append((operation, operation.unpack(unpacker)))
                else:
                    append((operation, None))
                    if operation.last:
                        return
        except XdrError as error:
            append((table.bad_xdr(operation), str(error)))
            return
        except struct.error:
            raise XdrError(f"{self.count} operations, and the data ends after {len(self.operations)}") from None
        unpacker.done()

    def run(self) -> None:
        """Evaluate and reply; or reply later, when the threads have done what an operation waits for."""
        try:
            self.decode()
        except XdrError as error:
            self.server.refuse_garbage(self, str(error))
            return
        if self.status:
            self.connection.reply(self.call.xid, [self._head(self.status, 0)], 0)
            return
        if not self.minor:
            self.duplicate_key = key_of(self.connection.address, self.call.xid, self.call.data)
            reply = self.server.duplicates.get(self.duplicate_key)
            if reply is not None:
                self.server.replays += 1
                self.connection.reply(self.call.xid, [reply], self.server.store_ticket())
                return
        self.go_on()

    def _whole_status(self) -> int:
        """The status of a request that cannot be evaluated at all, or NFS4_OK."""
        if self.minor > 2:
            return nfs4.NFS4ERR_MINOR_VERS_MISMATCH
        if len(self.tag) > TAG_SIZE_MAX:
            return nfs4.NFS4ERR_INVAL
        if self.count > self.server.config.limits.ops_per_compound_max:
            return nfs4.NFS4ERR_TOO_MANY_OPS if self.minor else nfs4.NFS4ERR_RESOURCE
        return nfs4.NFS4_OK

    def go_on(self) -> None:
        """Evaluate operations from `index` on, until the end, a failure, or one that has to wait."""
        operations, results, packer = self.operations, self.results, self.packer
        blackouts = self.server.state.blackouts.standing
        syncing = self.server.in_flight.nodes
        end = len(operations)
        while self.index < end:
            operation, args = operations[self.index]
            try:
                if operation.checked or self.session is None:
                    self._check(operation)
                if operation.needs_node and self.current is None:
                    raise Nfs4Error(nfs4.NFS4ERR_NOFILEHANDLE, "no current file handle")
                if syncing and operation.modifies and self.server.in_flight.parks(self):
                    self._settle()
                    return
                operation.calls += 1
                if blackouts:
                    admit(self, operation.number, args)
                outcome = operation.handler(self, args)
                if operation.blocks:
                    try:
                        work = next(outcome)
                    except StopIteration as stop:
                        outcome = stop.value
                    else:
                        self._wait(operation, outcome, work)
                        return
                first = len(results)
                if operation.encodes:
                    results.append(outcome)
                else:
                    results.append(operation.success)
                    if operation.pack is not None:
                        operation.pack(packer, outcome)
                self.reply_size += operation.reply_size
                if self.reply_size > self.reply_size_max:
                    self._fit(first)
                if operation.modifies:
                    self.mutated = True
                    if self.unsynced is not None and self.current is not None:
                        self.unsynced.add(self.current)
                if self.owner is not None:
                    self._remember_owner_reply(operation, nfs4.NFS4_OK, first)
            except Held:
                return
            except Undecidable:
                raise
            except Replay as replay:
                self.server.replays += 1
                self.connection.reply(self.call.xid, [replay.body], self.server.store_ticket())
                return
            except Exception as error:
                self._fail(operation, error)
                if self.status != nfs4.NFS4_OK:
                    break
            self.index += 1
        self._finish()

    def _wait(self, operation: table.Operation, steps: Steps, work: Callable[[], Any]) -> None:
        """Have a thread do what an operation waits for, and go on with the operation when that is done."""

        self._settle()

        def done(value: Any, error: BaseException | None) -> None:
            try:
                more = steps.send(value) if error is None else steps.throw(error)
            except StopIteration as stop:
                self._resume(operation, stop.value, None)
            except Exception as failure:
                self._resume(operation, None, failure)
            else:
                self._wait(operation, steps, more)

        self.server.in_thread(work, done)

    def _resume(self, operation: table.Operation, outcome: Any, error: Exception | None) -> None:
        """An operation that had to wait has ended: add its result and go on with the next one."""
        try:
            if error is not None:
                raise error
            assert not operation.encodes
            first = len(self.results)
            self.results.append(operation.success)
            if operation.pack is not None:
                operation.pack(self.packer, outcome)
            self.reply_size += operation.reply_size
            if self.reply_size > self.reply_size_max:
                self._fit(first)
        except Exception as failure:
            self._fail(operation, failure)
            if self.status != nfs4.NFS4_OK:
                self._finish()
                return
        self.index += 1
        self.go_on()

    def _check(self, operation: table.Operation) -> None:
        """Where an operation may come, and whether the reply to a changing one will fit.  Raises Nfs4Error."""
        if not self.minor:
            return
        if self.session is None:
            if self.index or not operation.sessionless:
                raise Nfs4Error(nfs4.NFS4ERR_OP_NOT_IN_SESSION, "no SEQUENCE")
            if self.count > 1 and operation.number != nfs4.OP_SEQUENCE and not operation.last:
                raise Nfs4Error(nfs4.NFS4ERR_NOT_ONLY_OP, "must be the only operation")
        elif operation.number == nfs4.OP_SEQUENCE:
            raise Nfs4Error(nfs4.NFS4ERR_SEQUENCE_POS, "SEQUENCE is not the first operation")
        if operation.modifies and self.reply_size + operation.reply_size > self.reply_size_max:
            self._fit(len(self.results))
            self._check_size(self.reply_size + operation.reply_size)

    def _check_size(self, size: int) -> None:
        """Refuse what the session's channel could not carry (RFC 8881 2.10.6.4).  Raises Nfs4Error."""
        if size <= self.reply_size_max:
            return
        assert self.session is not None
        if size > self.session.reply_size_max:
            raise Nfs4Error(nfs4.NFS4ERR_REP_TOO_BIG, f"a reply of {size} bytes")
        raise Nfs4Error(nfs4.NFS4ERR_REP_TOO_BIG_TO_CACHE, f"a cached reply of {size} bytes")

    def _fit(self, first: int) -> None:
        """The reply may be too large: count it, and take the last result back if it is.  Raises Nfs4Error."""
        self.reply_size = REPLY_HEAD_SIZE + len(self.tag) + sum(map(len, self.results))
        try:
            self._check_size(self.reply_size)
        except Nfs4Error:
            del self.results[first:]
            raise

    def _fail(self, operation: table.Operation, error: Exception) -> None:
        """Append a failed result; the evaluation ends with it."""
        if isinstance(error, ReplayedResult):
            self.owner = None
            self.status = error.status
            self.results += [_TWO.pack(operation.number, error.status), error.result]
            self.reply_size += 8 + len(error.result)
            return
        body: object = None
        if isinstance(error, Nfs4Error):
            self.status, body = error.status, error.body
        elif isinstance(error, OSError):
            self.status = status_of(error)
            if self.status == nfs4.NFS4ERR_IO:
                limiter.write(
                    "warning",
                    "operation.io_error",
                    about=self.connection.address,
                    operation=operation.name,
                    reason=str(error),
                )
        else:
            self.server.fault(self, operation, error)
            self.status = nfs4.NFS4ERR_SERVERFAULT
        self.server.errors[self.status] += 1
        first = len(self.results)
        self.results.append(_TWO.pack(operation.number, self.status))
        operation.pack_failure(self.packer, self.status, body)
        if self.owner is not None:
            self._remember_owner_reply(operation, self.status, first)

    def _remember_owner_reply(self, operation: table.Operation, status: int, first: int) -> None:
        """Keep an NFSv4.0 owner's seqid and last reply, which begins at `first` (RFC 7530 9.1.7)."""
        assert self.owner is not None
        owner, self.owner = self.owner, None
        owner.remember(self, operation.number, status, b"".join(self.results[first:])[8:])

    # -- replying -----------------------------------------------------------------------------------------

    def _head(self, status: int, count: int) -> bytes:
        tag = self.tag
        size = len(tag)
        if not size:
            return _UNTAGGED.pack(status, 0, count)
        return struct.pack(f">2I{size}s{-size & 3}xI", status, size, tag, count)

    def _finish(self) -> None:
        """Reply, at `power` after what was changed in file systems has been brought to the disk."""
        if self.unsynced is None:
            self._reply()
            return
        if self.status != nfs4.NFS4_OK:
            # A request that failed half-way is rare.
            self._sync_now()
            self._reply()
            return
        nodes, self.unsynced = self.unsynced, None
        in_flight = self.server.in_flight
        in_flight.begin(nodes)

        def done(_value: Any, error: BaseException | None) -> None:
            if error is not None:
                self.server.sync_failed(error)
            self._reply()
            in_flight.end(nodes)

        self.server.in_thread(lambda: self._sync(nodes), done)

    def _settle(self) -> None:
        """Before this request waits: nothing of what it has changed is in doubt any more."""
        if self.begun:
            if self.unsynced:
                self._sync_now()
            self._save_intent(None)

    def _sync_now(self) -> None:
        """The same before anything else happens: the record will say that these changes have been made."""
        nodes, self.unsynced = self.unsynced or set(), None
        try:
            self._sync(nodes)
        except OSError as error:
            self.server.sync_failed(error)

    def _sync(self, nodes: set[Node]) -> None:
        """Bring changed directories and files to the disk.  Raises OSError."""
        for fs in {node.fs for node in nodes}:
            fs.sync_tombs()  # First: a file's last name must not go for good before it has its second one for good.
        for node in nodes:
            with contextlib.suppress(StaleHandle):  # What is gone needs no bringing; its directory is among them.
                node.fs.sync(node)

    def _reply(self) -> None:
        """The encoded reply and the changes become durable together, then the reply leaves."""
        count = len(self.operations) if self.status == nfs4.NFS4_OK else self.index + 1
        body = [self._head(self.status, count), *self.results]
        server = self.server
        changes = self.changes
        if self.slot is not None:
            body = self.slot.finish(self, body)
        elif self.mutated and self.duplicate_key is not None:
            server.duplicates.add(self.duplicate_key, b"".join(body), changes)
        if changes.entries:
            ticket = server.commit(changes)
        else:
            ticket = server.store_ticket() if self.revealed else server.names_ticket
        if flags.debug:
            self._log()
        self.connection.reply(self.call.xid, body, ticket)
        if self.retries:
            for connection, xid in self.retries:
                connection.reply(xid, body, ticket)

    def _log(self) -> None:
        operations = " ".join(operation.name for operation, _ in self.operations[: self.index + 1])
        log.debug(
            "request",
            xid=f"{self.call.xid:08x}",
            peer=self.connection.peer,
            client=self.client.label if self.client is not None else None,
            session=self.session.sessionid.hex() if self.session is not None else None,
            slot=self.slot.number if self.slot is not None else None,
            operations=operations,
            status=status_name(self.status),
        )
