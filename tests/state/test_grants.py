"""What each caller of one open was granted: kept for each, given back by all, and the same after a start."""

from __future__ import annotations

import pytest

from nfsd.config import Limits
from nfsd.state import opens
from nfsd.state.model import Client, OpenState
from nfsd.vfs.interface import Credentials
from tests.state.world import BOTH, READ, WRITE, World

ALICE, BOB, CAROL, DAVE = (Credentials(uid, uid, (uid + 1,)) for uid in (1000, 2000, 3000, 4000))


@pytest.fixture
def world() -> World:
    """A state with nothing open."""
    return World()


@pytest.fixture
def client(world: World) -> Client:
    """A client of NFSv4.1."""
    return world.client(b"client")


def opened(world: World, client: Client, caller: Credentials, access: int, granted: int | None = None) -> OpenState:
    """An open of the first file by one owner of the client; the fold of what was committed is the live state."""
    asker = world.asker(client)
    given = access if granted is None else granted
    held = opens.grant(world.state, asker, client, b"owner", world.files[0], access, 0, caller, given)
    world.commit(asker.changes)
    assert world.differences(world.follower(world.records())) == []
    return held


def granted(held: OpenState) -> dict[int, int]:
    """What each user was granted."""
    return {caller.uid: opens.granted_to(held, caller) for caller in (ALICE, BOB, CAROL, DAVE)}


def test_grant_second_caller(world: World, client: Client) -> None:
    """Who opens for reading does not come to write by another's open, nor does he take that from him."""
    opened(world, client, ALICE, WRITE)
    held = opened(world, client, BOB, READ)
    assert held.access == BOTH and granted(held) == {1000: WRITE, 2000: READ, 3000: 0, 4000: 0}


def test_grant_same_caller(world: World, client: Client) -> None:
    """What one caller was granted grows with each OPEN, by equal credentials of another connection too."""
    opened(world, client, ALICE, READ)
    held = opened(world, client, Credentials(1000, 1000, (1001,)), WRITE)
    assert granted(held)[1000] == BOTH and held.others == ()
    other_groups = Credentials(1000, 1000)
    assert opens.granted_to(held, other_groups) == 0


def test_grant_returning_caller(world: World, client: Client) -> None:
    """Who opens again after others has what he had, and more."""
    opened(world, client, ALICE, WRITE)
    opened(world, client, BOB, READ)
    held = opened(world, client, ALICE, READ)
    assert granted(held) == {1000: BOTH, 2000: READ, 3000: 0, 4000: 0}
    assert [caller.uid for caller, _access in held.others] == [2000]


def test_grant_too_many_callers(world: World, client: Client) -> None:
    """Of more callers than limits.callers_per_open_max who opened longest ago is forgotten."""
    world.state.limits = Limits(callers_per_open_max=3)
    for caller in (ALICE, BOB, CAROL):
        opened(world, client, caller, READ)
    opened(world, client, ALICE, READ)
    held = opened(world, client, DAVE, WRITE)
    assert granted(held) == {1000: READ, 2000: 0, 3000: READ, 4000: WRITE}


def test_grant_one_caller_alone(world: World, client: Client) -> None:
    """With a limit of one only the last caller is remembered."""
    world.state.limits = Limits(callers_per_open_max=1)
    opened(world, client, ALICE, WRITE)
    held = opened(world, client, BOB, READ)
    assert granted(held) == {1000: 0, 2000: READ, 3000: 0, 4000: 0}


def test_grant_nothing(world: World, client: Client) -> None:
    """A caller that was granted nothing of what it opened is not kept among the others."""
    opened(world, client, ALICE, BOTH, 0)
    held = opened(world, client, BOB, READ)
    assert granted(held) == {1000: 0, 2000: READ, 3000: 0, 4000: 0} and held.others == ()


def test_downgrade_masks_every_caller(world: World, client: Client) -> None:
    """What an open gives back nobody has any more; and a later OPEN gives it to its own caller alone."""
    opened(world, client, ALICE, READ)
    opened(world, client, BOB, WRITE)
    held = opened(world, client, CAROL, BOTH)
    asker = world.asker(client)
    opens.downgrade(world.state, asker, held, READ, 0)
    world.commit(asker.changes)
    assert granted(held) == {1000: READ, 2000: 0, 3000: READ, 4000: 0}
    assert world.differences(world.follower(world.records())) == []
    held = opened(world, client, DAVE, WRITE)
    assert granted(held) == {1000: READ, 2000: 0, 3000: READ, 4000: WRITE}
