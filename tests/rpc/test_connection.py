"""What a connection does within its limits: who waits, for what, until when, and who is closed."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from nfsd.rpc.connection import Carried, Connection
from nfsd.rpc.message import LAST_FRAGMENT, Call
from tests.rpc.fakes import Wire, request, xids

KIB = 1024
MIB = 1024 * KIB
OTHER = "198.51.100.7"


def answering(size: int) -> Callable[[Connection, Call], None]:
    """Answers every call at once with so many bytes."""
    return lambda connection, call: connection.reply(call.xid, [bytes(size)])


def batch(count: int, first: int = 0) -> bytes:
    """Requests in one piece."""
    return b"".join(map(request, range(first, first + count)))


# -- replies that are not taken -------------------------------------------------------------------------------


def test_unsent_of_one_connection() -> None:
    """Of a batch no more is begun than the peer takes replies to; then the rest is, in order."""
    wire = Wire(answering(100 * KIB), unsent_per_connection_max=256 * KIB)
    far = wire.connect(room=0)
    assert wire.give(far, batch(50)) == b""
    assert not far.is_reading()
    most = wire.hub.budget.unsent
    assert 256 * KIB < most <= 256 * KIB + 400 * KIB
    assert most == far.get_write_buffer_size()
    assert wire.hub.budget.receiving > 0
    assert wire.loop.turns() == 0, "nobody looks at it until something is taken"
    while len(xids(far.sent + far.kept)) < 50:
        far.take(1 * MIB)
        wire.loop.turns()
        assert wire.hub.budget.unsent <= most
    far.take(1 * MIB)
    wire.loop.turns()
    assert xids(far.sent) == list(range(50))
    assert far.is_reading()
    assert (wire.hub.budget.unsent, wire.hub.budget.receiving) == (0, 0)


def test_unsent_of_an_address() -> None:
    """When an address has too much unsent its other connections wait too, those of others do not."""
    wire = Wire(answering(300 * KIB), unsent_per_connection_max=1 * MIB, unsent_per_address_max=512 * KIB)
    stuck, neighbour, other = wire.connect(room=0), wire.connect(), wire.connect(OTHER)
    wire.give(stuck, batch(10))
    wire.give(neighbour, batch(3))
    assert neighbour.sent == b"" and not neighbour.is_reading()
    wire.give(other, batch(3))
    assert xids(other.sent) == [0, 1, 2]
    while stuck.kept:
        stuck.take(10 * MIB)
        wire.loop.turns()
    assert xids(neighbour.sent) == [0, 1, 2] and neighbour.is_reading()
    assert xids(stuck.sent) == list(range(10)) and stuck.is_reading()


def test_unsent_end_makes_room() -> None:
    """Connections that wait for a neighbour go on when it has ended."""
    wire = Wire(answering(300 * KIB), unsent_per_address_max=512 * KIB)
    stuck, neighbour = wire.connect(room=0), wire.connect()
    wire.give(stuck, batch(10))
    wire.give(neighbour, batch(3))
    assert neighbour.sent == b""
    stuck.abort()
    wire.loop.turns()
    assert xids(neighbour.sent) == [0, 1, 2]
    assert wire.hub.budget.unsent == 0


def test_unsent_of_all() -> None:
    """When there is too much in all, addresses that have some wait, and who has none goes on."""
    wire = Wire(answering(100 * KIB), unsent_max=1 * MIB)
    greedy = [wire.connect(f"192.0.2.{last}", room=0) for last in range(1, 4)]
    for far in greedy:
        wire.give(far, batch(20))
    assert wire.hub.budget.unsent < 2 * MIB
    assert not any(far.is_reading() for far in greedy)
    honest = wire.connect(OTHER)
    wire.give(honest, batch(3))
    assert xids(honest.sent) == [0, 1, 2] and honest.is_reading()
    while any(far.kept for far in greedy):
        for far in greedy:
            far.take(200 * KIB)
            wire.loop.turns()
    assert [xids(far.sent) for far in greedy] == [list(range(20))] * 3
    assert wire.dropped() == {}


def test_unsent_far_too_much() -> None:
    """When waiting does not help, the address with the most loses the connection that has had some for the longest."""
    sizes = {1: 50 * KIB, 2: 75 * KIB, 3: 100 * KIB}
    wire = Wire(lambda connection, call: connection.reply(call.xid, [bytes(sizes[call.xid])]), unsent_max=256 * KIB)
    few = [wire.connect(f"192.0.2.{last}", room=0) for last in (1, 2)]
    most = [wire.connect("192.0.2.9", room=0) for _ in range(2)]
    for far, xid in ((few[0], 1), (most[0], 2), (most[1], 2), (few[1], 1)):
        wire.give(far, request(xid))
    assert wire.hub.budget.unsent <= 256 * KIB
    for last in range(11, 14):
        wire.give(wire.connect(f"192.0.2.{last}", room=0), request(3))
    assert wire.dropped() == {"unsent_max": 1}
    assert [far.end for far in (*few, *most)] == ["", "", "abort", ""]
    assert wire.hub.budget.unsent <= 512 * KIB


def test_data_of_threads_counts() -> None:
    """What threads move for a connection counts as unsent, after its end too, until they have done it."""
    wire = Wire(unsent_per_connection_max=1 * MIB, unsent_per_address_max=1 * MIB)
    far = wire.connect()
    wire.give(far, batch(1))
    connection, _call = wire.calls.popleft()
    connection.works(2 * MIB)
    assert not far.is_reading()
    neighbour = wire.connect()
    wire.give(neighbour, batch(1))
    assert not wire.calls
    far.abort()
    wire.loop.turns()
    assert not wire.calls and wire.hub.budget.unsent == 2 * MIB
    connection.works(-2 * MIB)
    wire.loop.turns()
    assert len(wire.calls) == 1 and wire.hub.budget.unsent == 0


# -- requests in flight ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 4])
def test_in_flight_bounds_a_batch(most: int) -> None:
    """A batch begins no more requests than may be in flight; answers make room for the next."""
    wire = Wire(requests_in_flight_max=most)
    far = wire.connect()
    wire.give(far, batch(20))
    begun = 0
    while begun < 20:
        assert 0 < len(wire.calls) <= most
        begun += len(wire.calls)
        while wire.calls:
            connection, call = wire.calls.popleft()
            connection.reply(call.xid, [b""])
        wire.loop.turns()
    assert xids(far.sent) == list(range(20)) and far.is_reading()


# -- turns ----------------------------------------------------------------------------------------------------


def working(wire: Wire, spent_s: float) -> Callable[[Connection, Call], None]:
    """Answers calls at once, each of which takes so long."""

    def answer(connection: Connection, call: Call) -> None:
        wire.loop.now_s += spent_s
        connection.reply(call.xid, [b""])

    return answer


def test_turn_of_a_batch() -> None:
    """A batch holds the loop for 5 ms a turn and is not read from meanwhile; others come in between."""
    wire = Wire()
    wire.hub.dispatch = working(wire, 0.0011)
    far, other = wire.connect(), wire.connect(OTHER)
    wire.give(far, batch(50))
    assert len(xids(far.sent)) == 5 and not far.is_reading()
    began = wire.loop.now_s
    wire.give(other, batch(1))
    assert xids(other.sent) == [0] and wire.loop.now_s - began < 0.002
    turns = 0
    while not far.is_reading():
        began = wire.loop.now_s
        wire.loop.turn()
        assert wire.loop.now_s - began <= 0.0061
        turns += 1
    assert xids(far.sent) == list(range(50)) and turns == 9
    assert wire.hub.turns.deferrals == 9


def test_turn_is_an_address_s() -> None:
    """Many connections of one address have no more of a turn than one has, and their order stays."""
    wire = Wire()
    wire.hub.dispatch = working(wire, 0.0011)
    many = [wire.connect() for _ in range(20)]
    began = wire.loop.now_s
    for far in many:
        wire.give(far, batch(2))
    assert wire.loop.now_s - began <= 0.0061
    assert [len(xids(far.sent)) for far in many] == [2, 2, 1] + [0] * 17
    other = wire.connect(OTHER)
    wire.give(other, batch(2))
    assert xids(other.sent) == [0, 1]
    wire.loop.turn()
    assert sum(len(xids(far.sent)) for far in many) == 10
    wire.loop.turns()
    assert all(xids(far.sent) == [0, 1] and far.is_reading() for far in many)


def test_turn_after_idleness() -> None:
    """Who uses less than half of the time never waits."""
    wire = Wire()
    wire.hub.dispatch = working(wire, 0.0011)
    far = wire.connect()
    for xid in range(100):
        wire.give(far, request(xid))
        assert far.is_reading()
        wire.loop.now_s += 0.0015
    assert wire.hub.turns.deferrals == 0


def test_marks_take_turns() -> None:
    """A flood of marks is looked at in portions, a turn each, and what follows is not lost."""
    wire = Wire(answering(0))
    far = wire.connect()
    wire.give(far, struct.pack(">I", 0) * 4000 + request(7))
    assert not far.is_reading() and far.sent == b""
    wire.loop.turns()
    assert xids(far.sent) == [7] and far.is_reading()
    assert wire.hub.budget.receiving == 0


def test_end_within_a_batch() -> None:
    """After a record that ends its connection the rest of the batch is not begun, and nothing is kept for it."""
    wire = Wire(answering(0))
    far = wire.connect()
    wire.give(far, request(1) + struct.pack(">I", LAST_FRAGMENT | 4) + bytes(4) + batch(5, 2))
    wire.loop.turns()
    assert xids(far.sent) == [1] and far.end == "close"
    assert wire.hub.budget.receiving == 0 and not wire.hub.budget.origins


def test_end_while_waiting() -> None:
    """A connection that ends while requests of its wait leaves nothing behind."""
    wire = Wire(answering(MIB), unsent_per_connection_max=64 * KIB)
    far = wire.connect(room=0)
    wire.give(far, batch(20))
    assert wire.hub.budget.receiving and wire.hub.budget.unsent
    far.abort()
    wire.loop.turns()
    assert (wire.hub.budget.receiving, wire.hub.budget.unsent) == (0, 0)
    assert not wire.hub.budget.origins and len(wire.hub) == 0


# -- what is being received -----------------------------------------------------------------------------------


def half(size: int = 600 * KIB) -> bytes:
    """The beginning of a record of a MiB."""
    return struct.pack(">I", LAST_FRAGMENT | MIB) + bytes(size)


def test_receiving_of_an_address() -> None:
    """Above an address's limit its connection that has been half-received for the longest is closed, and no other's."""
    wire = Wire(receiving_per_address_max=1 * MIB)
    other = wire.connect(OTHER)
    wire.give(other, half())
    first, second, third = (wire.connect() for _ in range(3))
    for far in (first, second):
        wire.give(far, half())
    assert (first.end, second.end) == ("abort", "")
    wire.give(third, half(300 * KIB))
    assert (second.end, third.end, other.end) == ("", "", "")
    wire.loop.turns()
    assert wire.hub.budget.receiving == 2 * 600 * KIB + 300 * KIB
    assert wire.dropped() == {"receiving_per_address_max": 1}


def test_receiving_of_all() -> None:
    """Above the limit of all it is the address with the most that loses a connection."""
    wire = Wire(receiving_max=2 * MIB)
    greedy = [wire.connect() for _ in range(3)]
    for far in greedy:
        wire.give(far, half())
    honest = wire.connect(OTHER)
    wire.give(honest, half())
    assert [far.end for far in (*greedy, honest)] == ["abort", "", "", ""]
    assert wire.dropped() == {"receiving_max": 1}


def test_receiving_begins_anew() -> None:
    """Who completes records has not been half-received for long, whatever follows behind them."""
    wire = Wire(answering(0), receiving_per_address_max=1 * MIB)
    busy, slow = wire.connect(), wire.connect()
    wire.give(busy, request(1)[:20])
    wire.give(slow, half())
    for xid in range(1, 10):
        wire.give(busy, request(xid)[20:] + request(xid + 1)[:20])
    wire.give(wire.connect(), half())
    assert (busy.end, slow.end) == ("", "abort")


def test_stalled_record() -> None:
    """A connection ends that leaves a record incomplete for too long; a slow one that goes on does not."""
    wire = Wire(answering(0), {"192.0.2.1"}, stalled_s=60)
    far, slow = wire.connect(), wire.connect()
    wire.give(far, half(10))
    for xid in range(70):
        wire.give(slow, request(xid) + request(xid)[:10] if not xid else request(xid - 1)[10:] + request(xid)[:10])
        wire.loop.now_s += 1
        wire.hub.sweep()
    assert (far.end, slow.end) == ("abort", "")
    assert wire.dropped() == {"stalled_s": 1}


def test_stalled_while_not_read() -> None:
    """A record that is not complete because nothing is read is not the peer's fault."""
    wire = Wire(known={"192.0.2.1"}, requests_in_flight_max=1)
    far = wire.connect()
    wire.give(far, request(1) + half(10))
    assert not far.is_reading()
    wire.loop.now_s += 1000
    wire.hub.sweep()
    connection, call = wire.calls.popleft()
    connection.reply(call.xid, [b""])
    wire.hub.sweep()
    assert far.is_reading() and far.end == ""
    wire.loop.now_s += 61
    wire.hub.sweep()
    assert far.end == "abort"


