"""What peers make the server keep in memory, by connection, by origin and in all, and what happens above a limit.

Two sorts of bytes.  What is being received ends by itself with an honest peer, so above a limit a connection is closed:
the one that has kept some for the longest, of the origin that has the most.  What is unsent may be much with an honest
peer behind a slow line, so above a limit nothing more is begun for whom it is until some has been taken; an origin
without any always finds room.

Owns the counts and the choice.  Must not know records, replies or sockets.
"""

from __future__ import annotations

from collections.abc import Iterable

from nfsd.config import Limits


class Origin:
    """Where connections come from (`nfsd/origins.py`), and what they make the server keep and do.

    connections     how many are open
    receiving       bytes of requests that have not come or not been begun wholly
    unsent          bytes of replies that were not taken, and of data that threads move
    partial, behind its members with such bytes, those first that have had some for the longest
    waiting         its members that may begin nothing because of unsent bytes
    slice_began_s, spent_s  its turn of the event loop (`turns.py`)
    """

    __slots__ = (
        "name", "connections", "receiving", "unsent", "partial", "behind", "waiting", "slice_began_s", "spent_s",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections = 0
        self.receiving = 0
        self.unsent = 0
        self.partial: dict[Member, None] = {}
        self.behind: dict[Member, None] = {}
        self.waiting: dict[Member, None] = {}
        self.slice_began_s = 0.0
        self.spent_s = 0.0


class Member:
    """A connection as the budget and the turns see it; `receiving` and `unsent` are written by the budget alone."""

    origin: Origin
    receiving: int
    unsent: int

    def drop(self, limit: str) -> bool:
        """End at once, because of the limit of that name, and give back what is kept for it; False if it has ended."""
        raise NotImplementedError

    def look_again(self) -> None:
        """There may be room for unsent bytes again."""
        raise NotImplementedError

    def take_turn(self) -> None:
        """Go on with what has been received, in a turn of the event loop that `turns.py` has given."""
        raise NotImplementedError


class Budget:
    """The counts of all origins, within `limits`."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.origins: dict[str, Origin] = {}
        """Those that have a connection, or bytes that one of theirs has left behind."""
        self.receiving = 0
        self.unsent = 0
        self._behind: dict[Origin, None] = {}
        self._waiting: dict[Origin, None] = {}

    # -- connections --------------------------------------------------------------------------------------

    def origin(self, name: str) -> Origin:
        """The origin of that name."""
        found = self.origins.get(name)
        if found is None:
            found = self.origins[name] = Origin(name)
        return found

    def joined(self, member: Member) -> None:
        """A connection has been opened."""
        member.origin.connections += 1

    def left(self, member: Member) -> None:
        """A connection has ended; it has given back all but what threads still use."""
        origin = member.origin
        origin.connections -= 1
        self._forget(origin)

    def _forget(self, origin: Origin) -> None:
        if not origin.connections and not origin.unsent and not origin.receiving:
            self.origins.pop(origin.name, None)

    # -- what is being received ---------------------------------------------------------------------------

    def receives(self, member: Member, size: int, *, anew: bool) -> None:
        """`member` keeps `size` bytes of requests now; `anew`: none of them for as long as those before."""
        origin = member.origin
        change = size - member.receiving
        member.receiving = size
        origin.receiving += change
        self.receiving += change
        if anew or not size:
            origin.partial.pop(member, None)
        if size:
            origin.partial[member] = None
        if change > 0:
            limits = self._limits
            if origin.receiving > limits.receiving_per_address_max:
                self._drop(origin.partial, "receiving_per_address_max")
            elif self.receiving > limits.receiving_max:
                most = max(self.origins.values(), key=lambda each: each.receiving)
                self._drop(most.partial, "receiving_max")

    def _drop(self, members: Iterable[Member], limit: str) -> None:
        for member in list(members):
            if member.drop(limit):
                return

    # -- what is unsent -----------------------------------------------------------------------------------

    def keeps(self, member: Member, size: int) -> None:
        """`member` has `size` unsent bytes now."""
        origin = member.origin
        change = size - member.unsent
        if not change:
            return
        member.unsent = size
        origin.unsent += change
        self.unsent += change
        if size:
            origin.behind[member] = None
            self._behind[origin] = None
        else:
            origin.behind.pop(member, None)
            if not origin.behind:
                self._behind.pop(origin, None)
                self._forget(origin)
        if change < 0:
            if self._waiting:
                self.wake()
        elif self.unsent > 2 * self._limits.unsent_max:
            most = max(self._behind, key=lambda each: each.unsent)
            self._drop(most.behind, "unsent_max")

    def has_room(self, origin: Origin) -> bool:
        """Whether something more may be begun for this origin."""
        limits = self._limits
        if origin.unsent > limits.unsent_per_address_max:
            return False
        return self.unsent <= limits.unsent_max or not origin.unsent

    def waits(self, member: Member) -> None:
        """`member` is to be told when there may be room."""
        member.origin.waiting[member] = None
        self._waiting[member.origin] = None

    def waits_no_more(self, member: Member) -> None:
        """`member` need not be told."""
        origin = member.origin
        origin.waiting.pop(member, None)
        if not origin.waiting:
            self._waiting.pop(origin, None)

    def wake(self) -> None:
        """Tell those that wait and have room."""
        for origin in list(self._waiting):
            if self.has_room(origin):
                for member in list(origin.waiting):
                    member.look_again()
