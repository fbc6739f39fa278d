"""What may be claimed again: as far as the records go, in time, and not a bit more."""

from collections.abc import Callable
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statestore import (
    HOLDER,
    META,
    OPEN,
    RANGE,
    TO_END,
    ChangeSet,
    Claimed,
    Claims,
    Completed,
    Durations,
    Holder,
    Open,
    Range,
    Waiting,
)

BEGAN = 1000.0
IN_TIME, LATE = BEGAN + 29, BEGAN + 30
KEY, RANGE_KEY = b"k" * 16, b"k" * 16 + b"r" * 16
BEFORE = b"before-1"
HELD = [Range(b"party", 10, 20, True), Range(b"party", 20, 30, False), Range(b"party", 50, TO_END, False)]


class Usual(Durations):
    """Every object waits for 30 s."""

    def of_object(self, object: bytes) -> int | None:
        return None

    def configured(self, object: bytes, address: str) -> tuple[int, str]:
        return 30, "usual"


class Held(Open):
    """An open with range records."""

    __slots__ = ("keys",)

    def __init__(self, key: bytes, *keys: bytes) -> None:
        super().__init__(key, Holder(b"holder-1", b"identity"), b"object")
        self.keys = keys

    def range_keys(self) -> tuple[bytes, ...]:
        return self.keys


def removed(changes: ChangeSet) -> set[tuple[int, bytes]]:
    """The records that a change set removes; it does nothing else."""
    assert all(value is None for value in changes.entries.values())
    return {(stored_key[0], stored_key[1:]) for stored_key in changes.entries}


def steps(claims: Claims) -> list[Callable[[], None]]:
    """What fills the claims: a holder with an open for reading and writing that denies writing, and ranges."""
    return [
        lambda: claims.add_holder(b"identity", [(HOLDER, BEFORE), (META, b"from.before-1")]),
        lambda: claims.add_open(KEY, b"identity", BEFORE, b"object", 3, 2, "192.0.2.1"),
        lambda: claims.add_ranges(RANGE_KEY, KEY, b"party", HELD),
    ]


def filled() -> Claims:
    """The claims of that holder."""
    claims = Claims(Waiting(BEGAN, Usual()))
    for step in steps(claims):
        step()
    assert claims.settle(ChangeSet()) == []
    return claims


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_add_in_any_order(order: tuple[int, ...]) -> None:
    """Holders, opens and ranges come in any order."""
    claims, changes = Claims(Waiting(BEGAN, Usual())), ChangeSet()
    for index in order:
        steps(claims)[index]()
    assert claims.settle(changes) == [] and not changes
    assert len(claims) == 1 and claims.has_claims(b"object")
    assert list(claims.missing()) == [(b"object", BEFORE, "192.0.2.1")]
    assert claims.claim_range(KEY, b"party", 10, 30, False, IN_TIME) is Claimed.GRANTED
    assert claims.complete(b"identity", {}, changes) == Completed(0, 1)
    assert removed(changes) == {(OPEN, KEY), (RANGE, RANGE_KEY), (HOLDER, BEFORE), (META, b"from.before-1")}


def test_settle() -> None:
    """A holder without opens goes at once; ranges without their open are told."""
    claims, changes = Claims(Waiting(BEGAN, Usual())), ChangeSet()
    claims.add_holder(b"identity", [(HOLDER, BEFORE)])
    claims.add_ranges(RANGE_KEY, KEY, b"party", HELD)
    assert claims.settle(changes) == [RANGE_KEY]
    assert removed(changes) == {(HOLDER, BEFORE)}
    assert len(claims) == 0


@pytest.mark.parametrize(
    ("key", "access", "deny", "now", "expected"),
    [
        (KEY, 3, 2, IN_TIME, Claimed.GRANTED),
        (KEY, 1, 0, IN_TIME, Claimed.GRANTED),
        (KEY, 3, 3, IN_TIME, Claimed.NOT_RECORDED),
        (KEY, 7, 0, IN_TIME, Claimed.NOT_RECORDED),
        (b"unknown", 1, 0, IN_TIME, Claimed.NOT_RECORDED),
        (KEY, 3, 2, LATE, Claimed.TOO_LATE),
        (KEY, 3, 3, LATE, Claimed.TOO_LATE),
        (b"unknown", 1, 0, LATE, Claimed.NOT_RECORDED),
    ],
)
def test_claim_open(key: bytes, access: int, deny: int, now: float, expected: Claimed) -> None:
    """As much as was recorded or less, in time."""
    claims = filled()
    assert claims.claim_open(key, access, deny, now) is expected
    assert claims.claim_open(key, access, deny, now) is expected


@pytest.mark.parametrize(
    ("start", "end", "exclusive", "expected"),
    [
        (10, 20, True, Claimed.GRANTED),
        (10, 20, False, Claimed.GRANTED),
        (15, 25, False, Claimed.GRANTED),
        (15, 25, True, Claimed.NOT_RECORDED),
        (9, 20, True, Claimed.NOT_RECORDED),
        (10, 31, False, Claimed.NOT_RECORDED),
        (25, 60, False, Claimed.NOT_RECORDED),
        (60, TO_END, False, Claimed.GRANTED),
        (60, TO_END, True, Claimed.NOT_RECORDED),
        (30, 50, False, Claimed.NOT_RECORDED),
    ],
)
def test_claim_range(start: int, end: int, exclusive: bool, expected: Claimed) -> None:
    """Only bytes that the party held, and not more exclusively than it held them."""
    claims = filled()
    assert claims.claim_range(KEY, b"party", start, end, exclusive, IN_TIME) is expected
    assert claims.claim_range(KEY, b"another", start, end, exclusive, IN_TIME) is Claimed.NOT_RECORDED
    assert claims.claim_range(b"unknown", b"party", start, end, exclusive, IN_TIME) is Claimed.NOT_RECORDED
    assert claims.claim_range(KEY, b"party", start, end, exclusive, LATE) is Claimed.TOO_LATE


