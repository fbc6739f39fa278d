"""Which opens of an object may stand beside each other.

Owns the rule of shares: an open has an access mask and a denial mask of the same bits, and two opens conflict
when the access of either meets the denial of the other. It must not know what the bits mean, nor the disk.
"""

from collections.abc import Mapping
from typing import Generic

from statestore.model import OpenT


class ObjectOpens(Generic[OpenT]):
    """The opens of one object by key, with the union of their masks."""

    __slots__ = ("access", "deny", "opens")

    def __init__(self) -> None:
        self.opens: dict[bytes, OpenT] = {}
        # Upper bounds: an open that goes leaves its bits here until a scan finds that they mean nothing.
        self.access: int = 0
        self.deny: int = 0

    def conflict(self, access: int, deny: int, except_key: bytes | None) -> OpenT | None:
        """Return an open that these masks conflict with, or None; a scan without result tightens the bounds."""
        all_access = all_deny = 0
        for held in self.opens.values():
            if (access & held.deny or deny & held.access) and held.key != except_key:
                return held
            all_access |= held.access
            all_deny |= held.deny
        self.access = all_access
        self.deny = all_deny
        return None


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
        assert held.key not in found.opens, "an open is added twice"
        found.opens[held.key] = held
        found.access |= held.access
        found.deny |= held.deny

    def change(self, held: OpenT, access: int, deny: int) -> None:
        """Set the masks of an open that is here. Raises KeyError if there is none on its object."""
        found = self.objects[held.object]
        assert found.opens.get(held.key) is held, "an open is changed that was not added"
        held.access = access
        held.deny = deny
        found.access |= access
        found.deny |= deny

    def remove(self, held: OpenT) -> None:
        """Remove an open. Raises KeyError if it is not here."""
        found = self.objects[held.object]
        del found.opens[held.key]
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
