"""What clients and sessions may take: who makes room at a limit, who never does, and what is refused."""

from __future__ import annotations

import pytest

from nfsd.config import Limits
from nfsd.errors import Nfs4Error
from nfsd.rpc.connection import Connection
from nfsd.state import clients, sessions
from nfsd.state.model import Channel, Client, Session
from nfsd.state.tables import State
from statestore import ChangeSet
from tests.state.world import LEASE_TIME_S, NOW, World, new_state
from xdr.generated import nfs4

HERE, THERE = "192.0.2.1", "192.0.2.2"
SLOTS, CACHED = 64, 4096


def newcomer(state: State, owner: bytes, address: str = HERE, *, now: float = NOW, family: int = 1) -> Client:
    """A client that has not been confirmed yet."""
    client = Client(
        clientid=state.new_clientid(), family=family, owner=owner, verifier=bytes(8), principal=b"1:0", now=now
    )
    clients.came_from(client, f"{address}:700")
    state.clients.add_unconfirmed(client)
    return client


def confirmed(state: State, owner: bytes, address: str = HERE, *, now: float = NOW) -> Client:
    """A client that has been confirmed.  Raises Nfs4Error where there is no room."""
    client = newcomer(state, owner, address, now=now)
    clients.establish(state, ChangeSet(), client, now)
    return client


def owners(state: State) -> list[bytes]:
    """Whose clients there are, in the order of their coming."""
    return [client.owner for client in state.clients]


def refused_with(state: State, owner: bytes, address: str = HERE, *, now: float = NOW) -> int:
    """The status that one more confirmed client is refused with."""
    with pytest.raises(Nfs4Error) as refused:
        confirmed(state, owner, address, now=now)
    return refused.value.status


# -- clients ------------------------------------------------------------------------------------------------


def test_unconfirmed_of_one_address() -> None:
    """The oldest from the same address makes room; no other address's does."""
    state = new_state(limits=Limits(clients_unconfirmed_per_address_max=2))
    for owner, address in ((b"other", THERE), (b"1", HERE), (b"2", HERE), (b"3", HERE), (b"4", HERE)):
        newcomer(state, owner, address)
    assert owners(state) == [b"other", b"3", b"4"]
    assert state.clients.evicted == {"unconfirmed client": 2}
    newcomer(state, b"3")  # The same once more makes no room but its own.
    assert owners(state) == [b"other", b"4", b"3"]


def test_unconfirmed_of_all() -> None:
    """The oldest of all makes room, and never a confirmed client."""
    state = new_state(limits=Limits(clients_unconfirmed_max=2))
    confirmed(state, b"old")
    for number in range(5):
        newcomer(state, b"%d" % number, f"192.0.2.{number}")
    assert owners(state) == [b"old", b"3", b"4"]


def test_unconfirmed_updates_count() -> None:
    """What SETCLIENTID would change of a known client makes room too, and leaves that client as it was."""
    state = new_state(limits=Limits(clients_unconfirmed_per_address_max=1))
    known = confirmed(state, b"known")
    update = Client(
        clientid=known.clientid, family=1, owner=b"known", verifier=bytes(8), principal=b"1:0", now=NOW
    )  # fmt: skip
    clients.came_from(update, f"{HERE}:700")
    state.clients.add_update(update)
    assert state.clients.counts() == (1, 1)
    newcomer(state, b"another")
    assert state.clients.update_of(known.clientid) is None
    assert owners(state) == [b"known", b"another"]


@pytest.mark.parametrize("limits", [Limits(clients_max=2), Limits(clients_per_address_max=2)])
def test_confirmed_clients_that_live(limits: Limits) -> None:
    """While all leases live there is no room, at whatever time is asked; an instance that comes back needs none."""
    state = new_state(limits=limits)
    first, _second = confirmed(state, b"1"), confirmed(state, b"2")
    assert refused_with(state, b"3") == nfs4.NFS4ERR_DELAY
    first.heard = NOW + 80
    assert refused_with(state, b"3", now=NOW + 90) == nfs4.NFS4ERR_DELAY
    confirmed(state, b"2", now=NOW + 90)
    assert refused_with(state, b"3", now=NOW + 95) == nfs4.NFS4ERR_DELAY
    assert not state.clients.evicted


