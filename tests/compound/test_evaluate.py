"""The evaluation of a COMPOUND: order, failures, waits, faults, replies; by operations that the test makes up."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nfsd.compound import table
from nfsd.errors import Nfs4Error
from nfsd.ops.once import Before
from nfsd.ops.request import Request, Steps, Thread, Wait
from nfsd.ops.row import ENCODED, Operation
from statestore import INTENT, META
from tests.compound.core import Core, Session, Stopped, Wire, arms, decoded
from tests.support import operations as ops
from xdr.generated import nfs4

FAKE = nfs4.OP_ACCESS
Handler = Callable[[Request, Any], Any]
SetRow = Callable[..., Operation]


def fake(number: int = 1) -> ops.Op:
    """The operation that a test makes up; its result is its argument."""
    return ops.Op(FAKE, nfs4.ACCESS4args(number))


def echo(_request: Request, args: Any) -> nfs4.ACCESS4resok:
    """Give the argument back."""
    return nfs4.ACCESS4resok(args.access, args.access)


def numbers(reply: nfs4.COMPOUND4res) -> list[int]:
    """Which operations have a result."""
    return [result.resop for result in reply.resarray]


def statuses(reply: nfs4.COMPOUND4res) -> tuple[int, list[int]]:
    """The status of the request, and which operations have a result."""
    return reply.status, numbers(reply)


@pytest.fixture
def row(monkeypatch: pytest.MonkeyPatch) -> SetRow:
    """Puts a row of the test's into the table."""

    def put(handler: Handler, result: str | None = "ACCESS4resok", **flags: Any) -> Operation:
        made = Operation("ACCESS", handler, "ACCESS4args", result, **{"reply_size": 16, **flags})
        for minor in range(3):
            monkeypatch.setitem(table.BY_MINOR[minor], FAKE, made)
        return made

    return put


@pytest.fixture
def session(core: Core) -> Session:
    """A client with a session."""
    return Session(core)


@pytest.fixture
def power() -> Iterator[Core]:
    """A server in memory that brings changes to the disk before it answers."""
    made = Core(durability="power")
    yield made
    made.close()


# -- order (RFC 8881 2.10.6.4, 16.2) --------------------------------------------------------------------------


def test_without_sequence(core: Core, row: SetRow) -> None:
    """An operation that needs a session, without SEQUENCE before it."""
    row(echo)
    for operations in ([fake()], [fake(), fake()]):
        assert statuses(core.call(1, *operations)) == (nfs4.NFS4ERR_OP_NOT_IN_SESSION, [FAKE])


def test_sessionless_in_company(core: Core) -> None:
    """What may come without SEQUENCE must then be alone; behind SEQUENCE it need not."""
    alone = ops.exchange_id(b"somebody")
    assert core.call(1, alone).status == nfs4.NFS4_OK
    assert statuses(core.call(1, alone, alone)) == (nfs4.NFS4ERR_NOT_ONLY_OP, [nfs4.OP_EXCHANGE_ID])
    session = Session(core)
    assert session.call(alone, ops.putrootfh()).status == nfs4.NFS4_OK


def test_sequence_behind(core: Core, session: Session) -> None:
    """SEQUENCE is the first operation or none."""
    again = ops.sequence(session.sessionid, 1, 1)
    assert statuses(session.call(again)) == (nfs4.NFS4ERR_SEQUENCE_POS, [nfs4.OP_SEQUENCE] * 2)


def test_no_rules_in_minor_version_0(core: Core, row: SetRow) -> None:
    """NFSv4.0 knows no SEQUENCE."""
    row(echo)
    assert core.call(0, fake(1), fake(2)).status == nfs4.NFS4_OK


def test_empty(core: Core) -> None:
    """A COMPOUND without operations succeeds."""
    assert statuses(core.call(1)) == (nfs4.NFS4_OK, [])


def test_illegal_is_the_last(core: Core, session: Session) -> None:
    """An operation that nobody knows is answered as ILLEGAL, and nothing behind it."""
    reply = session.call(ops.putrootfh(), ops.Op(nfs4.OP_ILLEGAL), ops.getfh())
    assert statuses(reply) == (nfs4.NFS4ERR_OP_ILLEGAL, [nfs4.OP_SEQUENCE, nfs4.OP_PUTROOTFH, nfs4.OP_ILLEGAL])


