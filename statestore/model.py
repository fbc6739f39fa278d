"""The heads that the filter works on: who holds, and what he has open.

Owns what every service must say of a holder and of an open. A service derives its own classes from these two and
keeps whatever else it needs in them. It must not know what a service adds.

    holder   somebody who may have things open, known by 8 bytes; `identity` outlasts that key: who comes back
             after a start under a new key is recognised by it
    party    somebody inside a holder in whose name ranges are held. In RANGE records and claims a party goes by the
             name that it has inside its holder, among all holders by the holder's key followed by that name
    object   what is opened, by bytes that stay the same over restarts
"""

from collections.abc import Iterable
from typing import Any, Final, Generic, TypeVar

HOLDER_KEY_SIZE: Final = 8

OpenT = TypeVar("OpenT", bound="Open")
HolderT = TypeVar("HolderT", bound="Holder[Any]")


class Holder(Generic[OpenT]):
    """Somebody who may have objects open.

    `heard` is when it was last heard of, in seconds of its service's clock; 0.0 if not since this start. `address`
    is where it came from, empty if that is not known. `opens` has its opens by key; the filter keeps it. A holder that
    is `removed` has gone: what it has left is waited for by nobody, and its service takes it away when it is met.
    """

    __slots__ = ("address", "heard", "identity", "key", "opens", "removed")

    def __init__(self, key: bytes, identity: bytes, address: str = "", heard: float = 0.0) -> None:
        """Raises ValueError for a key that has not 8 bytes."""
        if len(key) != HOLDER_KEY_SIZE:
            raise ValueError(f"a holder's key has {len(key)} bytes; it must have {HOLDER_KEY_SIZE}")
        self.key = key
        self.identity = identity
        self.address = address
        self.heard = heard
        self.opens: dict[bytes, OpenT] = {}
        self.removed = False


class Open:
    """One open of one object by one holder, under its resume key (16 bytes).

    `access` and `deny` are masks of the same bits. Once the filter has the open they change by its `change_open` only.
    """

    __slots__ = ("access", "deny", "holder", "key", "object")

    # A service's own class narrows this to its own class of holder.
    holder: Holder[Any]

    def __init__(self, key: bytes, holder: Holder[Any], object: bytes, access: int = 0, deny: int = 0) -> None:
        self.key = key
        self.holder = holder
        self.object = object
        self.access = access
        self.deny = deny

    def range_keys(self) -> Iterable[bytes]:
        """Return the keys of the RANGE records that stand under this open. A service with ranges MUST override it."""
        return ()
