"""Older versions of records, brought to the newest one while they are loaded.

Owns when a converter is called and what happens without one. It must not know what any version's value looks like:
the converters are the user's, because most of a value is.

An older record stays as it is on the disk until its user changes it, and is then written in the newest version. A
release that reads older records therefore keeps their converters for ever.
"""

from collections.abc import Callable, Mapping

from statestore.errors import StoreError
from statestore.kinds import kind_name
from statestore.records import NEWEST, Damage, decode_record, refuse_newer

Upgrade = Callable[[bytes, bytes], bytes]
"""Turns a record's key and its value in one version into its value in the next. Raises ValueError for bad bytes."""
Upgrades = Mapping[tuple[int, int], Upgrade]
"""The converters by (kind, version that they read). None in place of the mapping: values are wanted as stored."""


def load_record(stored_key: bytes, stored_value: bytes, upgrades: Upgrades | None, where: object) -> bytes | Damage:
    """Return a record's value in the newest version of its kind, or what is wrong with it.

    A value that its converter refuses is damage too. `where` names the store in messages. Raises StoreNewer for a
    record of a newer release, StoreError where `upgrades` lack a converter.
    """
    value = decode_record(stored_key, stored_value)
    if type(value) is bytes:
        if upgrades is None or stored_value[0] == NEWEST[stored_key[0]]:
            return value
        kind, key = stored_key[0], stored_key[1:]
        try:
            return upgraded(kind, key, value, stored_value[0], upgrades)
        except ValueError as error:
            return Damage(kind, key, f"cannot be read: {error}", stored_key, stored_value)
    if isinstance(value, Damage):
        refuse_newer(value, where)
    return value


def upgraded(kind: int, key: bytes, value: bytes, version: int, upgrades: Upgrades) -> bytes:
    """Return the value in the newest version of its kind.

    Raises ValueError as the converters do, StoreError where one is missing.
    """
    for old in range(version, NEWEST[kind]):
        upgrade = upgrades.get((kind, old))
        if upgrade is None:
            raise StoreError(
                f"{kind_name(kind)} {key.hex()} has version {old}, and nothing was given that turns it into version"
                f" {old + 1}: open the store with a converter for ({kind_name(kind)}, {old})"
            )
        value = upgrade(key, value)
    return value
