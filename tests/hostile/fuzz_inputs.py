"""The inputs of the fuzzer: their form, the seeds made of real requests, and mutations that know the form.

An input is bytes: one that says how it is delivered (`How`), one that says what the rest is (`Form`), and the rest.
What a server gives its clients (handles, stateids, session ids, clientids) stands in it as a name of the same size, so
that an input means the same to every server; `tests.hostile.fuzz_live` puts the values in.

Pure: bytes and a random source in, bytes out. Must not know a server.
"""

from __future__ import annotations

import random
from enum import IntFlag
from typing import Final

from tests.soak import mutations
from tests.soak.requests import Composer, Material
from tests.support.client import compound
from tests.support.operations import encoded
from tests.support.rpc import call, marked
from xdr.generated import nfs4

INPUT_SIZE_MAX: Final = 8192
HANDLE_SIZE: Final = 26
"""Of a file of a tree in memory."""
CLIENTS: Final = {0: b"<client0", 1: b"<client1", 2: b"<client2"}
SESSIONS: Final = {1: b"<session of 4.1>", 2: b"<session of 4.2>"}
CONFIRM: Final = b"<confirm"
# The sequence id of CREATE_SESSION, and that of NFSv4.0's open owner, which requests raise by one.
CREATE_SEQUENCE: Final = b"<cs>"
OPEN_SEQID, OPEN_SEQID_NEXT = b"<os>", b"<os?"
KINDS: Final = ("top", "directory", "file 0", "file 1", "link", "fifo")
HANDLES: Final = {kind: f"<handle of {kind}".encode().ljust(HANDLE_SIZE, b">") for kind in KINDS}


class How(IntFlag):
    """How an input is delivered."""

    STALE_SEQID = 1
    """Sequence ids stay as they are; otherwise they become the next ones of their slots."""
    IN_PIECES = 2
    """A stream comes byte by byte, or nearly so; of other forms, work for threads waits for the next input without."""
    SECOND_PASSES = 4
    AGAIN = 8
    """A message is delivered twice, as a client does that had no reply."""
    LEASE_PASSES = 16
    """Together with the two bits above: leases run out."""
    SECOND_CONNECTION = 32
    CALLER = 64 + 128
    """One of four callers."""


COMPOUND, MESSAGE, STREAM = range(3)
_FORMS: Final = (COMPOUND,) * 6 + (MESSAGE, STREAM)


def form_of(byte: int) -> int:
    """What the rest of an input is: a COMPOUND's arguments, an RPC message, or a stream of records."""
    return _FORMS[byte % len(_FORMS)]


def opened(minor: int, number: int) -> bytes:
    """The name of a stateid of an open."""
    return b"<open %d v4.%d" % (number, minor)


def locked(minor: int, number: int) -> bytes:
    """The name of a stateid of a lock."""
    return b"<lock %d v4.%d" % (number, minor)


def material(minor: int) -> Material:
    """What a client has got from its server, by names."""
    # In NFSv4.1 a seqid of zero means the stateid as it is by then.
    opens_seqid, locks_seqid = (0, 0) if minor else (2, 1)
    return Material(
        minor,
        clientid=int.from_bytes(CLIENTS[minor], "big"),
        confirm=CONFIRM,
        sessionid=SESSIONS.get(minor, bytes(16)),
        create_sequence=int.from_bytes(CREATE_SEQUENCE, "big"),
        owner=b"owner of 4.%d" % minor,
        open_seqid=int.from_bytes(OPEN_SEQID, "big"),
        directories=[HANDLES["top"], HANDLES["directory"]],
        files=[HANDLES["file 0"], HANDLES["file 1"]],
        others=[HANDLES["link"], HANDLES["fifo"]],
        opens=[nfs4.stateid4(opens_seqid, opened(minor, number)) for number in range(2)],
        locks=[nfs4.stateid4(locks_seqid, locked(minor, number)) for number in range(2)],
    )


class Writer:
    """Makes inputs: whole ones, and others of those."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._composers = [Composer(material(minor), rng) for minor in (0, 1, 2)]
        sequences = [(minor, nfs4.SEQUENCE4args(name, 1, slot, 31, cache)) for minor, name in SESSIONS.items()
                     for slot in (0, 7) for cache in (False, True)]  # fmt: skip
        self._sequences = [(minor, encoded("SEQUENCE", arguments)) for minor, arguments in sequences]

    def valid(self) -> bytes:
        """A request as clients send them, and mostly the next on its slot."""
        minor, operations = self._operations()
        return self._whole(minor, operations)

    def wrong(self) -> bytes:
        """One that has been changed: its operations, their bytes, or all that carries it."""
        rng = self._rng
        minor, operations = self._operations()
        draw = rng.random()
        if draw < 0.3:
            operations = mutations.mutate_operations(operations, self._composers[minor].anything, rng)
        data = bytearray(self._whole(minor, operations))
        if draw > 0.2:
            # Mostly the last operation: with another handle, another stateid, nothing gets far.
            at = len(data) - len(operations[-1]) if operations and rng.random() < 0.7 else 2
            part = data[at:]
            mutations.mutate_bytes(part, rng)
            data[at:] = part
        return bytes(data[:INPUT_SIZE_MAX])

    def changed(self, data: bytes) -> bytes:
        """Another input, made of one that was worth keeping."""
        rng = self._rng
        if len(data) < 3 or rng.random() < 0.2:
            return self.wrong()
        found = bytearray(data)
        draw = rng.random()
        if draw < 0.1:
            found[rng.randrange(2)] = rng.randrange(256)
        elif draw < 0.3:
            found += self._composers[rng.randrange(3)].anything()
            self._count(found, rng)
        else:
            part = found[2:]
            mutations.mutate_bytes(part, rng)
            found[2:] = part
        return bytes(found[:INPUT_SIZE_MAX])

    def _operations(self) -> tuple[int, list[bytes]]:
        rng = self._rng
        minor, head = rng.choice(self._sequences)
        if rng.random() < 0.3:
            minor = 0
        operations = self._composers[minor].compose()
        # Operations without a session come alone.
        in_session = minor and rng.random() < (0.95 if len(operations) > 1 else 0.6)
        return minor, [head, *operations] if in_session else operations

    def _whole(self, minor: int, operations: list[bytes]) -> bytes:
        rng = self._rng
        how = rng.randrange(256) & ~How.STALE_SEQID if rng.random() < 0.9 else rng.randrange(256)
        if rng.random() < 0.9:
            how &= ~How.AGAIN
        body = compound(minor, operations, b"" if rng.random() < 0.9 else b"tag")
        form = rng.randrange(len(_FORMS))
        if _FORMS[form] != COMPOUND:
            body = call(rng.randrange(1 << 32), body)
        if _FORMS[form] == STREAM:
            body = rng.choice((marked, self._fragments, self._broken))(body)
        return bytes((how, form)) + body

    def _fragments(self, message: bytes) -> bytes:
        return mutations.fragments(message, self._rng)

    def _broken(self, message: bytes) -> bytes:
        return mutations.broken_stream(message, self._rng)

    @staticmethod
    def _count(data: bytearray, rng: random.Random) -> None:
        """One operation more, if the tag is empty and this is a COMPOUND."""
        if form_of(data[1]) == COMPOUND and data[2:6] == bytes(4) and rng.random() < 0.9:
            count = int.from_bytes(data[10:14], "big") + 1
            data[10:14] = (count & 0xFFFFFFFF).to_bytes(4, "big")
