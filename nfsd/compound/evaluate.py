"""The evaluation of one COMPOUND: its operations in order, and the reply.

Owns the rules that hold for every operation (RFC 8881 2.10.6.4, 16.2; RFC 7530 14.2): which may come first, what
needs a file handle, what a failure looks like, and when the reply may leave.  Must not know what any operation means;
that is in `nfsd/ops`, found through the table.

A compound runs to its end in one go unless an operation has to wait: then it goes on when what it waits for is done.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from nfsd.apart import current, start
from nfsd.attributes import NameUnknown
from nfsd.compound.decode import decode
from nfsd.compound.engine import Engine
from nfsd.compound.intent import Intent, encode_intent, intent_key
from nfsd.compound.reply import REPLY_SIZE_UNLIMITED, check_size, fit, head
from nfsd.durable.outbox import Destination
from nfsd.durable.threads import Done
from nfsd.errors import (
    REPLY_HEAD_SIZE,
    Nfs4Error,
    Replay,
    ReplayedResult,
    RetryWaits,
    Undecidable,
    status_name,
    status_of,
)
from nfsd.log import flags, get_logger, limiter
from nfsd.ops.once import Before
from nfsd.ops.request import Request, Steps, Thread, Wait
from nfsd.ops.row import Operation
from nfsd.ops.touched import admit
from nfsd.rpc import message
from nfsd.rpc.connection import Connection
from nfsd.state import owners, sessions
from nfsd.state.reply_cache import Key, key_of
from nfsd.vfs.interface import NOBODY, Node, StaleHandle
from statestore import INTENT, ChangeSet
from xdr.codec import Buffer, XdrError
from xdr.generated import nfs4

log = get_logger()

_TWO: Final = struct.Struct(">2I")


class Compound(Request):
    """One COMPOUND while it runs."""

    __slots__ = (
        "_engine",
        "packer",
        "results",
        "mutated",
        "status",
        "_duplicate_key",
        "_intent",
        "_begun",
        "_unsynced",
    )

    def __init__(self, engine: Engine, connection: Connection, call: message.Call, now: float) -> None:
        # Flat, base classes' attributes included: every request pays for it.
        self._engine = engine
        self.services = services = engine.services
        self.state = services.state
        self.lease_time_s = services.lease_time_s
        self.connection = connection
        self.call = call
        self.now = now
        self.minor = self.index = self.count = self.reply_size = self.status = 0
        self.reply_size_max = REPLY_SIZE_UNLIMITED
        self.tag = b""
        self.operations = []
        self.current = self.saved = None
        self.stateid = self.saved_stateid = None
        self.client = self.session = self.slot = self.owner = None
        self.cache_this = self.revealed = self.mutated = self._read_only = False
        self.changes = ChangeSet()
        self.packer = nfs4.Nfs4Packer()
        self.results: list[Buffer] = self.packer.get_parts()
        self._admitted = None
        self._caller = NOBODY
        self._duplicate_key: Key | None = None
        self._intent: Intent | None = None
        self._begun = False
        self._unsynced: set[Node] | None = None

    # -- exactly once -------------------------------------------------------------------------------------

    def unfinished(self) -> Before | None:
        """In recovery: what there was before this very operation, if it may have been carried out already."""
        intent = self._intent
        if intent is None or intent.kept.index != self.index or not intent.kept.undecided:
            return None
        return intent.before

    def begin(self, before: Before) -> None:
        """Make durable that this operation is about to change a file system; MUST come before the change.

        What earlier operations of the compound changed in the state becomes durable with it: after a crash the
        compound goes on from here.
        """
        if self._unsynced:
            self._sync_now()
        before.at_ns = self._engine.file_ns()
        self._save_intent(before)
        if self._engine.syncs:
            self._unsynced = {node for node in (self.current, self.saved) if node is not None}

    def _save_intent(self, before: Before | None) -> None:
        key = intent_key(self, self._duplicate_key)
        attempts = self._intent.kept.attempts if self._intent is not None else 0
        changes, self.changes = self.changes, ChangeSet()
        changes.put(INTENT, key, encode_intent(self, self.results, before, attempts))
        if before is None:
            # Nothing can change a file system before this is durable: its own intent goes the same way behind it.
            self._engine.outbox.commit(changes)
        else:
            self._engine.outbox.commit_now(changes)
        self.changes.remove(INTENT, key)
        self._begun = True

    def recover(self, intent: Intent) -> None:
        """Go on with a request where a crash interrupted it, and keep its reply for the retry.

        Raises Undecidable, Nfs4Error where its session is gone, Replay where it had been answered, XdrError.
        """
        kept, call = intent.kept, self.call
        self.status, self.tag, self.minor, self.count, self.operations = decode(
            call.data, call.start, self.services.limits.ops_per_compound_max
        )
        if self.status or kept.index > len(self.operations):
            raise Undecidable("the request is refused by limits that it came before")
        if self.minor:
            self.operation, args = self.operations[0]
            self.operation.handler(self, args)
        else:
            self._bound_reply()
            self._duplicate_key = key_of(self.connection.address, self.call.xid, self.call.data)
            if self._engine.puts_aside:
                self._engine.under_way[self._duplicate_key] = []
        resolve = self.services.namespace.resolve
        try:
            self.current = self.seen(resolve(kept.current)) if kept.current else None
            self.saved = self.seen(resolve(kept.saved)) if kept.saved else None
        except OSError as error:
            raise Undecidable(f"a directory or file of the request is gone: {error}") from error
        if kept.undecided and self._engine.syncs:
            # If the change was made, it may not be on the disk yet.
            self._unsynced = {node for node in (self.current, self.saved) if node is not None}
        self.stateid, self.saved_stateid = intent.stateid, intent.saved_stateid
        self.results.append(kept.results)
        self.reply_size += len(kept.results)
        self.index = kept.index
        self._intent = intent
        self._begun = self.mutated = True
        self.changes.remove(INTENT, intent.key)
        self.go_on()

    # -- running ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Evaluate and reply; or reply later, when the threads have done what an operation waits for."""
        call = self.call
        try:
            self.status, self.tag, self.minor, self.count, self.operations = decode(
                call.data, call.start, self.services.limits.ops_per_compound_max
            )
        except XdrError as error:
            self._refuse_garbage(str(error))
            return
        if self.status:
            self.connection.reply(self.call.xid, [head(self.status, self.tag, 0)])
            return
        if not self.minor:
            self._bound_reply()
            self._duplicate_key = key_of(self.connection.address, call.xid, call.data)
            reply = self._engine.replies.get(self._duplicate_key)
            if reply is not None:
                self._replay(reply)
                return
            if self._engine.puts_aside and self._is_under_way():
                return
        self.go_on()

    def _is_under_way(self) -> bool:
        """NFSv4.0: whether this is a request that was put aside, sent again; it is answered with the first one then."""
        key = self._duplicate_key
        assert key is not None
        under_way = self._engine.under_way
        retries = under_way.get(key)
        if retries is None:
            under_way[key] = []
            return False
        retries.append((self.connection, self.call.xid))
        return True

    def _bound_reply(self) -> None:
        """NFSv4.0 has no session to say how large a reply may be."""
        self.reply_size = REPLY_HEAD_SIZE + len(self.tag)
        self.reply_size_max = self.services.limits.record_size_max

    def _refuse_garbage(self, why: str) -> None:
        """Answer a COMPOUND that does not decode."""
        self._engine.counters.bad_requests["xdr"] += 1
        connection = self.connection
        limiter.write("warning", "rpc.garbage", about=connection.address, peer=connection.peer, reason=why)
        connection.reply_whole(message.accepted(self.call.xid, message.GARBAGE_ARGS))

    def _replay(self, reply: bytes) -> None:
        """Answer the whole request from a reply cache."""
        self._engine.counters.replays += 1
        self._leave()
        outbox = self._engine.outbox
        outbox.send(self.connection, self.call.xid, [reply], outbox.last_ticket)

    def _leave(self) -> None:
        """A retry has no reply of its own: what it has changed (its client's address) is committed by itself."""
        if self.changes.entries:
            changes, self.changes = self.changes, ChangeSet()
            self._engine.outbox.commit(changes)

    def go_on(self) -> None:
        """Evaluate operations from `index` on, until the end, a failure, or one that has to wait."""
        operations, results, packer = self.operations, self.results, self.packer
        blackouts = self.state.filter.blackouts.standing
        in_doubt = self._engine.in_doubt.nodes
        index, end = self.index, len(operations)
        while index < end:
            operation, args = operations[index]
            self.operation = operation
            self.index = index
            try:
                if operation.checked or self.session is None:
                    self._check(operation)
                if operation.needs_node and self.current is None:
                    raise Nfs4Error(nfs4.NFS4ERR_NOFILEHANDLE, "no current file handle")
                if in_doubt and operation.modifies:
                    if self._engine.in_doubt.parks(self.current, self.saved, self._go_on_later):
                        self._settle()
                        return
                operation.calls += 1
                if blackouts:
                    admit(self, operation.number, args)
                outcome = operation.handler(self, args)
                if operation.blocks:
                    try:
                        wait = next(outcome)
                    except StopIteration as stop:
                        outcome = stop.value
                    else:
                        self._wait(operation, outcome, wait)
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
                    fit(self, self.results, first)
                if operation.modifies:
                    self.mutated = True
                    if self._unsynced is not None and self.current is not None:
                        self._unsynced.add(self.current)
                if self.owner is not None:
                    self._remember_owner_reply(operation, nfs4.NFS4_OK, first)
            except RetryWaits:
                self._leave()
                return
            except NameUnknown as name:
                self._look_up(name)
                return
            except Undecidable:
                raise
            except Replay as replay:
                self._replay(replay.body)
                return
            except Exception as error:
                self._fail(operation, error)
                if self.status != nfs4.NFS4_OK:
                    break
            index += 1
        self._finish()

    def _look_up(self, name: NameUnknown) -> None:
        """Evaluate the operation under way anew once a name is known: it has changed nothing yet."""
        if self.owner is not None:
            self.owner.asker = None
            self.owner = None
        self._settle()
        here = current()

        def done(_value: Any, error: BaseException | None) -> None:
            assert error is None, "what looks a name up takes every failure for an answer"
            if current() is here:  # In a recovery, where there are no threads yet.
                self.go_on()
            else:
                self._go_on_later()

        self._engine.threads.run_aside(name.look_up, done)

    def _wait(self, operation: Operation, steps: Steps, wait: Wait) -> None:
        """Go on with an operation when what it waits for is done."""
        assert isinstance(wait, Thread), f"{operation.name} waits for {wait}"
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

        self._carry_out(wait.work, done, apart=wait.apart)

    def _carry_out(self, work: Callable[[], Any], done: Done, *, apart: bool) -> None:
        """Have work done in a thread, in a task where its trees are served `apart`; then `done`, which may wait."""

        def attended(value: Any, error: BaseException | None) -> None:
            self._attend()
            done(value, error)

        if apart:
            start(partial(_do, work, attended), self.still_wanted)
        elif self._engine.puts_aside:
            self._engine.threads.run(
                work, lambda value, error: start(partial(attended, value, error), self.still_wanted)
            )  # fmt: skip
        else:
            self._engine.threads.run(work, done)

    def _go_on_later(self) -> None:
        """Go on, from outside of any request's evaluation."""
        if self._engine.puts_aside:
            start(self._go_on_attended, self.still_wanted)
        else:
            self.go_on()

    def _go_on_attended(self) -> None:
        self._attend()
        self.go_on()

    def _attend(self) -> None:
        """After a wait: nobody else works on the tree of the current file handle from here on."""
        if self.current is not None:
            self.current.fs.attend()

    def still_wanted(self) -> None:
        """Whether anybody is left for whom to go on, after the request was put aside.  Raises Nfs4Error(EXPIRED)."""
        client = self.client
        if client is not None and self.state.clients.by_id.get(client.clientid) is not client:
            raise Nfs4Error(nfs4.NFS4ERR_EXPIRED, "the client was removed while its request waited")

    def _resume(self, operation: Operation, outcome: Any, error: Exception | None) -> None:
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
                fit(self, self.results, first)
        except Exception as failure:
            self._fail(operation, failure)
            if self.status != nfs4.NFS4_OK:
                self._finish()
                return
        self.index += 1
        self.go_on()

    def _check(self, operation: Operation) -> None:
        """Where an operation may come, whether a changing one's reply will fit, and its record.  Raises Nfs4Error."""
        if self.minor:
            if self.session is None:
                if self.index or not operation.sessionless:
                    raise Nfs4Error(nfs4.NFS4ERR_OP_NOT_IN_SESSION, "no SEQUENCE")
                if self.count > 1 and operation.number != nfs4.OP_SEQUENCE and not operation.last:
                    raise Nfs4Error(nfs4.NFS4ERR_NOT_ONLY_OP, "must be the only operation")
            elif operation.number == nfs4.OP_SEQUENCE:
                raise Nfs4Error(nfs4.NFS4ERR_SEQUENCE_POS, "SEQUENCE is not the first operation")
            elif self.session.destroyed:
                raise Nfs4Error(nfs4.NFS4ERR_DEADSESSION, "its session or client has gone since it began")
        if operation.modifies and self.reply_size + operation.reply_size > self.reply_size_max:
            fit(self, self.results, len(self.results))
            check_size(self, self.reply_size + operation.reply_size)
        if operation.when_full is not None and self._engine.outbox.store.nearly_full:
            self._refuse_when_full(operation.when_full)

    def _refuse_when_full(self, status: int) -> None:
        """The store's last room is kept for removals.  Raises Nfs4Error, but for a request that a crash interrupted."""
        if self._intent is None:
            self._engine.counters.store_refusals += 1
            # Whatever an owner's sequence id counts by, NFSv4.0's RESOURCE leaves it as it is (RFC 7530 9.1.7).
            raise Nfs4Error(status if self.minor else nfs4.NFS4ERR_RESOURCE, "the state store is nearly full")

    def _fail(self, operation: Operation, error: Exception) -> None:
        """Append a failed result; the evaluation ends with it."""
        if isinstance(error, ReplayedResult):
            if self.owner is not None:
                self.owner.asker = None
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
            harmless = not operation.modifies and not self.changes
            self._engine.faults.fault(operation.name, self.connection.peer, error, harmless=harmless)
            self.status = nfs4.NFS4ERR_SERVERFAULT
        self._engine.counters.errors[self.status] += 1
        first = len(self.results)
        self.results.append(_TWO.pack(operation.number, self.status))
        operation.pack_failure(self.packer, self.status, body)
        if self.owner is not None:
            self._remember_owner_reply(operation, self.status, first)

    def _remember_owner_reply(self, operation: Operation, status: int, first: int) -> None:
        """Keep an NFSv4.0 owner's seqid and last reply, which begins at `first` (RFC 7530 9.1.7)."""
        assert self.owner is not None
        owner, self.owner = self.owner, None
        owner.asker = None
        handle = self.current.handle if self.current is not None else b""
        owners.remember(self.changes, owner, operation.number, status, b"".join(self.results[first:])[8:], handle)

    # -- replying -----------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Reply, at `power` after what was changed in file systems has been brought to the disk."""
        if self._unsynced is None:
            self._reply()
            return
        if self.status != nfs4.NFS4_OK:
            # A request that failed half-way is rare.
            self._sync_now()
            self._reply()
            return
        nodes, self._unsynced = self._unsynced, None
        in_doubt = self._engine.in_doubt
        in_doubt.begin(nodes)
        apart = {node for node in nodes if node.fs.apart}

        def done(_value: Any, error: BaseException | None) -> None:
            if error is not None:
                self._engine.faults.sync_failed(error)
            self._reply()
            in_doubt.end(nodes)

        def near_done(_value: Any, error: BaseException | None) -> None:
            if error is not None or not apart:
                done(None, error)
            else:
                self._carry_out(lambda: self._sync(apart), done, apart=True)

        if nodes != apart:
            self._carry_out(lambda: self._sync(nodes - apart), near_done, apart=False)
        else:
            near_done(None, None)

    def _settle(self) -> None:
        """Before this request waits: nothing of what it has changed is in doubt any more.

        It is on its way to the store, ahead of what others change meanwhile; with an intent, so that after a crash the
        request goes on from here.
        """
        if self._unsynced:
            self._sync_now()
        if self._begun or self.changes.entries:
            self._save_intent(None)

    def _sync_now(self) -> None:
        """Bring what was changed to the disk before anything else: the record will say that it has been made."""
        nodes, self._unsynced = self._unsynced or set(), None
        try:
            self._sync(nodes)
        except OSError as error:
            self._engine.faults.sync_failed(error)

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
        body: list[Buffer] = [head(self.status, self.tag, count), *self.results]
        engine, slot = self._engine, self.slot
        outbox, changes = engine.outbox, self.changes
        if slot is not None:
            assert self.session is not None
            changed = self.mutated or bool(changes.entries)
            body = sessions.finish(self.session, slot, body, changes, changed, self.cache_this)
        elif self.mutated and self._duplicate_key is not None:
            engine.replies.add(self._duplicate_key, b"".join(body), changes)
        if changes.entries:
            ticket = outbox.commit(changes)
        else:
            ticket = outbox.last_ticket if self.revealed else outbox.names_ticket
        if flags.debug:
            self._log()
        outbox.send(self.connection, self.call.xid, body, ticket)
        retries: Sequence[tuple[Destination, int]] = ()
        if slot is not None:
            retries, slot.retries = slot.retries, []
        elif engine.under_way and self._duplicate_key is not None:
            retries = engine.under_way.pop(self._duplicate_key, ())
        for connection, xid in retries:
            outbox.send(connection, xid, body, ticket)

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


def _do(work: Callable[[], Any], done: Done) -> None:
    """What a pool of threads does with work, in a task."""
    try:
        value = work()
    except Exception as error:
        done(None, error)
    else:
        done(value, None)