# -- failures -------------------------------------------------------------------------------------------------


def test_failure_ends_it(core: Core, session: Session, row: SetRow) -> None:
    """The first failure is the last result; nothing behind it is called."""
    called = []

    def second_fails(_request: Request, args: Any) -> nfs4.ACCESS4resok:
        called.append(args.access)
        if args.access == 2:
            raise Nfs4Error(nfs4.NFS4ERR_ACCESS, "not this one")
        return nfs4.ACCESS4resok(0, args.access)

    row(second_fails)
    reply = session.call(fake(1), fake(2), fake(3))
    assert statuses(reply) == (nfs4.NFS4ERR_ACCESS, [nfs4.OP_SEQUENCE, FAKE, FAKE])
    assert called == [1, 2]
    assert core.engine.counters.errors[nfs4.NFS4ERR_ACCESS] == 1


def test_no_file_handle(core: Core, session: Session, row: SetRow) -> None:
    """What needs a current file handle is not called without."""
    row(echo, needs_node=True)
    assert session.call(fake()).status == nfs4.NFS4ERR_NOFILEHANDLE
    assert session.call(ops.putrootfh(), fake()).status == nfs4.NFS4_OK


@pytest.mark.parametrize(
    ("error", "status"), [(errno.ENOENT, nfs4.NFS4ERR_NOENT), (errno.EIO, nfs4.NFS4ERR_IO), (None, nfs4.NFS4ERR_IO)]
)
def test_error_of_the_system(core: Core, session: Session, row: SetRow, error: int | None, status: int) -> None:
    """An OSError is translated."""

    def fails(_request: Request, _args: Any) -> None:
        raise OSError(error, "why")

    row(fails)
    assert session.call(fake()).status == status


def test_failure_arm(core: Core, session: Session, row: SetRow) -> None:
    """A failure that carries something carries it; another one does not."""

    def fails(_request: Request, args: Any) -> None:
        raise Nfs4Error(args.access, "with a body", 0x55)

    row(fails, failure=("uint", (nfs4.NFS4ERR_DENIED,)))
    body = core.send(session.record(fake(nfs4.NFS4ERR_DENIED)))
    assert body[-12:] == bytes((0, 0, 0, FAKE)) + nfs4.NFS4ERR_DENIED.to_bytes(4, "big") + bytes((0, 0, 0, 0x55))
    body = core.send(session.record(fake(nfs4.NFS4ERR_DELAY)))
    assert body[-8:] == bytes((0, 0, 0, FAKE)) + nfs4.NFS4ERR_DELAY.to_bytes(4, "big")


def test_encoded_result(core: Core, session: Session, row: SetRow) -> None:
    """A handler may encode its result itself, head included."""
    row(lambda _request, args: b"\0\0\0\3\0\0\0\0" + bytes(4) + args.access.to_bytes(4, "big"), ENCODED)
    assert arms(session.call(fake(9)))[1].resok4.access == 9


# -- faults of ours -------------------------------------------------------------------------------------------


def broken(_request: Request, _args: Any) -> None:
    """A mistake of ours."""
    raise RuntimeError("a mistake")


def test_harmless_fault(core: Core, session: Session, row: SetRow) -> None:
    """A fault where nothing was changed is logged and answered SERVERFAULT."""
    row(broken)
    assert session.call(fake()).status == nfs4.NFS4ERR_SERVERFAULT


def test_fault_in_a_change(core: Core, session: Session, row: SetRow) -> None:
    """A fault in an operation that changes something stops the process, and nothing is answered."""
    row(broken, modifies=True)
    count = len(core.wire.replies)
    with pytest.raises(Stopped) as caught:
        session.call(fake())
    assert caught.value.code == 70 and len(core.wire.replies) == count


def test_fault_behind_a_change(core: Core, session: Session, row: SetRow) -> None:
    """A fault behind a change that is not durable yet stops the process too."""

    def changes_then_breaks(request: Request, args: Any) -> nfs4.ACCESS4resok:
        if args.access == 2:
            raise RuntimeError("a mistake")
        request.changes.put(META, b"test", b"")
        return nfs4.ACCESS4resok(0, 0)

    row(changes_then_breaks)
    with pytest.raises(Stopped):
        session.call(fake(1), fake(2))