@pytest.mark.parametrize("limits", [Limits(clients_max=3), Limits(clients_per_address_max=3)])
def test_confirmed_clients_make_room(limits: Limits) -> None:
    """One goes whose lease has run out: one without opens first, then who was silent longest."""
    world = World(limits=limits)
    state = world.state
    late = NOW + LEASE_TIME_S + 10
    silent, holder, idle = (confirmed(state, owner) for owner in (b"silent", b"holder", b"idle"))
    for client in (silent, holder):
        world.open(client, b"owner", world.files[0])
    for client, heard in ((silent, NOW), (holder, NOW + 1), (idle, NOW + 2)):
        client.heard = heard
    gone: list[bytes] = []
    for number in range(3):
        before = set(owners(state))
        confirmed(state, b"new %d" % number, now=late)
        gone += before - set(owners(state))
    assert gone == [b"idle", b"silent", b"holder"]
    assert refused_with(state, b"one too many", now=late) == nfs4.NFS4ERR_DELAY
    assert state.clients.evicted == {"client": 3} and not state.filter.opens


def test_room_of_one_address_is_its_own() -> None:
    """An address that has all the clients it may have takes nobody else's room."""
    state = new_state(limits=Limits(clients_per_address_max=1))
    confirmed(state, b"here")
    assert refused_with(state, b"here too") == nfs4.NFS4ERR_DELAY
    there = confirmed(state, b"there", THERE)
    clients.move(state, ChangeSet(), there, "192.0.2.3:700")
    confirmed(state, b"there again", THERE)
    assert {address: len(near) for address, near in state.clients.of_address.items()} == {
        HERE: 1, THERE: 1, "192.0.2.3": 1,
    }  # fmt: skip


# -- sessions -----------------------------------------------------------------------------------------------


def begun(state: State, client: Client, heard: float = NOW, *, wanted: int = SLOTS) -> Session:
    """One more session of a client, with what slots it gets.  Raises Nfs4Error where there is no room."""
    slots = sessions.slots_for(state, client, wanted, CACHED)
    channel = Channel(
        request_size_max=1000, reply_size_max=8192, reply_cached_max=CACHED, operations_max=8, slots=slots
    )  # fmt: skip
    sessions.make_room(state, ChangeSet(), client)
    session = Session(
        sessions.new_sessionid(state, client), client, flags=0, callback_program=0, fore=channel, back=channel
    )
    session.heard = heard
    sessions.add_session(state, session)
    return session


def test_idle_session_makes_room() -> None:
    """The one goes that was unused longest; one with a connection or a running request stays."""
    state = new_state(limits=Limits(sessions_per_client_max=4))
    client = confirmed(state, b"client")
    carried, running, older, newer = (begun(state, client, NOW + number) for number in (0, 1, 2, 3))
    connection = Connection(1, HERE, 700)
    carried.join(connection)
    running.slot(0).running = object()
    begun(state, client, NOW + 9).join(connection)
    assert [older.destroyed, newer.destroyed] == [True, False]
    begun(state, client, NOW + 9).join(connection)
    assert newer.destroyed
    with pytest.raises(Nfs4Error) as refused:
        begun(state, client)
    assert refused.value.status == nfs4.NFS4ERR_NOSPC
    assert {carried, running} <= set(client.sessions.values())
    assert state.clients.evicted == {"session": 2}


