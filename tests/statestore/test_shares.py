"""Shares, against a model that compares every open with every other."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statestore import Holder, Open, Shares, ShareTable

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


def compare(table: ShareTable, model: Model) -> None:
    """Ask for every conflict that there can be."""
    for object_key in OBJECTS:
        for access in range(4):
            for deny in range(4):
                for except_key in (None, *OPENS):
                    found = table.conflict(object_key, access, deny, except_key)
                    expected = conflicts(model, object_key, access, deny, except_key)
                    assert (found in expected) if expected else found is None
        assert {key: share[1:] for key, share in table.opens(object_key).items()} == {
            key: masks for (where, key), masks in model.items() if where == object_key
        }
        assert (object_key in table) == any(where == object_key for where, _ in model)
    assert len(table) == len({where for where, _ in model})


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_model(steps: list[tuple[str, bytes, bytes, int, int]]) -> None:
    """After any sequence of opens, changes and closes the table finds what comparing all would find."""
    table, model = ShareTable(), Model()
    for action, object_key, open_key, access, deny in steps:
        exists = (object_key, open_key) in model
        if action == "remove":
            if exists:
                table.remove(object_key, open_key)
                del model[object_key, open_key]
        elif exists:
            table.replace(object_key, open_key, access, deny)
            model[object_key, open_key] = (access, deny)
        else:
            # State that is loaded may conflict with itself; the table keeps what it is given.
            if action == "open" and table.conflict(object_key, access, deny) is not None:
                continue
            table.add(object_key, open_key, b"holder", access, deny)
            model[object_key, open_key] = (access, deny)
    compare(table, model)


def test_conflict_is_symmetric() -> None:
    """A reader that denies writing meets a writer, whichever came first."""
    table = ShareTable()
    table.add(b"x", b"1", b"holder", 1, 2)
    assert table.conflict(b"x", 2, 0) == b"1"
    assert table.conflict(b"x", 1, 1) == b"1"
    assert table.conflict(b"x", 1, 2) is None
    assert table.conflict(b"y", 2, 3) is None
    assert table.conflict(b"x", 2, 0, b"1") is None


def test_replace_keeps_the_holder() -> None:
    """Masks change, the holder does not."""
    table = ShareTable()
    table.add(b"x", b"1", b"holder", 3, 0)
    table.replace(b"x", b"1", 1, 2)
    assert table.conflict(b"x", 2, 0) == b"1"
    table.replace(b"x", b"1", 1, 0)
    assert table.opens(b"x") == {b"1": (b"holder", 1, 0)}
    assert table.conflict(b"x", 1, 2) is None


def test_remove_unknown() -> None:
    """Removing or changing what is not there is the caller's error."""
    table = ShareTable()
    with pytest.raises(KeyError):
        table.remove(b"x", b"1")
    with pytest.raises(KeyError):
        table.replace(b"x", b"1", 1, 0)
    assert table.opens(b"x") == {}


# -- the table that keeps the opens themselves ----------------------------------------------------------------

HOLDER: Holder[Any] = Holder(b"holder-1", b"identity")


def compare_heads(shares: Shares[Open], model: Model) -> None:
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


@settings(max_examples=150, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_shares_model(steps: list[tuple[str, bytes, bytes, int, int]]) -> None:
    """After any sequence of opens, changes and closes the opens are found that comparing all would find."""
    shares: Shares[Open] = Shares()
    heads: dict[tuple[bytes, bytes], Open] = {}
    model = Model()
    for action, object_key, open_key, access, deny in steps:
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
    compare_heads(shares, model)


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
