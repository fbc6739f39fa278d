"""Changes of a file system, each carried out exactly once over a crash (docs/failover.md).

Owns the order that all of them keep: look at what there is, make the intent durable, change; and, after a crash,
judge by what there is now whether the change has been made.  Must not know single operations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from nfsd.ops.once import Before
from nfsd.ops.request import Request

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