def test_stalled_replies() -> None:
    """A connection ends whose peer takes none of its replies for too long; one that takes some does not."""
    wire = Wire(answering(MIB), {"192.0.2.1"})
    stuck, slow = wire.connect(room=0), wire.connect(room=0)
    for far in (stuck, slow):
        wire.give(far, request(1))
    for _ in range(70):
        wire.loop.now_s += 1
        slow.take(100)
        wire.hub.sweep()
    assert (stuck.end, slow.end) == ("abort", "")
    assert wire.hub.budget.unsent == slow.get_write_buffer_size()


# -- idle connections -----------------------------------------------------------------------------------------


def test_idle() -> None:
    """An idle connection ends, unless it carries something or a confirmed client is at its address."""
    wire = Wire(answering(0), known={OTHER}, idle_s=60)
    idle, carrying, busy, known = wire.connect(), wire.connect(), wire.connect(), wire.connect(OTHER)
    thing = Carrying()
    carrying.protocol.carry(thing)
    for xid in range(70):
        wire.loop.now_s += 1
        wire.give(busy, request(xid))
        wire.hub.sweep()
    assert [far.end for far in (idle, carrying, busy, known)] == ["abort", "", "", ""]
    assert wire.dropped() == {"idle_s": 1}
    carrying.protocol.put_down(thing)
    wire.hub.sweep()
    assert carrying.end == "abort"