def test_unknown_wait(core: Core, session: Session, row: SetRow) -> None:
    """To wait for what nobody knows is a fault of ours."""

    def waits(_request: Request, _args: Any) -> Steps:
        yield Wait()

    row(waits, blocks=True)
    assert session.call(fake()).status == nfs4.NFS4ERR_SERVERFAULT


# -- what cannot be evaluated ---------------------------------------------------------------------------------


def test_garbage(core: Core) -> None:
    """Arguments that are no COMPOUND get GARBAGE_ARGS, and count."""
    record = core.record(1, ops.putrootfh())
    core.deliver(record + bytes(4))
    [sent] = core.wire.records
    assert sent[4:8] == record[:4] and sent[-4:] == b"\0\0\0\4"
    assert core.engine.counters.bad_requests["xdr"] == 1 and core.wire.replies == []


def test_refused_as_a_whole(core: Core) -> None:
    """A minor version that is not offered is a status without results, with the tag."""
    reply = decoded(core.send(core.record(3, ops.putrootfh(), tag=b"tag")))
    assert (reply.status, reply.tag, reply.resarray) == (nfs4.NFS4ERR_MINOR_VERS_MISMATCH, b"tag", [])


# -- waits ----------------------------------------------------------------------------------------------------


def in_threads(_request: Request, args: Any) -> Steps:
    """An operation that waits as often as its argument says, and adds up what it gets."""
    total = 0
    for number in range(args.access):
        total += yield Thread(lambda number=number: number + 1)  # type: ignore[misc]
    return nfs4.ACCESS4resok(total, total)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_waits(core: Core, session: Session, row: SetRow, count: int) -> None:
    """An operation goes on with what each of its waits brings, and the next one follows."""
    row(in_threads, blocks=True)
    assert [arm.resok4.access for arm in arms(session.call(fake(count), fake(2)))[1:]] == [
        count * (count + 1) // 2,
        3,
    ]


def test_nothing_before_the_wait_is_over(core: Core, session: Session, row: SetRow) -> None:
    """While one request waits others are served, and its reply comes when it is through."""
    row(in_threads, blocks=True)
    core.threads.keeps = True
    slow, quick = session.record(fake(2), ops.putrootfh()), session.record(ops.putrootfh(), slot=1)
    count = len(core.wire.replies)
    core.deliver(slow)
    core.send(quick)
    core.threads.work()
    assert len(core.wire.replies) == count + 1
    core.threads.work()
    core.settle()
    xid, body = core.wire.replies[-1]
    assert xid == int.from_bytes(slow[:4], "big") and numbers(decoded(body))[1:] == [FAKE, nfs4.OP_PUTROOTFH]


@pytest.mark.parametrize("makes", [True, False])
def test_what_came_before_a_wait_is_stored_before_it(
    core: Core, session: Session, row: SetRow, makes: bool
) -> None:  # fmt: skip
    """What others change of the same open while a request waits is not undone by its reply."""
    row(in_threads, blocks=True)
    if not makes:
        arms(session.call(ops.putrootfh(), ops.open_(b"file", ops.READ, owner=b"other", how=ops.unchecked())))
    core.threads.keeps = True
    how = ops.unchecked() if makes else None
    core.deliver(session.record(ops.putrootfh(), ops.open_(b"file", ops.READ, owner=b"one", how=how), fake(1)))
    arms(session.call(ops.putrootfh(), ops.open_(b"file", ops.BOTH, owner=b"one"), slot=1))
    core.threads.work()
    core.settle()
    access = {held.owner: held.access for held in core.state.filter.opens.values()}
    following = core.crash()
    assert {held.owner: held.access for held in following.state.filter.opens.values()} == access
    assert access[b"one"] == ops.BOTH
    following.close()


@pytest.mark.parametrize("caught", [True, False])
def test_work_raises(core: Core, session: Session, row: SetRow, caught: bool) -> None:
    """What the work raises is raised where the operation waits; what it does not catch is its failure."""

    def work() -> None:
        raise OSError(errno.ENOSPC, "full")

    def handler(_request: Request, _args: Any) -> Steps:
        try:
            yield Thread(work)
        except OSError:
            if not caught:
                raise
        return nfs4.ACCESS4resok(7, 7)

    row(handler, blocks=True)
    reply = session.call(fake(), ops.putrootfh())
    if caught:
        assert arms(reply)[1].resok4.access == 7 and len(reply.resarray) == 3
    else:
        assert statuses(reply) == (nfs4.NFS4ERR_NOSPC, [nfs4.OP_SEQUENCE, FAKE])


