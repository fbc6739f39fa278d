"""Opens in about the order of their records in the store.

Keys are random: in any other order each record of a large store would be alone on the page that its removal writes, and
a portion would write as many pages as it has records.
"""

from __future__ import annotations

from nfsd.state.model import OpenState


class InOrder:
    """Opens by the first two bytes of their keys; all are added before the first is taken."""

    __slots__ = ("_groups", "_next", "is_complete")

    def __init__(self) -> None:
        self.is_complete = False
        self._groups: dict[int, list[OpenState]] = {}
        self._next = 0

    def __bool__(self) -> bool:
        return bool(self._groups)

    def add(self, held: OpenState) -> None:
        """Add an open."""
        assert not self.is_complete, "an open is added after the first was taken"
        self._groups.setdefault(int.from_bytes(held.key[:2], "big"), []).append(held)

    def take(self, count: int) -> list[OpenState]:
        """Take up to so many opens out; fewer than that when there are no more."""
        found: list[OpenState] = []
        while self._groups and len(found) < count:
            group = self._groups.get(self._next)
            if group:
                found.append(group.pop())
            else:
                self._groups.pop(self._next, None)
                self._next += 1
        return found
