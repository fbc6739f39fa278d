"""Which opens of an object may stand beside each other.

Owns the rule of shares: an open has an access mask and a denial mask of the same bits, and two opens conflict
when the access of either meets the denial of the other. It must not know what the bits mean, nor the disk.
"""

from collections.abc import Mapping
from typing import Final, Generic

from statestore.model import OpenT

# Looking at so many opens costs less than sorting them by their masks, in time and in memory.
SORTED_ABOVE: Final = 16


class ObjectOpens(Generic[OpenT]):
    """The opens of one object by key, with the union of their masks.

    Of more than SORTED_ABOVE opens `by_masks` has them by (access, deny) too, until the last one goes: then nobody's
    request walks all of them.
    """

    __slots__ = ("access", "by_masks", "deny", "opens")

    def __init__(self) -> None:
        self.opens: dict[bytes, OpenT] = {}
        self.by_masks: dict[tuple[int, int], dict[bytes, OpenT]] | None = None
        # Upper bounds: an open that goes leaves its bits here until a scan finds that they mean nothing.
        self.access: int = 0
        self.deny: int = 0

    def conflict(self, access: int, deny: int, except_key: bytes | None) -> OpenT | None:
        """Return an open that these masks conflict with, or None; a scan without result tightens the bounds."""
        if self.by_masks is not None:
            return self._sorted_conflict(self.by_masks, access, deny, except_key)
        all_access = all_deny = 0
        for held in self.opens.values():
            if (access & held.deny or deny & held.access) and held.key != except_key:
                return held
            all_access |= held.access
            all_deny |= held.deny
        self.access = all_access
        self.deny = all_deny
        return None

    def _sorted_conflict(
        self, by_masks: dict[tuple[int, int], dict[bytes, OpenT]], access: int, deny: int, except_key: bytes | None
    ) -> OpenT | None:
        all_access = all_deny = 0
        for (held_access, held_deny), opens in by_masks.items():
            if access & held_deny or deny & held_access:
                for key, held in opens.items():
                    if key != except_key:
                        return held
            all_access |= held_access
            all_deny |= held_deny
        self.access = all_access
        self.deny = all_deny
        return None

    def sort_in(self, held: OpenT) -> None:
        """Have an open that is here among those of its masks, if there are many."""
        by_masks = self.by_masks
        if by_masks is not None:
            by_masks.setdefault((held.access, held.deny), {})[held.key] = held
        elif len(self.opens) > SORTED_ABOVE:
            self.by_masks = {}
            for each in self.opens.values():
                self.sort_in(each)

    def sort_out(self, held: OpenT) -> None:
        """Take an open from those of its masks, before these change or it goes."""
        if self.by_masks is not None:
            alike = self.by_masks[held.access, held.deny]
            del alike[held.key]
            if not alike:
                del self.by_masks[held.access, held.deny]


class Shares(Generic[OpenT]):
    """The opens of every open object. An object without opens takes no memory.

    `objects` is for questions that cannot afford a call; only the methods here may change it, or an open's masks.
    """

    __slots__ = ("objects",)

    def __init__(self) -> None:
        self.objects: dict[bytes, ObjectOpens[OpenT]] = {}

    def conflict(self, object: bytes, access: int, deny: int, except_key: bytes | None = None) -> OpenT | None:
        """Return an open that an open with these masks would conflict with, or None.

        The open `except_key` does not count: the one that is about to be changed.
        """
        found = self.objects.get(object)
        if found is None or not (access & found.deny or deny & found.access):
            return None
        return found.conflict(access, deny, except_key)

    def add(self, held: OpenT) -> None:
        """Add an open, which MUST be new: `change` changes one. What is loaded may conflict with itself."""
        found = self.objects.get(held.object)
        if found is None:
            found = self.objects[held.object] = ObjectOpens()
        opens = found.opens
        assert held.key not in opens, "an open is added twice"
        opens[held.key] = held
        found.access |= held.access
        found.deny |= held.deny
        if len(opens) > SORTED_ABOVE or found.by_masks is not None:
            found.sort_in(held)

    def change(self, held: OpenT, access: int, deny: int) -> None:
        """Set the masks of an open that is here. Raises KeyError if there is none on its object."""
        found = self.objects[held.object]
        assert found.opens.get(held.key) is held, "an open is changed that was not added"
        if found.by_masks is not None:
            found.sort_out(held)
        held.access = access
        held.deny = deny
        found.access |= access
        found.deny |= deny
        if len(found.opens) > SORTED_ABOVE or found.by_masks is not None:
            found.sort_in(held)

    def remove(self, held: OpenT) -> None:
        """Remove an open. Raises KeyError if it is not here."""
        found = self.objects[held.object]
        del found.opens[held.key]
        if found.by_masks is not None:
            found.sort_out(held)
        if not found.opens:
            del self.objects[held.object]

    def opens(self, object: bytes) -> Mapping[bytes, OpenT]:
        """Return the object's opens by key, empty if there are none."""
        found = self.objects.get(object)
        return {} if found is None else found.opens

    def __contains__(self, object: bytes) -> bool:
        return object in self.objects

    def __len__(self) -> int:
        return len(self.objects)