def test_too_large_after_a_wait(core: Core, row: SetRow) -> None:
    """A result that comes after a wait is measured too."""
    row(in_threads, blocks=True, reply_size=1 << 40)
    session = Session(core, reply=256, cached=100)
    # Beside 36 bytes of heads, 44 of SEQUENCE and 16 of the last result there is room for 20 results of 8.
    assert session.call(*[ops.putrootfh()] * 20, fake(1)).status == nfs4.NFS4_OK
    assert session.call(*[ops.putrootfh()] * 21, fake(1)).status == nfs4.NFS4ERR_REP_TOO_BIG


# -- retries --------------------------------------------------------------------------------------------------


def test_retry_of_a_running_request(core: Core, session: Session, row: SetRow) -> None:
    """A retry of what still runs is not evaluated; both are answered at once with the same bytes, where they came."""
    called = []

    def counted(request: Request, args: Any) -> Steps:
        called.append(args.access)
        return (yield from in_threads(request, args))

    row(counted, blocks=True)
    core.threads.keeps = True
    record, other = session.record(fake(1)), Wire(2)
    count = len(core.wire.replies)
    core.deliver(record)
    core.deliver((77).to_bytes(4, "big") + record[4:], other)
    assert len(core.wire.replies) == count and other.replies == []
    core.threads.work()
    core.settle()
    assert called == [1]
    assert other.replies == [(77, core.wire.replies[-1][1])]


@pytest.mark.parametrize("cache", [True, False])
def test_retry_of_a_finished_request(core: Core, session: Session, row: SetRow, cache: bool) -> None:
    """A retry is answered from the slot where the client asked for that, and refused where it did not."""
    made = row(echo)
    record = session.record(fake(5), cache=cache)
    first = core.send(record)
    again = core.send(record)
    assert made.calls == 1
    assert core.engine.counters.replays == cache
    assert again == first if cache else decoded(again).status == nfs4.NFS4ERR_RETRY_UNCACHED_REP


def test_retry_of_a_change_is_always_kept(core: Core, session: Session, row: SetRow) -> None:
    """What changed something is kept whether asked for or not, over a crash too."""
    made = row(echo, modifies=True)
    record = session.record(fake(5))
    first = core.send(record)
    assert core.send(record) == first and made.calls == 1


@pytest.mark.parametrize(("modifies", "calls"), [(True, 1), (False, 2)])
def test_retransmission_of_minor_version_0(core: Core, row: SetRow, modifies: bool, calls: int) -> None:
    """NFSv4.0: what changed something runs once, by xid, address and content; the rest may run again."""
    made = row(echo, modifies=modifies)
    record = core.record(0, fake(5))
    first = core.send(record)
    assert core.send(record) == first
    assert made.calls == calls
    core.send(record[:-1] + b"\6")
    core.deliver(record, Wire(2, "192.0.2.2"))
    core.settle()
    assert made.calls == calls + 2


# -- sizes ----------------------------------------------------------------------------------------------------


def test_change_whose_reply_may_not_fit(core: Core, row: SetRow) -> None:
    """An operation that changes something is not called where its largest reply would not fit."""
    made = row(echo, modifies=True, reply_size=300)
    session = Session(core, reply=256, cached=100)
    assert statuses(session.call(fake()))[0] == nfs4.NFS4ERR_REP_TOO_BIG
    assert made.calls == 0


def test_cached_reply_that_does_not_fit(core: Core, row: SetRow) -> None:
    """A reply that was to be kept may be smaller than one that need not."""
    row(echo, reply_size=1 << 40)
    session = Session(core, reply=1000, cached=150)
    many = [fake(number) for number in range(6)]
    assert session.call(*many).status == nfs4.NFS4_OK
    assert session.call(*many, cache=True).status == nfs4.NFS4ERR_REP_TOO_BIG_TO_CACHE


# -- durable before it is told --------------------------------------------------------------------------------


