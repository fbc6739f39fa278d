"""What is in doubt while it is brought to the disk: who has to wait for it, and when that is over."""

from __future__ import annotations

import stat

from nfsd.compound.in_doubt import InDoubt
from nfsd.vfs.interface import Node
from tests.compound.core import Core


def nodes(core: Core, count: int = 3) -> list[Node]:
    """Some objects."""
    root = core.namespace.root()
    return [Node(b"%d" % number, root.fs, stat.S_IFREG, b"") for number in range(count)]


def test_parks(core: Core) -> None:
    """Who is about to change an object in doubt waits, be it the current or the saved one; others do not."""
    one, two, other = nodes(core)
    in_doubt, gone_on = InDoubt(), []
    in_doubt.begin([one, two])
    assert (one.busy, two.busy, other.busy) == (1, 1, 0)
    assert not in_doubt.parks(other, None, lambda: gone_on.append("never"))
    assert not in_doubt.parks(None, None, lambda: gone_on.append("never"))
    assert in_doubt.parks(one, None, lambda: gone_on.append("current"))
    assert in_doubt.parks(other, two, lambda: gone_on.append("saved"))
    assert gone_on == []
    in_doubt.end([one, two])
    assert gone_on == ["current", "saved"]
    assert (one.busy, two.busy) == (0, 0) and not in_doubt.nodes
    assert not in_doubt.parks(one, two, lambda: gone_on.append("never"))


def test_counted(core: Core) -> None:
    """An object that two requests have in doubt is so until both are through; who waits asks anew each time."""
    [one] = nodes(core, 1)
    in_doubt, tries = InDoubt(), []

    def again() -> None:
        tries.append(in_doubt.parks(one, None, again))

    in_doubt.begin([one])
    in_doubt.begin([one])
    assert one.busy == 2 and in_doubt.parks(one, None, again)
    in_doubt.end([one])
    assert tries == [True] and one.busy == 1
    in_doubt.end([one])
    assert tries == [True, False]


def test_goes_on_into_doubt(core: Core) -> None:
    """Who goes on may put the object in doubt again: the next one waits behind it."""
    [one] = nodes(core, 1)
    in_doubt, order = InDoubt(), []

    def first() -> None:
        order.append("first")
        in_doubt.begin([one])

    def second() -> None:
        if not in_doubt.parks(one, None, second):
            order.append("second")

    in_doubt.begin([one])
    in_doubt.parks(one, None, first)
    in_doubt.parks(one, None, second)
    in_doubt.end([one])
    assert order == ["first"]
    in_doubt.end([one])
    assert order == ["first", "second"]


def test_close(core: Core) -> None:
    """Once the server stops, whoever waits never goes on."""
    [one] = nodes(core, 1)
    in_doubt, gone_on = InDoubt(), []
    in_doubt.begin([one])
    in_doubt.parks(one, None, lambda: gone_on.append("on"))
    in_doubt.close()
    in_doubt.end([one])
    assert gone_on == [] and one.busy == 0
