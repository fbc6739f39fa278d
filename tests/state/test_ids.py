"""Clientids: never the same, and no help in guessing the next one."""

from __future__ import annotations

from nfsd.state.ids import Clientids

SECRET = bytes(range(32))
COUNT = 2000


def first(epoch: int, count: int = COUNT, secret: bytes = SECRET) -> list[int]:
    """The first clientids of an epoch."""
    source = Clientids(epoch, secret)
    return [source.next(()) for _ in range(count)]


def test_clientids_are_unique_over_epochs() -> None:
    """No epoch hands out another's, nor one twice."""
    found = [clientid for epoch in (1, 2, 3, 0xFFFFFFFF) for clientid in first(epoch)]
    assert len(set(found)) == 4 * COUNT
    assert all(0 < clientid < 1 << 64 for clientid in found)


def test_clientids_tell_nothing_of_each_other() -> None:
    """Of two that follow each other about half the bits differ, in every place; another secret gives other ones."""
    found = first(7)
    differing = [one ^ other for one, other in zip(found, found[1:], strict=False)]
    for bit in range(64):
        share = sum(difference >> bit & 1 for difference in differing) / len(differing)
        assert 0.4 < share < 0.6, (bit, share)
    assert not set(found) & set(first(7, secret=bytes(32)))


def test_clientids_in_use_are_left_out() -> None:
    """What a client of an older store has is not given again."""
    one, two, three = first(1, 3)
    source = Clientids(1, SECRET)
    assert [source.next({one, three}), source.next({one, three})] == [two, first(1, 4)[3]]
