"""The outbox: what must be durable before which reply leaves, in which order, and what a failure comes to."""

from __future__ import annotations

import asyncio

import pytest

from nfsd.durable.outbox import Destination
from statestore import META, ChangeSet, StoreFailed
from tests.durable.fakes import Bench, FailingStore, SlowStore, changes

KEY = bytes((META,)) + b"key"
BOTH = pytest.mark.parametrize("kind", [None, SlowStore])


def bench_of(kind: type[SlowStore] | None) -> Bench:
    """A bench at level "process", or "power" with a slow store."""
    return Bench() if kind is None else Bench(kind)


def become_durable(bench: Bench) -> None:
    """Let the loop turn, the writer write, and the loop turn again."""
    bench.loop.turn()
    if isinstance(bench.store, SlowStore):
        bench.write()
        bench.loop.turn()


# -- tickets --------------------------------------------------------------------------------------------------


@BOTH
def test_commit(kind: type[SlowStore] | None) -> None:
    """Changes are written once the loop turns, all together in one transaction; tickets ascend; records count."""
    bench = bench_of(kind)
    assert bench.outbox.last_ticket == 0
    assert [bench.outbox.commit(changes(b"%d" % number)) for number in range(3)] == [1, 2, 3]
    assert bench.outbox.last_ticket == bench.outbox.records == 3
    assert bench.store.records == {} and len(bench.loop.ready) == 1
    become_durable(bench)
    assert (len(bench.store.records), bench.store.durable, bench.store.transactions) == (3, 3, 1)
    bench.outbox.commit(changes())
    become_durable(bench)
    assert bench.store.durable == 4


@BOTH
def test_reply_waits(kind: type[SlowStore] | None) -> None:
    """A reply leaves when its ticket is durable and not before; one for what is durable at once."""
    bench = bench_of(kind)
    ticket = bench.outbox.commit(changes())
    bench.outbox.send(bench.far, 7, [b"re", b"ply"], ticket)
    bench.outbox.send(bench.far, 8, [b"quick"], 0)
    assert bench.log == [("reply", 1, 8, b"quick")]
    if kind is SlowStore:
        bench.loop.turn()
        assert bench.said("reply") == [(1, 8, b"quick")]
        bench.write()
        assert bench.said("reply") == [(1, 8, b"quick")]
    bench.loop.turn()
    assert bench.said("reply")[1:] == [(1, 7, b"reply")]
    bench.outbox.send(bench.far, 9, [b"late"], ticket)
    assert bench.said("reply")[2:] == [(1, 9, b"late")]


def test_part_is_durable() -> None:
    """Of several tickets those replies leave whose are durable; the others wait."""
    bench = Bench(SlowStore)
    first = bench.outbox.commit(changes(b"1"))
    bench.outbox.send(bench.far, 1, [b""], first)
    bench.loop.turn()
    bench.write()
    second = bench.outbox.commit(changes(b"2"))
    bench.outbox.send(bench.far, 2, [b""], second)
    bench.loop.turn()
    assert bench.said("reply") == [(1, 1, b"")]
    become_durable(bench)
    assert bench.said("reply") == [(1, 1, b""), (1, 2, b"")]


@BOTH
def test_order_of_replies(kind: type[SlowStore] | None) -> None:
    """Replies leave in the order in which they were given, each connection's in one write."""
    bench = bench_of(kind)
    for xid, to in ((1, bench.far), (2, bench.other), (3, bench.far)):
        bench.outbox.send(to, xid, [b""], bench.outbox.commit(changes(b"%d" % xid)))
    become_durable(bench)
    assert bench.log == [
        ("hold", 1), ("reply", 1, 1, b""), ("hold", 2), ("reply", 2, 2, b""), ("reply", 1, 3, b""),
        ("flush", 1), ("flush", 2),
    ]  # fmt: skip


@BOTH
def test_afterwards_before_replies(kind: type[SlowStore] | None) -> None:
    """Work that waits for a ticket is done before any reply leaves that waits for it, in its order, once."""
    bench = bench_of(kind)
    first, second = bench.outbox.commit(changes(b"1")), bench.outbox.commit(changes(b"2"))
    bench.outbox.send(bench.far, 1, [b""], first)
    bench.outbox.afterwards(first, lambda: bench.log.append(("work", 1)))
    bench.outbox.afterwards(second, lambda: bench.log.append(("work", 2)))
    if kind is SlowStore:
        bench.loop.turn()
    assert bench.log == []
    become_durable(bench)
    assert [each[:2] for each in bench.log] == [("work", 1), ("work", 2), ("hold", 1), ("reply", 1), ("flush", 1)]
    bench.outbox.commit(changes(b"3"))
    become_durable(bench)
    assert len(bench.said("work")) == 2


