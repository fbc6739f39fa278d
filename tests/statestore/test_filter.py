"""The filter's verdicts: what is free, refused, or to be asked again, and what is counted for it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore import (
    HOLDER,
    OPEN,
    PENDING,
    TO_END,
    Answer,
    Blackout,
    ChangeSet,
    Claimed,
    Claims,
    Completed,
    Durations,
    Filter,
    Holder,
    Open,
    Range,
    Subject,
    Waiting,
    Why,
)

# As many as the profile says, fewer for `make quick`.
EXAMPLES = settings.default.max_examples if settings.default is not None else 100

BEGAN = 1000.0
# The object b"own" waits for 5 s, holders from b"far" are waited for 60 s.
IN_TIME, OVER = BEGAN + 29, BEGAN + 30
READ, WRITE, BOTH = 1, 2, 3
AnyFilter = Filter[Holder[Any], Open]


class Some(Durations):
    """5 s for one object, 60 s for one address, 30 s for all others."""

    def of_object(self, object: bytes) -> int | None:
        return 5 if object == b"own" else None

    def configured(self, object: bytes, address: str) -> tuple[int, str]:
        return (60, "address") if address == "far" else (30, "usual")


def with_open(*, heard: float = 0.0, waits: bool = True, retry: bool = True, address: str = "") -> AnyFilter:
    """A filter whose one holder has b"object" open for writing, denying it to others, with bytes 10 to 19 locked."""
    found: AnyFilter = Filter(BEGAN)
    holder: Holder[Any] = Holder(b"holder-1", b"identity", address, heard)
    found.add_holder(holder)
    found.add_open(Open(b"open-1", holder, b"object", WRITE, WRITE))
    found.range_set(b"object").set(b"holder-1party", 10, 20, True)
    if waits:
        assert found.begin_waiting(Waiting(BEGAN, Some(), retry=retry))
    return found


TABLE = [
    # heard, waits, retry, address, now -> answer, until
    (0.0, False, True, "", IN_TIME, Answer.REFUSED, 0.0),
    (0.0, True, True, "", IN_TIME, Answer.WAIT, OVER),
    (BEGAN, True, True, "", IN_TIME, Answer.WAIT, OVER),
    (BEGAN + 1, True, True, "", IN_TIME, Answer.REFUSED, 0.0),
    (0.0, True, True, "", OVER, Answer.REFUSED, 0.0),
    (0.0, True, True, "far", OVER, Answer.WAIT, BEGAN + 60),
    (0.0, True, False, "", IN_TIME, Answer.REFUSED, OVER),
    (0.0, True, False, "", OVER, Answer.REFUSED, 0.0),
    (BEGAN + 1, True, False, "", IN_TIME, Answer.REFUSED, 0.0),
]
COLUMNS = ("heard", "waits", "retry", "address", "now", "answer", "until")


@pytest.mark.parametrize(COLUMNS, TABLE)
@pytest.mark.parametrize("question", ["share", "range"])
def test_conflict(
    question: str, heard: float, waits: bool, retry: bool, address: str, now: float, answer: Answer, until: float
) -> None:
    """WAIT only while the object waits for a holder that has not been heard of; counted whenever that has a part."""
    found = with_open(heard=heard, waits=waits, retry=retry, address=address)
    if question == "share":
        verdict = found.share_verdict(b"object", WRITE, 0, now)
        assert verdict is not None and verdict.why is Why.SHARE
        assert verdict.open is found.opens[b"open-1"] and verdict.range is None
    else:
        verdict = found.range_verdict(b"object", b"holder-2party", 0, 11, False, now)
        assert verdict is not None and verdict.why is Why.RANGE
        assert verdict.range == Range(b"holder-1party", 10, 20, True) and verdict.open is None
    assert verdict.object == b"object" and verdict.holder is found.holders[b"holder-1"]
    assert (verdict.answer, verdict.until) == (answer, until)
    assert verdict.waits_for == ((b"holder-1",) if until else ())
    assert found.refusals == (1 if until else 0)
    if found.waiting is not None:
        assert found.waiting.refusals[b"object"] == found.refusals
    found.withdraw(verdict)
    assert found.refusals == 0
    assert found.waiting is None or found.waiting.refusals.total() == 0


def test_free() -> None:
    """What meets nobody's masks and bytes is free, and nothing is counted."""
    found = with_open()
    assert found.share_verdict(b"object", READ, 0, IN_TIME) is None
    assert found.share_verdict(b"other", BOTH, BOTH, IN_TIME) is None
    assert found.share_verdict(b"object", WRITE, WRITE, IN_TIME, b"open-1") is None
    assert found.range_verdict(b"object", b"holder-2party", 20, TO_END, True, IN_TIME) is None
    assert found.range_verdict(b"object", b"holder-1party", 0, TO_END, True, IN_TIME) is None
    assert found.range_verdict(b"other", b"holder-2party", 0, TO_END, True, IN_TIME) is None
    assert found.claim_verdict(b"object", b"another", IN_TIME) is None
    assert found.blackout_verdict(b"object", b"tree", b"identity", "far", IN_TIME) is None
    assert found.refusals == 0


