"""Whose requests are taken when: those of one origin hold the event loop for a slice at a time.

Owns the slices, and the connections that wait for the next turn of the loop.  Must not know records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from nfsd.rpc.budget import Member, Origin


class Turns:
    """The slices of one event loop: `slice_s` seconds of work for each origin in each turn.

    What an origin has had is forgotten when it waits for its turn, and once it has used no more than half of the time.
    """

    def __init__(
        self, slice_s: float, clock: Callable[[], float], call_soon: Callable[[Callable[[], None]], Any]
    ) -> None:
        """`clock` gives seconds; `call_soon` has something called in the loop's next turn."""
        self.slice_s = slice_s
        self.clock = clock
        self.deferrals = 0
        """How often a connection had to wait for another turn."""
        self._call_soon = call_soon
        self._waiting: dict[Origin, deque[Member]] = {}

    def defer(self, member: Member) -> None:
        """Have `member.take_turn()` called when it is its turn, behind the others of its origin that wait."""
        if not self._waiting:
            self._call_soon(self._next)
        self.deferrals += 1
        self._waiting.setdefault(member.origin, deque()).append(member)

    def _next(self) -> None:
        """One turn: a slice for every origin that waits."""
        waiting, self._waiting = self._waiting, {}
        clock = self.clock
        for origin, members in waiting.items():
            origin.slice_began_s, origin.spent_s = clock(), 0.0
            while members and origin.spent_s < self.slice_s:
                members.popleft().take_turn()
            if members:
                if not self._waiting:
                    self._call_soon(self._next)
                members.extend(self._waiting.get(origin, ()))
                self._waiting[origin] = members
