"""Shares, against a model that compares every open with every other."""

from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore import Holder, Open, Shares, shares
from tests.support.steps import steps

OBJECTS = (b"x", b"y")
OPENS = (b"1", b"2", b"3", b"4")
MASK = st.integers(0, 3)
STEP = st.tuples(
    st.sampled_from(["open", "force", "remove"]),
    st.sampled_from(OBJECTS),
    st.sampled_from(OPENS),
    MASK,
    MASK,
)

Model = dict[tuple[bytes, bytes], tuple[int, int]]


def conflicts(model: Model, object_key: bytes, access: int, deny: int, except_key: bytes | None) -> set[bytes]:
    return {
        open_key
        for (where, open_key), (open_access, open_deny) in model.items()
        if where == object_key and open_key != except_key and (access & open_deny or deny & open_access)
    }


HOLDER: Holder[Any] = Holder(b"holder-1", b"identity")


def compare(shares: Shares[Open], model: Model) -> None:
    """Ask for every conflict that there can be."""
    for object_key in OBJECTS:
        for access in range(4):
            for deny in range(4):
                for except_key in (None, *OPENS):
                    found = shares.conflict(object_key, access, deny, except_key)
                    expected = conflicts(model, object_key, access, deny, except_key)
                    assert (found is not None and found.key in expected) if expected else found is None
        assert {key: (held.access, held.deny) for key, held in shares.opens(object_key).items()} == {
            key: masks for (where, key), masks in model.items() if where == object_key
        }
        assert (object_key in shares) == any(where == object_key for where, _ in model)
    assert len(shares) == len({where for where, _ in model})


Step = tuple[str, bytes, bytes, int, int]


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_model(requests: list[Step]) -> None:
    """After any sequence of opens, changes and closes the opens are found that comparing all would find."""
    compare_with_model(requests)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_model_sorted(requests: list[Step]) -> None:
    """Opens that are sorted by their masks are found as comparing all would find them."""
    with mock.patch.object(shares, "SORTED_ABOVE", 1):
        compare_with_model(requests)


def compare_with_model(requests: list[Step]) -> None:
    """Carry out the requests on shares and on the model, and compare them."""
    shares: Shares[Open] = Shares()
    heads: dict[tuple[bytes, bytes], Open] = {}
    model = Model()
    for action, object_key, open_key, access, deny in requests:
        held = heads.get((object_key, open_key))
        if action == "remove":
            if held is not None:
                shares.remove(held)
                del model[object_key, open_key], heads[object_key, open_key]
        elif held is not None:
            shares.change(held, access, deny)
            model[object_key, open_key] = (access, deny)
        else:
            if action == "open" and shares.conflict(object_key, access, deny) is not None:
                continue
            held = heads[object_key, open_key] = Open(open_key, HOLDER, object_key, access, deny)
            shares.add(held)
            model[object_key, open_key] = (access, deny)
    compare(shares, model)


def test_conflict_is_symmetric() -> None:
    """A reader that denies writing meets a writer, whichever came first."""
    shares: Shares[Open] = Shares()
    held = Open(b"1", HOLDER, b"x", 1, 2)
    shares.add(held)
    assert shares.conflict(b"x", 2, 0) is held
    assert shares.conflict(b"x", 1, 1) is held
    assert shares.conflict(b"x", 1, 2) is None
    assert shares.conflict(b"y", 2, 3) is None
    assert shares.conflict(b"x", 2, 0, b"1") is None


def test_shares_know_their_opens() -> None:
    """An open is added once, and changed or removed only while it is there."""
    shares: Shares[Open] = Shares()
    held, twin = Open(b"1", HOLDER, b"x", 1, 2), Open(b"1", HOLDER, b"x", 1, 2)
    with pytest.raises(KeyError):
        shares.remove(held)
    with pytest.raises(KeyError):
        shares.change(held, 1, 0)
    shares.add(held)
    assert shares.conflict(b"x", 2, 0) is held
    with pytest.raises(AssertionError):
        shares.add(twin)
    with pytest.raises(AssertionError):
        shares.change(twin, 1, 0)
    shares.remove(held)
    assert shares.opens(b"x") == {}


def test_cost_in_a_crowd() -> None:
    """One open that is in the way is found among any number that are not, and so is that there is none any more."""
    costs = []
    for count in (1_000, 10_000):
        found: Shares[Open] = Shares()
        for number in range(count):
            found.add(Open(b"%d" % number, HOLDER, b"x", 1, 0))
        last = Open(b"last", HOLDER, b"x", 2, 1)
        found.add(last)

        def work(found: Shares[Open] = found, last: Open = last) -> None:
            assert found.conflict(b"x", 0, 2) is last
            assert found.conflict(b"x", 1, 0) is last
            assert found.conflict(b"x", 1, 0, b"last") is None
            found.change(last, 2, 2)
            assert found.conflict(b"x", 1, 0) is None
            found.remove(last)
            assert found.conflict(b"x", 2, 2) is None

        costs.append(steps(work))
    assert costs[1] == costs[0], costs