def test_object_that_says_itself() -> None:
    """An object's own word counts before what is configured."""
    found = with_open()
    holder = found.holders[b"holder-1"]
    found.add_open(Open(b"open-2", holder, b"own", WRITE, WRITE))
    waits = found.share_verdict(b"own", WRITE, 0, BEGAN + 4)
    assert waits is not None and (waits.answer, waits.until) == (Answer.WAIT, BEGAN + 5)
    over = found.share_verdict(b"own", WRITE, 0, BEGAN + 5)
    assert over is not None and over.answer is Answer.REFUSED


def test_range_of_an_unknown_holder() -> None:
    """A range whose holder is not known stands."""
    found = with_open()
    found.range_set(b"object").set(b"ghost---party", 50, 60, True)
    verdict = found.range_verdict(b"object", b"holder-2party", 50, 51, False, IN_TIME)
    assert verdict is not None and verdict.holder is None
    assert (verdict.answer, verdict.waits_for, found.refusals) == (Answer.REFUSED, (), 0)


@pytest.mark.parametrize("retry", [True, False])
def test_blackout_verdict(retry: bool) -> None:
    """A blackout that somebody has set answers as it says, in its time, and is counted by itself and in all."""
    found: AnyFilter = Filter(BEGAN)
    blackout = Blackout(Subject.TREE, b"tree", "a tree", key=b"b.tree", until=IN_TIME, retry=retry)
    found.blackouts.adopt(blackout)
    verdict = found.blackout_verdict(b"object", b"tree", None, "", BEGAN)
    assert verdict is not None and verdict.blackout is blackout
    assert verdict.answer is (Answer.WAIT if retry else Answer.REFUSED)
    assert (verdict.why, verdict.until) == (Why.BLACKOUT, IN_TIME)
    assert (blackout.refusals, found.refusals) == (1, 1)
    assert found.blackout_verdict(b"object", b"tree", None, "", IN_TIME) is None
    assert found.blackout_verdict(b"object", b"wood", None, "", BEGAN) is None
    assert found.refusals == 1
    found.withdraw(verdict)
    assert (blackout.refusals, found.refusals) == (0, 0)


def claiming() -> AnyFilter:
    """A filter after a start that lets two holders claim a nameless object."""
    found: AnyFilter = Filter(BEGAN)
    claims = found.claims = Claims(Waiting(BEGAN, Some()))
    for number in (b"1", b"2"):
        claims.add_holder(b"identity" + number, [(HOLDER, b"before-" + number)])
        address = "far" if number == b"2" else ""
        claims.add_open(b"open-" + number, b"identity" + number, b"before-" + number, b"object", READ, 0, address)
    claims.settle(ChangeSet())
    found.pending.add(b"object")
    assert found.begin_waiting(claims.waiting)
    return found