def test_reply_waits_for_its_changes(core: Core, session: Session, row: SetRow) -> None:
    """What a request has changed is durable before its reply leaves; what changed nothing waits for nobody."""

    def changes(request: Request, args: Any) -> nfs4.ACCESS4resok:
        if args.access:
            request.changes.put(META, b"test", b"value")
        return nfs4.ACCESS4resok(0, 0)

    row(changes)
    count = len(core.wire.replies)
    core.deliver(session.record(fake(1)))
    core.deliver(session.record(fake(0), slot=1))
    assert [xid for xid, _body in core.wire.replies[count:]] == [core.xid]
    core.settle()
    assert [xid for xid, _body in core.wire.replies[count:]] == [core.xid, core.xid - 1]
    assert b"value" in core.store.records[bytes((META,)) + b"test"]


def test_reply_that_reveals_waits_for_others(core: Core, session: Session, row: SetRow) -> None:
    """A reply that shows what another request changed leaves behind that change."""

    def handler(request: Request, args: Any) -> nfs4.ACCESS4resok:
        if args.access:
            request.changes.put(META, b"test", b"value")
        else:
            request.revealed = True
        return nfs4.ACCESS4resok(0, 0)

    row(handler)
    count = len(core.wire.replies)
    core.deliver(session.record(fake(1)))
    core.deliver(session.record(fake(0), slot=1))
    assert len(core.wire.replies) == count
    core.settle()
    assert [xid for xid, _body in core.wire.replies[count:]] == [core.xid - 1, core.xid]


def intents(core: Core) -> list[bytes]:
    """The keys of the intents that are durable."""
    return [key[1:] for key in core.store.records if key[0] == INTENT]


def test_intent_is_durable_before_the_change(core: Core, session: Session, row: SetRow) -> None:
    """What is about to be done is durable when `begin` returns, with what was done before; it goes with the reply."""
    seen = []

    def handler(request: Request, _args: Any) -> nfs4.ACCESS4resok:
        request.changes.put(META, b"test", b"value")
        assert request.unfinished() is None
        request.begin(Before(5, b"found"))
        seen.append((intents(core), bytes((META,)) + b"test" in core.store.records))
        return nfs4.ACCESS4resok(0, 0)

    row(handler, modifies=True)
    session.call(fake())
    slot_key = session.sessionid + bytes(4)
    assert seen == [([b"s" + slot_key], True)]
    assert intents(core) == []


def test_crash_in_a_change(core: Core, session: Session, row: SetRow) -> None:
    """After a crash the operation is told what there was before it, and the retry gets its reply without a new run."""
    seen: list[Any] = []

    def handler(request: Request, args: Any) -> nfs4.ACCESS4resok:
        before = request.unfinished()
        seen.append((args.access, before and (before.change, before.found, before.at_ns)))
        if args.access == 2 and before is None:
            request.begin(Before(5, b"found"))
            raise Stopped(0)
        return nfs4.ACCESS4resok(args.access, args.access)

    row(handler, modifies=True)
    record = session.record(fake(1), fake(2), fake(3))
    with pytest.raises(Stopped):
        core.deliver(record)
    after = session.core = core.crash()
    at_ns = after.clock.wall_ns()
    assert seen == [(1, None), (2, None), (2, (5, b"found", at_ns)), (3, None)]
    assert [arm.resok4.access for arm in arms(decoded(after.send(record)))[1:]] == [1, 2, 3]
    assert len(seen) == 4 and intents(after) == []
    assert after.engine.counters.recovered == {"finished": 1}
    after.close()


def test_parked_while_in_doubt(power: Core) -> None:
    """A change of a directory whose last change is not on the disk yet waits; a change elsewhere does not."""
    session = Session(power)
    arms(session.call(ops.putrootfh(), ops.mkdir(b"other")))
    root = power.namespace.root()
    busy = root.busy
    power.threads.keeps = True
    count = len(power.wire.replies)
    power.deliver(session.record(ops.putrootfh(), ops.mkdir(b"one")))
    power.deliver(session.record(ops.putrootfh(), ops.mkdir(b"two"), slot=1))
    power.deliver(session.record(ops.putrootfh(), ops.lookup(b"other"), ops.mkdir(b"three"), slot=2))
    power.settle()
    assert root in power.engine.in_doubt.nodes and len(power.threads.waiting) == 2
    power.threads.work()
    power.settle()
    assert len(power.wire.replies) == count + 1 and len(power.threads.waiting) == 2
    while power.threads.waiting:
        power.threads.work()
    power.settle()
    assert [decoded(body).status for _xid, body in power.wire.replies[count:]] == [nfs4.NFS4_OK] * 3
    assert not power.engine.in_doubt.nodes and root.busy == busy