def test_names_ticket() -> None:
    """The ticket of object table rows is what every reply has to wait for, until the next rows come."""
    bench = Bench()
    assert bench.outbox.names_ticket == 0
    bench.outbox.commit(changes(b"1"))
    bench.outbox.commit_names(changes(b"2"))
    bench.outbox.commit(changes(b"3"))
    assert (bench.outbox.names_ticket, bench.outbox.last_ticket) == (2, 3)


@BOTH
def test_commit_now(kind: type[SlowStore] | None) -> None:
    """Durable on return, with everything before; the replies behind them leave with the loop's next turn."""
    bench = bench_of(kind)
    bench.outbox.send(bench.far, 1, [b""], bench.outbox.commit(changes(b"before")))
    bench.outbox.commit_now(changes())
    assert bench.store.durable == bench.outbox.last_ticket == 2 and KEY in bench.store.records
    assert bench.log == []
    bench.loop.turn()
    assert bench.said("reply") == [(1, 1, b"")]
    bench.outbox.commit_now(ChangeSet())
    assert bench.store.durable == 3


@BOTH
def test_commit_waiting(kind: type[SlowStore] | None) -> None:
    """Durable on return."""
    bench = bench_of(kind)
    bench.outbox.commit_waiting(changes())
    assert bench.store.durable == 1 and KEY in bench.store.records


def test_watch() -> None:
    """While there is something to watch, every ChangeSet is told of, before it is durable, however it is committed."""
    bench = Bench()
    seen: list[tuple[ChangeSet, int, int]] = []
    things: list[object] = []
    bench.outbox.watch(things, lambda given, ticket: seen.append((given, ticket, bench.store.durable)))
    bench.outbox.commit(changes(b"nobody looks"))
    bench.outbox.flush()
    assert seen == []
    things.append("thing")
    sets = [changes(b"%d" % number) for number in range(4)]
    bench.outbox.commit(sets[0])
    bench.outbox.commit_names(sets[1])
    bench.outbox.commit_now(sets[2])
    bench.outbox.commit_waiting(sets[3])
    assert seen == [(sets[0], 2, 1), (sets[1], 3, 1), (sets[2], 4, 1), (sets[3], 5, 4)]


# -- the check ------------------------------------------------------------------------------------------------


class NotServing(Exception):
    """The check did not return."""


def test_check_before_anything_is_visible() -> None:
    """A process that may not serve any more sends nothing, and does no work that waited."""
    serves = True

    def check() -> None:
        if not serves:
            raise NotServing

    bench = Bench(check=check)
    ticket = bench.outbox.commit(changes())
    bench.outbox.send(bench.far, 1, [b""], ticket)
    bench.outbox.afterwards(ticket, lambda: bench.log.append(("work",)))
    serves = False
    with pytest.raises(NotServing):
        bench.loop.turn()
    with pytest.raises(NotServing):
        bench.outbox.commit_now(changes())
    assert bench.log == []


# -- failures and the end -------------------------------------------------------------------------------------


def test_failure() -> None:
    """After the store has failed no reply leaves, no work is done and nothing is taken; the process is told once."""
    bench = Bench(FailingStore)
    ticket = bench.outbox.commit(changes())
    bench.outbox.send(bench.far, 1, [b""], ticket)
    bench.outbox.afterwards(ticket, lambda: bench.log.append(("work",)))
    with pytest.raises(StoreFailed):
        bench.loop.turn()
    for again in (bench.outbox.commit, bench.outbox.commit_now, bench.outbox.commit_waiting, bench.outbox.commit_names):
        with pytest.raises(StoreFailed):
            again(changes())
    with pytest.raises(StoreFailed):
        asyncio.run(bench.outbox.settle())
    assert bench.log == [] and len(bench.failures) == 1


@BOTH
def test_settle(kind: type[SlowStore] | None) -> None:
    """Everything is durable, and every reply has left."""
    bench = bench_of(kind)
    asyncio.run(bench.outbox.settle())
    for xid in (1, 2):
        bench.outbox.send(bench.far, xid, [b""], bench.outbox.commit(changes(b"%d" % xid)))
    asyncio.run(bench.outbox.settle())
    assert bench.said("reply") == [(1, 1, b""), (1, 2, b"")] and bench.store.durable == 2
    bench.loop.turn()
    assert len(bench.said("reply")) == 2


def test_destination() -> None:
    """A destination that is not told how to reply cannot; holding and writing are up to it."""
    to = Destination()
    to.hold_writes()
    to.flush()
    with pytest.raises(NotImplementedError):
        to.reply(1, [])