def test_claim_verdict() -> None:
    """Who may claim nothing waits for all who may; who may waits for the others."""
    found = claiming()
    assert found.is_held(b"object") and not found.is_held(b"other")
    verdict = found.claim_verdict(b"object", b"stranger", IN_TIME)
    assert verdict is not None
    assert (verdict.answer, verdict.why, verdict.until) == (Answer.WAIT, Why.CLAIM, BEGAN + 60)
    assert verdict.waits_for == (b"before-1", b"before-2")
    other = found.claim_verdict(b"object", b"identity2", IN_TIME)
    assert other is not None and (other.until, other.waits_for) == (OVER, (b"before-1",))
    assert found.refusals == 2 and found.waiting is not None and found.waiting.refusals[b"object"] == 2
    assert found.claim_verdict(b"other", b"stranger", IN_TIME) is None
    assert found.claim_verdict(b"object", b"identity2", OVER) is None
    assert found.claim_verdict(b"object", b"stranger", BEGAN + 60) is None


def test_nameless_object_lives_by_claims() -> None:
    """An object without a name is kept until its last open has gone and nobody can claim it any more."""
    found, changes = claiming(), ChangeSet()
    assert found.claims is not None
    assert found.claims.claim_open(b"open-1", READ, 0, IN_TIME) is Claimed.GRANTED
    held = Open(b"open-1", Holder(b"holder-1", b"identity1"), b"object", READ, 0)
    found.add_open(held)
    assert found.complete_claims(b"identity1", changes) == Completed(1, 0)
    found.remove_open(held, changes)
    assert found.pending == {b"object"} and not found.forsaken, "the other holder may still claim it"
    found.expire_claims(b"object", OVER, changes)
    assert found.pending == {b"object"}
    found.expire_claims(b"object", BEGAN + 60, changes)
    assert found.pending == set() and found.forsaken == {b"object"}
    removed = {stored_key for stored_key, value in changes.entries.items() if value is None}
    assert bytes((PENDING,)) + b"object" in removed and bytes((OPEN,)) + b"open-1" in removed


def test_end_claims() -> None:
    """When nothing can be claimed any more, what nobody has is forsaken."""
    found, changes = claiming(), ChangeSet()
    assert found.end_claims(changes) == Completed(0, 2)
    assert found.claims is None and found.forsaken == {b"object"} and not found.is_held(b"object")
    assert found.end_claims(changes) == found.complete_claims(b"identity1", changes) == Completed(0, 0)
    waiting = found.end_waiting()
    assert waiting is not None and found.waiting is None and found.end_waiting() is None


def test_close_gives_up_claims() -> None:
    """Who closes what he has claimed cannot claim it once more."""
    found, changes = claiming(), ChangeSet()
    held = Open(b"open-1", Holder(b"holder-1", b"identity1"), b"object", READ, 0)
    found.add_open(held)
    found.remove_open(held, changes)
    assert found.claims is not None
    assert found.claims.claim_open(b"open-1", READ, 0, IN_TIME) is Claimed.NOT_RECORDED


def test_last_open_takes_everything_along() -> None:
    """With an object's last open go its ranges, and the object itself if it has no name."""
    found, changes = with_open(), ChangeSet()
    held = found.opens[b"open-1"]
    second = Open(b"open-2", held.holder, b"object", READ, 0)
    found.add_open(second)
    found.keep_pending(b"object", changes)
    ranges = found.range_set(b"object")
    found.remove_open(held, changes)
    assert found.range_set(b"object") is ranges and found.pending == {b"object"}
    assert held.holder.opens == {b"open-2": second} == found.opens
    found.remove_open(second, changes)
    assert not found.opens and not held.holder.opens and not found.ranges and len(found.shares) == 0
    assert found.pending == set() and found.forsaken == {b"object"}
    found.remove_holder(held.holder)
    assert not found.holders


def test_begin_waiting_for_nobody() -> None:
    """A start that has found nothing waits for nobody."""
    found: AnyFilter = Filter(BEGAN)
    assert not found.begin_waiting(Waiting(BEGAN, Some())) and found.waiting is None


