"""Blackouts that somebody has set: which one covers what, and until when."""

import pytest

from statestore import BLACKOUTS_MAX, META, Blackout, Blackouts, ChangeSet, Subject

NOW = 1000.0


def blackout(subject: Subject, target: bytes, *, until: float = NOW + 10, address: str = "") -> Blackout:
    """A blackout that asks to come again."""
    return Blackout(
        subject, target, target.decode(), key=b"b." + target, until=until, retry=True, address=address
    )  # fmt: skip


def standing(*given: Blackout) -> Blackouts:
    """Those blackouts, as a store has had them."""
    found = Blackouts()
    for each in given:
        found.adopt(each)
    return found


OBJECT = blackout(Subject.OBJECT, b"object")
TREE = blackout(Subject.TREE, b"tree")
WHO = blackout(Subject.HOLDER, b"who", address="192.0.2.1")


@pytest.mark.parametrize(
    ("object", "tree", "identity", "address", "expected"),
    [
        (b"object", b"tree", b"who", "", OBJECT),
        (b"object", None, None, "", OBJECT),
        (b"other", b"tree", b"who", "", TREE),
        (b"other", b"trees", b"who", "", WHO),
        (b"other", None, b"who", "", WHO),
        (b"other", None, b"else", "192.0.2.1", None),
        (b"other", None, None, "192.0.2.1", WHO),
        (b"other", None, None, "192.0.2.2", None),
        (b"other", None, None, "", None),
        (b"tree", b"object", b"object", "who", None),
    ],
)
def test_find(
    object: bytes, tree: bytes | None, identity: bytes | None, address: str, expected: Blackout | None
) -> None:
    """The narrowest that covers a request; the address counts only where no holder is named."""
    assert standing(OBJECT, TREE, WHO).find(object, tree, identity, address, NOW) is expected


def test_find_in_its_time() -> None:
    """A blackout whose time is over covers nothing, and hides no other one."""
    over = blackout(Subject.OBJECT, b"object", until=NOW)
    assert standing(over).find(b"object", b"tree", None, "", NOW) is None
    assert standing(over).find(b"object", b"tree", None, "", NOW - 1) is over
    assert standing(over, TREE).find(b"object", b"tree", None, "", NOW) is TREE


def test_begin_and_end() -> None:
    """A blackout and its record come and go together."""
    found, changes = Blackouts(), ChangeSet()
    found.begin(OBJECT, b"value", changes)
    assert found.standing == {(Subject.OBJECT, b"object"): OBJECT}
    [(stored_key, stored_value)] = changes.entries.items()
    assert stored_key == bytes((META,)) + b"b.object"
    assert stored_value is not None and stored_value.endswith(b"value")
    found.end(OBJECT, changes)
    assert found.standing == {} and list(changes.entries.values()) == [None]
    with pytest.raises(KeyError):
        found.end(OBJECT, changes)


def test_begin_in_place_of_another() -> None:
    """A second blackout of a target takes the first one's place, and its record with it."""
    found, changes = standing(OBJECT), ChangeSet()
    later = Blackout(Subject.OBJECT, b"object", "object", key=b"other", until=NOW + 99, retry=False)
    found.begin(later, b"value", changes)
    assert list(found.standing.values()) == [later]
    prefix = bytes((META,))
    assert changes.entries[prefix + b"b.object"] is None and changes.entries[prefix + b"other"] is not None


def test_begin_above_the_limit() -> None:
    """There is a limit, which a blackout in place of another does not meet."""
    found, changes = Blackouts(), ChangeSet()
    for number in range(BLACKOUTS_MAX):
        found.adopt(blackout(Subject.OBJECT, b"%d" % number))
    with pytest.raises(ValueError, match="lift some"):
        found.begin(TREE, b"", changes)
    assert not changes and len(found.standing) == BLACKOUTS_MAX
    found.begin(blackout(Subject.OBJECT, b"7"), b"", changes)


def test_reap() -> None:
    """Those whose time is over go, with their records."""
    over = blackout(Subject.OBJECT, b"over", until=NOW)
    found, changes = standing(over, TREE), ChangeSet()
    assert found.reap(NOW, changes) == [over]
    assert list(found.standing.values()) == [TREE]
    assert changes.entries == {bytes((META,)) + b"b.over": None}
    assert found.reap(NOW, changes) == []
