"""The write verifier (RFC 8881 18.32.4): it changes exactly when data that was not committed may have been lost.

Owns its derivation and the count of losses.  It is the same for all workers of a node, whose page cache outlives
them, until the node starts anew.
"""

from __future__ import annotations

import hashlib
from typing import Final

from statestore import META, ChangeSet

VERIFIER_KEY: Final = b"verifier"
"""The META record that counts how often data may have been lost."""


class WriteVerifier:
    """`value` is the verifier now, 8 bytes.  `losses` counts losses on this node so far."""

    def __init__(self, *, secret: bytes, boot_id: bytes, node: str, losses: int) -> None:
        self._secret = secret
        self._seed = boot_id + node.encode()
        self._losses = losses
        self.value = self._derived()

    def lose(self) -> ChangeSet:
        """Data may have been lost: another verifier from now on; returns the record that keeps it over takeovers.

        May be called in a thread.
        """
        self._losses += 1
        self.value = self._derived()
        changes = ChangeSet()
        put_losses(changes, self._losses)
        return changes

    def _derived(self) -> bytes:
        seed = self._seed + self._losses.to_bytes(4, "big")
        return hashlib.blake2b(seed, key=self._secret, digest_size=8).digest()


def put_losses(changes: ChangeSet, losses: int) -> None:
    """Put the record of the count."""
    changes.put(META, VERIFIER_KEY, losses.to_bytes(4, "big"))


def losses_of(value: bytes) -> int:
    """The count in a record's value."""
    return int.from_bytes(value, "big")