def test_missing() -> None:
    """What holders have who have not been heard of, and after a start without resumption what may be claimed."""
    found = with_open(address="far")
    assert list(found.missing()) == [(b"object", b"holder-1", "far")]
    found.holders[b"holder-1"].heard = BEGAN + 1
    assert list(found.missing()) == [] and found.has_returned(found.holders[b"holder-1"])
    assert sorted(claiming().missing()) == [(b"object", b"before-1", ""), (b"object", b"before-2", "far")]


def test_sweep() -> None:
    """A start's blackout is over when all have come back, or every object has waited long enough."""
    found, changes = with_open(), ChangeSet()
    assert found.sweep(BEGAN, changes) is None
    assert found.sweep(IN_TIME, changes) is None
    found.holders[b"holder-1"].heard = IN_TIME
    assert found.sweep(IN_TIME, changes) == "returned"
    found = with_open()
    assert found.sweep(OVER, changes) == "time"
    found.end_waiting()
    assert found.sweep(OVER, changes) is None
    assert not changes


def test_sweep_expires_claims() -> None:
    """Claims that nobody made go when the time of their object is over."""
    found, changes = claiming(), ChangeSet()
    assert found.sweep(BEGAN + 2, changes) is None
    assert found.sweep(OVER, changes) is None
    assert found.claims is not None and len(found.claims) == 1
    assert found.sweep(BEGAN + 60, changes) == "time"
    assert len(found.claims) == 0 and found.forsaken == {b"object"}


# -- never two that conflict ------------------------------------------------------------------------------------

STEP = st.tuples(
    st.sampled_from(["open", "change", "close", "take", "give"]),
    st.integers(0, 3),
    st.sampled_from([b"x", b"y"]),
    st.integers(0, 3),
    st.integers(0, 3),
    st.booleans(),
)


@settings(max_examples=2 * EXAMPLES, deadline=None)
@given(st.lists(STEP, max_size=30))
def test_never_two_that_conflict(steps: list[tuple[str, int, bytes, int, int, bool]]) -> None:
    """Whoever asks first and acts on None: no two opens and no two ranges that stand ever conflict."""
    found: AnyFilter = Filter(BEGAN)
    holders: list[Holder[Any]] = [Holder(b"holder-%d" % number, b"identity") for number in range(4)]
    for holder in holders:
        found.add_holder(holder)
    for action, who, object, first, second, exclusive in steps:
        holder, key = holders[who], b"%d" % who + object
        held = found.opens.get(key)
        if action == "open" and held is None:
            if found.share_verdict(object, first, second, BEGAN) is None:
                found.add_open(Open(key, holder, object, first, second))
        elif action == "change" and held is not None:
            if found.share_verdict(object, first, second, BEGAN, key) is None:
                found.change_open(held, first, second)
        elif action == "close" and held is not None:
            if object in found.ranges:
                found.ranges[object].clear_owner(holder.key)
            found.remove_open(held, ChangeSet())
        elif action == "take" and held is not None:
            if found.range_verdict(object, holder.key, first, first + second + 1, exclusive, BEGAN) is None:
                found.range_set(object).set(holder.key, first, first + second + 1, exclusive)
        elif action == "give" and object in found.ranges:
            found.ranges[object].clear(holder.key, first, first + second + 1)
        check(found)


def check(found: AnyFilter) -> None:
    """Compare each with each; what does not stand is in no index."""
    opens = list(found.opens.values())
    for one in opens:
        assert one.holder.opens[one.key] is one and found.shares.opens(one.object)[one.key] is one
        for other in opens:
            if one is not other and one.object == other.object:
                assert not (one.access & other.deny or one.deny & other.access)
    assert sum(len(found.shares.opens(object)) for object in (b"x", b"y")) == len(opens)
    assert set(found.ranges) <= {held.object for held in opens}
    for ranges in found.ranges.values():
        for mine in ranges:
            for yours in ranges:
                overlap = mine.owner != yours.owner and mine.start < yours.end and yours.start < mine.end
                assert not (overlap and (mine.exclusive or yours.exclusive))
