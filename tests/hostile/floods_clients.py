"""Floods of clients and sessions: of what a server keeps of those whom it has just met."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import count, islice

from tests.hostile.flood import BATCH, Flood
from tests.support import operations as ops
from tests.support.client import Connection, begin_session, compound, identify
from tests.support.operations import encoded
from tests.support.rpc import call
from xdr.generated import nfs4

OWNER_SIZE = 1024
"""As long as an owner may be (NFS4_OPAQUE_LIMIT)."""
LOCATION_SIZE = 256 << 10
_MARKER = b"owner 0123456789"
_OWNER = _MARKER.ljust(OWNER_SIZE, b".")
# Of a reply to one SETCLIENTID: behind the RPC header, status, empty tag, count, operation and its status.
_TOLD_AT = 24 + 5 * 4
_TOLD = struct.Struct(">Q8s")


def _numbered(message: bytes, size: int = BATCH) -> Iterator[list[bytes]]:
    """Batches of the message, each time with another owner."""
    numbers = count()
    while True:
        yield [message.replace(_MARKER, b"owner %010d" % number) for number in islice(numbers, size)]


class ExchangeIds(Flood):
    """Ever new owners, as long as they may be, that are never confirmed."""

    name = "EXCHANGE_ID storm"

    def run(self) -> None:
        """As many as there are answers to."""
        who = nfs4.client_owner4(bytes(8), _OWNER)
        implementation = nfs4.nfs_impl_id4(b"d" * 1000, b"n" * 1000, nfs4.nfstime4(0, 0))
        arguments = nfs4.EXCHANGE_ID4args(who, 0, nfs4.state_protect4_a(nfs4.SP4_NONE), [implementation])
        message = call(1, compound(1, [encoded("EXCHANGE_ID", arguments)]))
        for reply in self.storm(_numbered(message)):
            self.saw(reply)


def _setclientid(size: int) -> bytes:
    location = nfs4.netaddr4(b"t" * size, b"a" * size)
    client = nfs4.nfs_client_id4(bytes(8), _OWNER)
    arguments = nfs4.SETCLIENTID4args(client, nfs4.cb_client4(0x40000000, location), 1)
    return call(1, compound(0, [encoded("SETCLIENTID", arguments)]))


class Setclientids(Flood):
    """Ever new NFSv4.0 clients, never confirmed, each with a callback address of half a MiB."""

    name = "SETCLIENTID storm, long callback addresses"

    def run(self) -> None:
        """Eight at a time: they are large."""
        message = _setclientid(LOCATION_SIZE)
        for reply in self.storm(_numbered(message, 8)):
            self.saw(reply)


class ConfirmedClients(Flood):
    """Ever new NFSv4.0 clients that are confirmed, and so are stored, each with a callback address of 64 KiB."""

    name = "SETCLIENTID storm, confirmed"

    def run(self) -> None:
        """Confirm what was told in the next batch."""
        told: list[tuple[int, bytes]] = []

        def batches() -> Iterator[list[bytes]]:
            for batch in _numbered(_setclientid(LOCATION_SIZE >> 3), 16):
                confirms, told[:] = list(told), []
                yield batch + [
                    call(1, compound(0, [encoded("SETCLIENTID_CONFIRM", nfs4.SETCLIENTID_CONFIRM4args(*each))]))
                    for each in confirms
                ]

        for reply in self.storm(batches()):
            if self.saw(reply) == nfs4.NFS4_OK and len(reply) >= _TOLD_AT + _TOLD.size:
                told.append(_TOLD.unpack_from(reply, _TOLD_AT))


class FullReplyCaches(Flood):
    """Clients with as many sessions and slots as they get, and in each slot a reply as large as may be kept."""

    name = "session storm, full reply caches"

    def run(self) -> None:
        """A client after the other, until the time is over."""
        for number in count():
            if not self.goes_on():
                break
            try:
                self._client(b"caches %d" % number)
            except (AssertionError, EOFError, OSError):
                self.did["connections lost"] += 1
        self.did["KiB of replies"] >>= 10

    def _client(self, owner: bytes) -> None:
        connection = self.connect()
        known = identify(connection, owner)
        sequence = known.eir_sequenceid
        try:
            while self.goes_on():
                channel = ops.channel(slots=64, cached=4096, operations=64)
                session = begin_session(connection, known.eir_clientid, sequence, fore=channel)
                self._fill(connection, session.sessionid, len(session.seqids))
                sequence += 1
        except AssertionError:
            self.did["clients with all sessions"] += 1
        finally:
            connection.close()

    def _fill(self, connection: Connection, sessionid: bytes, slots: int) -> None:
        self.did["sessions"] += 1
        supported = encoded("GETATTR", nfs4.GETATTR4args(1 << nfs4.FATTR4_SUPPORTED_ATTRS))
        asked = [encoded("PUTROOTFH"), *[supported] * 60]
        sequences = [nfs4.SEQUENCE4args(sessionid, 1, slot, slot, True) for slot in range(slots)]
        messages = [call(1, compound(1, [encoded("SEQUENCE", each), *asked], b"t" * 1024)) for each in sequences]
        for reply in self.ask_all(connection, messages):
            self.did["KiB of replies"] += len(reply)
            self.saw(reply)
