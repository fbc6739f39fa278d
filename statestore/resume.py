"""Resume keys: names for what a holder holds that are the same before and after it comes back.

Owns their derivation. It must not know which parts a protocol puts in.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Final

RESUME_KEY_SIZE: Final = 16
# A process serves a handful of remote file systems.
_PERSONS_CACHED: Final = 64


def resume_key(secret: bytes, rfs_id: bytes, *parts: bytes) -> bytes:
    """Return the 16-byte resume key of the parts within the remote file system `rfs_id`.

    Keyed BLAKE2b-128 (RFC 7693): without the secret (at most 64 bytes) nobody can compute or check one. Each
    part is preceded by its length as u32, so that no two different lists of parts give the same input.
    """
    keyed = _keyed(secret, rfs_id).copy()
    for part in parts:
        keyed.update(len(part).to_bytes(4, "big") + part)
    return keyed.digest()


@lru_cache(maxsize=_PERSONS_CACHED)
def _keyed(secret: bytes, rfs_id: bytes) -> blake2b:
    """Return the hash with its key already taken in; to be copied, never updated."""
    return blake2b(digest_size=RESUME_KEY_SIZE, key=secret, person=_person(rfs_id))


@lru_cache(maxsize=_PERSONS_CACHED)
def _person(rfs_id: bytes) -> bytes:
    """Return the id's digest: the personalisation field has 16 bytes, and pads shorter ids with zeros."""
    return blake2b(rfs_id, digest_size=blake2b.PERSON_SIZE).digest()
