"""Floods of opens and locks: of what an admitted client may hold, and of the end of it all at once."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator

from tests.hostile.flood import Flood
from tests.hostile.server import HELD
from tests.support import operations as ops
from tests.support.client import Connection, Opened, compound, mount
from tests.support.operations import encoded
from tests.support.rpc import call
from xdr.generated import nfs4

OPERATIONS = 60
"""Of one kind in a compound, which may have 64."""
_OWNER = b"owner 0123456789"
_OFFSET, _LENGTH = 0x0123456789ABCDEF, 0x1123456789ABCDEF
_HYPER = struct.Struct(">Q")


def _lock(opened: Opened, kind: int) -> bytes:
    """A LOCK of a new owner, with marks where its name, offset and length are."""
    owner = nfs4.open_to_lock_owner4(0, opened.stateid, 0, nfs4.lock_owner4(0, _OWNER))
    return encoded("LOCK", nfs4.LOCK4args(kind, False, _OFFSET, _LENGTH, nfs4.locker4(True, open_owner=owner)))


def _filled(operation: bytes, number: int, offset: int, length: int) -> bytes:
    return (
        operation.replace(_OWNER, b"owner %010d" % number)
        .replace(_HYPER.pack(_OFFSET), _HYPER.pack(offset))
        .replace(_HYPER.pack(_LENGTH), _HYPER.pack(length))
    )


class Held(Flood):
    """What the floods of state have in common: one client with one file, which ends by starting anew."""

    admitted = True
    patience_s = 30.0
    owner = b"holder"

    def run(self) -> None:
        """Take everything, give it back as far as that is part of it, and begin anew: the rest ends at once."""
        try:
            connection = self.connect()
            self._session = mount(connection, owner=self.owner, pseudo=b"shared", fore=ops.channel(operations=64))
            self._opened = self._session.open(HELD.encode())
            self.take()
            self.give_back()
        except (AssertionError, EOFError, OSError) as error:
            self.did[f"ended by {type(error).__name__}"] += 1
        self.begin_anew()

    def take(self) -> None:
        """What is held."""
        raise NotImplementedError

    def give_back(self) -> None:
        """What is released one by one."""

    def begin_anew(self) -> None:
        """The client's next instance, whose first session ends all that the one before it holds."""
        with contextlib.suppress(AssertionError, EOFError, OSError):
            connection = Connection(self.port, source=self.address, timeout_s=4 * self.patience_s)
            known = connection.call(ops.exchange_id(self.owner, b"anew...."))
            told = known.value(0)
            connection.call(ops.create_session(told.eir_clientid, told.eir_sequenceid))
            self.did["removals at once"] += 1
            connection.close()

    def ask(self, groups: Iterator[list[bytes]]) -> Iterator[tuple[int, bytes]]:
        """Compounds of operations on the file, several under way, each on a slot of its own: statuses and replies."""
        session, put = self._session, encoded("PUTFH", nfs4.PUTFH4args(self._opened.handle))
        width = len(session.seqids)
        while self.goes_on():
            messages = []
            for slot in range(width):
                if (group := next(groups, None)) is None:
                    break
                session.seqids[slot] += 1
                arguments = nfs4.SEQUENCE4args(session.sessionid, session.seqids[slot], slot, slot, False)
                messages.append(call(1, compound(1, [encoded("SEQUENCE", arguments), put, *group])))
            if not messages:
                return
            for reply in self.ask_all(session.connection, messages):
                yield self.saw(reply), reply

    def groups(self, operations: Iterator[bytes]) -> Iterator[list[bytes]]:
        """Operations by as many as a compound may have."""
        while group := [operation for _, operation in zip(range(OPERATIONS), operations, strict=False)]:
            yield group


class LockOwners(Held):
    """Many lock owners with a byte each of one file; a part is unlocked one by one, the rest ends at once."""

    name = "100,000 lock owners on one file"
    counts = 5_000, 100_000
    time_factor = 4.0
    proof = "locks"
    owner = b"lock owners"

    def take(self) -> None:
        """A byte for each."""
        self._stateids: list[nfs4.stateid4] = []
        lock = _lock(self._opened, nfs4.WRITE_LT)
        wanted = (_filled(lock, number, number * 2, 1) for number in range(self.count))
        for _status, reply in self.ask(self.groups(wanted)):
            # The stateids of the LOCKs that succeeded: 24 bytes of a result each, behind SEQUENCE and PUTFH.
            words = reply[24 + 12 + 44 + 8 :]
            for at in range(0, len(words) - 23, 24):
                number, status, seqid, other = struct.unpack_from(">3I12s", words, at)
                if number == nfs4.OP_LOCK and status == nfs4.NFS4_OK:
                    self._stateids.append(nfs4.stateid4(seqid, other))
        self.did["locks"] = len(self._stateids)

    def give_back(self) -> None:
        """A tenth of them, from the middle on."""
        middle = len(self._stateids) // 2
        some = self._stateids[middle : middle + max(1, len(self._stateids) // 10)]
        back = (encoded("LOCKU", nfs4.LOCKU4args(nfs4.WRITE_LT, 0, each, 0, nfs4.NFS4_UINT64_MAX)) for each in some)
        for _status, _reply in self.ask(self.groups(back)):
            self.did["compounds of LOCKU"] += 1


class OverlappingLocks(Held):
    """Shared locks of many owners over almost all of one file, then requests that each of them is in the way of."""

    name = "20,000 overlapping LOCKs"
    counts = 2_000, 20_000
    owner = b"overlapping"

    def take(self) -> None:
        """Each a little shorter than the one before."""
        lock = _lock(self._opened, nfs4.READ_LT)
        wanted = (_filled(lock, number, number, (1 << 40) - 2 * number) for number in range(self.count))
        for _status, _reply in self.ask(self.groups(wanted)):
            self.did["compounds of LOCK"] += 1

    def give_back(self) -> None:
        """Ask for what is taken, as those who hold a part and as those who hold none."""
        refused = _lock(self._opened, nfs4.WRITE_LT)
        asked = ([_filled(refused, number, self.count // 2, 1)] for number in range(1 << 30))
        for _status, _reply in self.ask(asked):
            self.did["refused LOCKs"] += 1


class Opens(Held):
    """Many opens of one client, which end at once."""

    name = "1,000,000 opens of one client"
    counts = 50_000, 1_000_000
    time_factor = 8.0
    proof = "opens"
    owner = b"many opens"

    def take(self) -> None:
        """Of one file, by ever new open owners."""
        claim = nfs4.open_claim4(nfs4.CLAIM_FH)
        arguments = nfs4.OPEN4args(0, 1, 0, nfs4.open_owner4(0, _OWNER), nfs4.openflag4(nfs4.OPEN4_NOCREATE), claim)
        opening = encoded("OPEN", arguments)
        wanted = (opening.replace(_OWNER, b"owner %010d" % number) for number in range(self.count))
        for status, _reply in self.ask(self.groups(wanted)):
            self.did["opens"] += OPERATIONS if status == nfs4.NFS4_OK else 0
