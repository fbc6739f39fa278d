"""Changes of a file system, each carried out exactly once over a crash (docs/failover.md).

Owns the order that all of them keep: look at what there is, make the intent durable, change; and, after a crash,
judge by what there is now whether the change has been made.  Owns change_info4 too.  Must not know single operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nfsd.ops.once import Before
from nfsd.ops.request import Request
from nfsd.vfs.interface import Node
from xdr.generated import nfs4

Taken = TypeVar("Taken")


def begun(
    c: Request, look: Callable[[], Before], taken: Callable[[Before], Taken], *, only_if_free: bool = False
) -> tuple[Before, Taken | None]:
    """What there was before a change, and what tells that it has been made already; after this it may be made.

    `look` sees what there is now.  `taken` is asked after a crash only: whether, or with what outcome, the change
    was made; a false value means that it is still to be made.  `only_if_free`: there will be no change if the name
    is taken, and so no intent.  Raises Undecidable where nobody can tell.
    """
    before = c.unfinished()
    if before is not None:
        return before, taken(before)
    before = look()
    if not (only_if_free and before.found):
        c.begin(before)
    return before, None


def change_of(node: Node) -> int:
    """The node's change attribute now."""
    fs = node.fs
    return fs.change(node, fs.stat(node))


def change_info(node: Node, before: int) -> nfs4.change_info4:
    """What an operation did to a directory's change attribute since `before` was read.

    Atomic, because the operations that use it run from the first reading to the second without
    letting any other request in (RFC 8881 3.3.6).  In recovery `before` is what another process has read.
    """
    if node.seen < before:
        node.seen = before
    return nfs4.change_info4(True, before, change_of(node))