def granted(state: State, *, one_address: bool, each: int = 1) -> tuple[list[int], int]:
    """Slots of one session after another, `each` of one client, until one is refused; and that refusal."""
    found: list[int] = []
    client = confirmed(state, b"0")
    while True:
        try:
            found.append(len(begun(state, client).slots))
        except Nfs4Error as refused:
            return found, refused.status
        if not len(found) % each:
            address = HERE if one_address else f"192.0.{len(found) >> 8}.{len(found) & 255}"
            client = confirmed(state, b"%d" % len(found), address)


def test_slots_of_one_address() -> None:
    """As docs/limits.md says: 98 clients of one address get all slots that they ask for, 758 get any."""
    slots, refusal = granted(new_state(), one_address=True)
    assert refusal == nfs4.NFS4ERR_DELAY
    assert slots == sorted(slots, reverse=True)
    assert (slots.count(SLOTS), len(slots), slots[-1]) == (98, 758, 1)


def test_slots_of_all_addresses() -> None:
    """Of many addresses, in a budget of a hundredth of the default: the first ones get more, all get some."""
    state = new_state(limits=Limits(reply_cache_size_max=20 << 20))
    slots, refusal = granted(state, one_address=False)
    assert refusal == nfs4.NFS4ERR_DELAY
    assert len(slots) > 1000 and slots[-1] == 1
    assert state.reply_cache_size <= 20 << 20


def test_slots_of_one_client() -> None:
    """A client whose own sessions keep too much is told so: NOSPC; another one has its room."""
    limits = Limits(sessions_per_client_max=4096, reply_cache_per_client_size_max=1 << 20)
    state = new_state(limits=limits)
    slots, refusal = granted(state, one_address=True, each=1 << 20)
    assert refusal == nfs4.NFS4ERR_NOSPC
    assert slots[0] > slots[-1] == 1
    assert len(begun(state, confirmed(state, b"another")).slots) == slots[0]


def test_reply_cache_is_counted_alike() -> None:
    """What sessions may keep is the same before and after a start, and nothing when they have gone."""
    world = World()
    client, other = world.client(b"client"), world.client(b"other", address=THERE)
    for each in (client, client, other):
        world.session(each)
    fold = world.follower(world.records())
    assert fold.state.reply_cache_size == world.state.reply_cache_size > 0
    assert [each.reply_cache_size for each in fold.state.clients] == [each.reply_cache_size for each in (client, other)]
    assert list(fold.state.clients.of_address) == [HERE, THERE]
    for each in (client, other):
        clients.remove_client(world.state, ChangeSet(), each)
    assert world.state.reply_cache_size == 0
    assert not world.state.clients.of_address


def test_addresses_are_folded_in_any_order() -> None:
    """A client that comes back from elsewhere leaves no trace of where it was, in whatever order its records come."""
    world = World()
    world.client(b"client", address=HERE)
    world.client(b"client", verifier=b"boot two", address=THERE)
    first, second = world.steps
    for entries in ([*first, *second], [*first, *reversed(second)], [*reversed(first), *reversed(second)]):
        fold = world.follower(entries)
        assert {address: len(near) for address, near in fold.state.clients.of_address.items()} == {THERE: 1}


def test_opens_of_one_client() -> None:
    """A client with as many opens as it may have opens no more; another one does."""
    world = World(limits=Limits(opens_per_client_max=2))
    client, other = world.client(b"client"), world.client(b"other")
    world.open(client, b"owner", world.files[0])
    world.open(client, b"owner", world.files[1])
    world.open(client, b"owner", world.files[1])  # The same open once more.
    with pytest.raises(Nfs4Error) as refused:
        world.open(client, b"owner", world.files[2])
    assert refused.value.status == nfs4.NFS4ERR_DELAY
    world.open(other, b"owner", world.files[2])


def test_moved_to_no_address() -> None:
    """A client whose address is not known is pinned to the first one, without a word."""
    world = World()
    client = world.client(b"client")
    world.state.clients.readdress(client, "")
    changes = ChangeSet()
    clients.move(world.state, changes, client, f"{THERE}:1")
    assert (client.address, client.peer, len(changes)) == (THERE, f"{THERE}:1", 1)