class Carrying(Carried):
    """Something that a connection carries."""

    def lost(self, connection: Connection) -> None:
        """The connection has ended."""


def test_connections_oldest_idle_one_makes_room() -> None:
    """At the limit the oldest idle connection without a session ends for a new one; busy ones and carriers stay."""
    wire = Wire(connections_max=4, known={OTHER})
    carrying, at_work, known, idle = wire.connect(), wire.connect(), wire.connect(OTHER), wire.connect()
    carrying.protocol.carry(Carrying())
    wire.give(at_work, request(1))
    wire.loop.now_s += 5
    new = wire.connect("192.0.2.50")
    assert [far.end for far in (carrying, at_work, known, idle, new)] == ["", "", "", "abort", ""]
    assert len(wire.hub) == 4
    late = wire.connect("192.0.2.51")
    assert late.end == "abort" and new.end == "", "nobody is thrown out who has just come"
    wire.loop.turns()
    assert len(wire.hub) == 4
    assert dict(wire.counters.connections_refused) == {"connections_max": 1}


def test_connections_of_an_ipv6_network() -> None:
    """Addresses of one IPv6 network of 64 bits are one address; those of another are not."""
    wire = Wire(connections_per_address_max=2)
    ends = [wire.connect(f"2001:db8::{last}").end for last in (1, 2, 3)]
    assert ends == ["", "", "abort"]
    assert wire.connect("2001:db8:0:1::1").end == ""