def test_blackout_until_all_is_claimed() -> None:
    """An object is closed to others until its holder has claimed all of it; never to the holder."""
    claims = filled()

    def closed() -> bool:
        return bool(claims.in_the_way(b"object", b"another", IN_TIME))

    assert closed() and not claims.in_the_way(b"object", b"identity", IN_TIME)
    assert not claims.in_the_way(b"object", b"another", LATE)
    assert not claims.in_the_way(b"free", b"another", IN_TIME)
    claims.claim_open(KEY, 3, 2, IN_TIME)
    assert closed()
    claims.claim_range(KEY, b"party", 10, 30, False, IN_TIME)
    assert closed()
    claims.claim_range(KEY, b"party", 50, TO_END, False, IN_TIME)
    assert not closed() and claims.has_claims(b"object")


def test_expire() -> None:
    """Nobody claims what came too late, even if its object waits for others; the records go but for what stands."""
    claims, changes = filled(), ChangeSet()
    claims.expire(b"object", {}, IN_TIME, changes)
    assert len(claims) == 1 and not changes
    claims.expire(b"object", {KEY: Held(KEY, RANGE_KEY)}, LATE, changes)
    assert len(claims) == 0 and not claims.has_claims(b"object")
    assert removed(changes) == {(HOLDER, BEFORE), (META, b"from.before-1")}
    assert claims.claim_open(KEY, 1, 0, IN_TIME) is Claimed.TOO_LATE
    assert claims.claim_range(KEY, b"party", 10, 20, True, IN_TIME) is Claimed.TOO_LATE


@pytest.mark.parametrize(
    ("opens", "expected", "gone"),
    [
        ({}, Completed(0, 1), {(OPEN, KEY), (RANGE, RANGE_KEY)}),
        ({KEY: Held(KEY)}, Completed(1, 0), {(RANGE, RANGE_KEY)}),
        ({KEY: Held(KEY, RANGE_KEY)}, Completed(1, 0), set()),
    ],
)
@pytest.mark.parametrize("way", ["complete", "end"])
def test_complete(way: str, opens: dict[bytes, Open], expected: Completed, gone: set[tuple[int, bytes]]) -> None:
    """Who claims nothing more keeps the records of what he has; the others go, and those of the holder of before."""
    claims, changes = filled(), ChangeSet()
    if way == "complete":
        assert claims.complete(b"identity", opens, changes) == expected
    else:
        assert claims.end(opens, changes) == expected
    assert removed(changes) == gone | {(HOLDER, BEFORE), (META, b"from.before-1")}
    assert len(claims) == 0
    assert claims.claim_open(KEY, 1, 0, IN_TIME) is Claimed.NOT_RECORDED


def test_give_up() -> None:
    """What was not claimed under an open that is closed goes with it."""
    claims, changes = filled(), ChangeSet()
    claims.give_up(b"unknown", changes)
    assert not changes
    claims.give_up(KEY, changes)
    assert removed(changes) == {(OPEN, KEY), (RANGE, RANGE_KEY)}
    assert len(claims) == 0


def test_private() -> None:
    """What its service has kept for itself in an open's record is there as long as the open may be claimed."""
    claims = Claims(Waiting(BEGAN, Usual()))
    claims.add_open(KEY, b"identity", BEFORE, b"object", 3, 0, private=b"private")
    assert claims.private(KEY) == b"private"
    claims.give_up(KEY, ChangeSet())
    with pytest.raises(KeyError):
        claims.private(KEY)


MASKS = st.tuples(st.integers(0, 3), st.integers(0, 3))
RANGES = st.lists(st.tuples(st.integers(0, 11), st.integers(1, 4), st.booleans()), max_size=5)


@given(MASKS, RANGES, st.lists(MASKS), RANGES)
def test_never_more_than_recorded(
    recorded: tuple[int, int],
    ranges: list[tuple[int, int, bool]],
    asked: list[tuple[int, int]],
    wanted: list[tuple[int, int, bool]],
) -> None:
    """Whatever is claimed in whatever order: it is granted exactly if the record covers each bit and each byte."""
    claims = Claims(Waiting(BEGAN, Usual()))
    claims.add_open(KEY, b"identity", BEFORE, b"object", *recorded)
    claims.add_ranges(
        RANGE_KEY, KEY, b"party", [Range(b"party", start, start + size, alone) for start, size, alone in ranges]
    )
    held: dict[int, bool] = {}
    for start, size, alone in ranges:
        held |= dict.fromkeys(range(start, start + size), alone)
    for access, deny in asked:
        fits = access | recorded[0] == recorded[0] and deny | recorded[1] == recorded[1]
        granted = claims.claim_open(KEY, access, deny, IN_TIME)
        assert granted is (Claimed.GRANTED if fits else Claimed.NOT_RECORDED)
    for start, size, alone in wanted:
        fits = all(byte in held and held[byte] >= alone for byte in range(start, start + size))
        granted = claims.claim_range(KEY, b"party", start, start + size, alone, IN_TIME)
        assert granted is (Claimed.GRANTED if fits else Claimed.NOT_RECORDED)
