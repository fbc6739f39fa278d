"""One hostile client: valid requests of its own to get handles, stateids and slots, and many mutated ones.

Owns the connection, the slots' sequence ids and the account of what was asked and what was answered.  Must not
judge: `Figures` has what `mutate` judges.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections import Counter, deque
from dataclasses import dataclass, field

from tests.soak import mutations
from tests.soak.requests import CHANNEL, NAMES, Composer, Material
from tests.support.client import Reply, compound
from tests.support.operations import encoded
from tests.support.rpc import Records, RpcReply, WireError, auth_sys, authentic, call, marked
from xdr.codec import XdrError
from xdr.generated import nfs4

ANSWER_LIMIT_S = 30.0
IN_FLIGHT_MAX = 48
SLOTS = 32
# Valid requests fetch fresh handles and stateids after so many mutated ones: those destroy what they use.
REFRESH_INTERVAL = 250
RECENT_MAX = 400
# So many connections in a row on which not even valid requests got through: there is no sense in going on.
FAILURES_MAX = 50
# Decoding a reply takes longer than making its request: every so many have to do.
DECODE_INTERVAL = 4
# So that what one owner leaves behind is bounded and the next one does not depend on it.
OPENS_PER_REFRESH = 2
_HEAD = struct.Struct(">6I")
_WORD = struct.Struct(">I")
# The message type of what nobody answers.
_REPLY = _WORD.pack(1)
_RPC_HEADER_MIN = 32
_CREDENTIALS = tuple(
    authentic(body)
    for body in (auth_sys(), auth_sys(), auth_sys(), auth_sys(1000, 1000, (4, 27)), auth_sys(65534, 65534))
)


@dataclass(slots=True)
class Figures:
    """What happened, over all hostile clients.

    `decoded` counts the replies that were decoded to their end, `malformed` has those that could not be;
    `dropped` has the local ports of connections that the server closed; `silent` describes requests that got
    neither an answer nor a closed connection; `leaked` describes replies that held the secret.
    """

    sent: int = 0
    answered: int = 0
    forgiven: int = 0
    connections: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    depths: Counter[int] = field(default_factory=Counter)
    dropped: list[int] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    malformed: list[str] = field(default_factory=list)
    decoded: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    successes: Counter[int] = field(default_factory=Counter)


class Channel(asyncio.Protocol):
    """A connection's records; `lost` is set when it has ended."""

    def __init__(self, hostile: Hostile) -> None:
        self._hostile = hostile
        self._records = Records()
        self.transport: asyncio.Transport
        self.lost = False
        self.closing = False
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the port: the server's log names it."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def data_received(self, data: bytes) -> None:
        """Hand every whole reply on."""
        self._records.feed(data)
        while (record := self._records.next()) is not None:
            self._hostile.answered(record)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server closed it, or we did."""
        self.lost = True
        if not self.closing:
            self._hostile.figures.dropped.append(self.port)
        self._hostile.changed.set()


class Hostile:
    """One hostile client of one minor version; `breaker` ends its connections early, by broken streams."""

    def __init__(
        self, name: str, minor: int, address: tuple[str, int], export: bytes, secret: bytes, figures: Figures,
        rng: random.Random, breaker: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self.minor = minor
        self.address = address
        self.export = export
        self.secret = secret
        self.figures = figures
        self.rng = rng
        self.breaker = breaker
        self.changed = asyncio.Event()
        self.recent: deque[bytes] = deque(maxlen=RECENT_MAX)
        self._channel: Channel
        self._outstanding: Counter[int] = Counter()
        self._slot_of: dict[int, int] = {}
        self._free: list[int] = []
        self._seqids: list[int] = []
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._xid = rng.randrange(1 << 30)
        self._incarnation = 0
        self._renewed_session = False
        self._material = Material(minor)
        self._composer: Composer

    # -- replies ------------------------------------------------------------------------------------------

    def answered(self, message: bytes) -> None:
        """Account for one reply."""
        figures = self.figures
        figures.answered += 1
        xid = _WORD.unpack_from(message)[0]
        if self._outstanding[xid] <= 1:
            del self._outstanding[xid]
        else:
            self._outstanding[xid] -= 1
        if self.secret in message:
            figures.leaked.append(message.hex())
        slot = self._slot_of.pop(xid, None)
        self._count(message)
        if slot is not None:
            self._give_back(slot, message)
        waiting = self._waiting.pop(xid, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)
        self.changed.set()

    def _count(self, message: bytes) -> None:
        figures = self.figures
        if len(message) < 24:
            figures.statuses["denied"] += 1
        elif message[20:24] != bytes(4):
            figures.statuses[f"accept_stat {message[23]}"] += 1
        elif len(message) == 24:
            figures.statuses["NULL"] += 1
        else:
            status, tag_size = struct.unpack_from(">2I", message, 24)
            figures.statuses[nfs4.nfsstat4_names.get(status, str(status))] += 1
            figures.depths[_WORD.unpack_from(message, 32 + (tag_size + 3 & ~3))[0]] += 1
            if figures.answered % DECODE_INTERVAL == 0:
                self._decode(message)

    def _decode(self, message: bytes) -> None:
        figures = self.figures
        try:
            reply = Reply(RpcReply(message))
        except (XdrError, WireError) as error:
            figures.malformed.append(f"{error}: {message[:400].hex()}")
            return
        figures.decoded += 1
        pairs = zip(reply.numbers, reply.statuses(), strict=True)
        figures.successes.update(number for number, status in pairs if status == nfs4.NFS4_OK)

    def _give_back(self, slot: int, message: bytes) -> None:
        """The slot is free again; its sequence id has moved if SEQUENCE succeeded."""
        outcome = _sequence_outcome(message)
        if outcome is not None:
            status, seqid = outcome
            if status == nfs4.NFS4_OK:
                self._seqids[slot] = max(self._seqids[slot], seqid)
            elif status in (nfs4.NFS4ERR_SEQ_MISORDERED, nfs4.NFS4ERR_SEQ_FALSE_RETRY):
                return  # Some mutated request has used the slot: it is left alone.
            elif status in (nfs4.NFS4ERR_BADSESSION, nfs4.NFS4ERR_DEADSESSION):
                self._renewed_session = True
        self._free.append(slot)

    # -- valid requests -----------------------------------------------------------------------------------

    async def _ask(self, operations: list[bytes], alone: bool = False) -> Reply:
        """Send one valid compound and wait for its reply."""
        self._xid = self._xid + 1 & 0xFFFFFFFF
        xid = self._xid
        if self.minor and not alone:
            operations = [await self._sequence(xid), *operations]
        future = self._waiting[xid] = asyncio.get_running_loop().create_future()
        self._send(marked(call(xid, compound(self.minor, operations))), xid)
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                while not future.done():
                    self.changed.clear()
                    if self._channel.lost:
                        raise WireError("the server closed the connection")
                    await self.changed.wait()
        except TimeoutError:
            self.figures.silent.append(f"{self.name}: a valid request of {len(operations)} operations")
            raise WireError("no answer to a valid request") from None
        return Reply(RpcReply(future.result()))

    async def _sequence(self, xid: int) -> bytes:
        slot = await self._slot()
        self._slot_of[xid] = slot
        return encoded(
            "SEQUENCE", nfs4.SEQUENCE4args(self._material.sessionid, self._seqids[slot] + 1, slot, SLOTS - 1, False)
        )

    async def _slot(self) -> int:
        while not self._free:
            self.changed.clear()
            if self._channel.lost or not self._slot_of:
                raise WireError("no slot is left")
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await self.changed.wait()
        return self._free.pop()

    async def _begin(self) -> None:
        """Connect, and make a client and a session, or take the old client up again."""
        loop = asyncio.get_running_loop()
        _, self._channel = await loop.create_connection(lambda: Channel(self), *self.address)
        self.figures.connections += 1
        self._outstanding.clear()
        self._slot_of.clear()
        self._waiting.clear()
        self._incarnation += 1
        verifier = struct.pack(">Q", self._incarnation)
        material = self._material = Material(self.minor, owner=self.name.encode())
        if not self.minor:
            location = nfs4.netaddr4(b"tcp", b"127.0.0.1.0.1")
            client = nfs4.nfs_client_id4(verifier, material.owner)
            args = nfs4.SETCLIENTID4args(client, nfs4.cb_client4(1, location), 1)
            told = (await self._ask([encoded("SETCLIENTID", args)])).value(0)
            material.clientid, material.confirm = told.clientid, told.setclientid_confirm
            confirm = nfs4.SETCLIENTID_CONFIRM4args(material.clientid, material.confirm)
            (await self._ask([encoded("SETCLIENTID_CONFIRM", confirm)])).value(0)
            return
        who = nfs4.client_owner4(verifier, material.owner)
        none = nfs4.state_protect4_a(nfs4.SP4_NONE)
        exchange = encoded("EXCHANGE_ID", nfs4.EXCHANGE_ID4args(who, 0, none, []))
        told = (await self._ask([exchange], alone=True)).value(0)
        material.clientid, material.create_sequence = told.eir_clientid, told.eir_sequenceid
        create = nfs4.CREATE_SESSION4args(material.clientid, told.eir_sequenceid, 0, CHANNEL, CHANNEL, 1, [])
        made = (await self._ask([encoded("CREATE_SESSION", create)], alone=True)).value(0)
        material.sessionid = made.csr_sessionid
        self._seqids = [0] * SLOTS
        self._free = list(range(SLOTS))
        self._renewed_session = False
        await self._ask([encoded("RECLAIM_COMPLETE", nfs4.RECLAIM_COMPLETE4args(False))])

    async def _refresh(self) -> None:
        """Get handles and stateids: the material of the next mutated requests."""
        material = self._material
        at = 1 if self.minor else 0
        look = [encoded("PUTROOTFH"), encoded("GETFH")]
        look += [encoded("LOOKUP", nfs4.LOOKUP4args(self.export)), encoded("GETFH")]
        reply = await self._ask(look)
        top = reply.value(at + 3).object
        material.directories = [top, top, reply.value(at + 1).object]
        material.files, material.others, material.opens, material.locks = [], [], [], []
        create = nfs4.createhow4(nfs4.UNCHECKED4, createattrs=nfs4.fattr4(1 << nfs4.FATTR4_MODE, b"\0\0\x01\xb6"))
        for name in self.rng.sample(NAMES, OPENS_PER_REFRESH):
            await self._open(top, name, nfs4.openflag4(nfs4.OPEN4_CREATE, create))
        for name in (b"d0", b"out", b"out-absolute", b"fifo"):
            reply = await self._ask(
                [encoded("PUTFH", nfs4.PUTFH4args(top)), encoded("LOOKUP", nfs4.LOOKUP4args(name)),
                 encoded("GETFH")]
            )  # fmt: skip
            if reply.status == nfs4.NFS4_OK:
                material.others.append(reply.value(at + 2).object)
        material.files = material.files or [top]
        self._composer = Composer(material, self.rng)

    async def _open(self, top: bytes, name: bytes, how: nfs4.openflag4) -> None:
        """Open a file and lock a byte of it; a refusal is no matter: mutated requests hold much."""
        material = self._material
        at = 1 if self.minor else 0
        # A new owner each time in NFSv4.0: mutated requests have moved the old one's sequence id.
        if not self.minor:
            material.owner = b"%s-%d" % (self.name.encode(), self.rng.randrange(64))
            material.open_seqid = self.rng.randrange(1 << 31)
        owner = nfs4.open_owner4(material.clientid, material.owner)
        claim = nfs4.open_claim4(nfs4.CLAIM_NULL, file=name)
        args = nfs4.OPEN4args(material.open_seqid, 3, 0, owner, how, claim)
        put = encoded("PUTFH", nfs4.PUTFH4args(top))
        reply = await self._ask([put, encoded("OPEN", args), encoded("GETFH")])
        if reply.status != nfs4.NFS4_OK:
            return
        opened, handle = reply.value(at + 1), reply.value(at + 2).object
        stateid = opened.stateid
        put = encoded("PUTFH", nfs4.PUTFH4args(handle))
        if opened.rflags & nfs4.OPEN4_RESULT_CONFIRM:
            material.open_seqid += 1
            confirm = nfs4.OPEN_CONFIRM4args(stateid, material.open_seqid)
            reply = await self._ask([put, encoded("OPEN_CONFIRM", confirm)])
            if reply.status != nfs4.NFS4_OK:
                return
            stateid = reply.value(at + 1).open_stateid
        material.files.append(handle)
        # In NFSv4.1 a seqid of zero means the stateid as it is by then.
        material.opens.append(nfs4.stateid4(0, stateid.other) if self.minor else stateid)
        material.open_seqid += 0 if self.minor else 1
        locker = nfs4.open_to_lock_owner4(
            material.open_seqid, stateid, 0, nfs4.lock_owner4(material.clientid, material.owner)
        )
        start = self.rng.randrange(1 << 20)
        lock = nfs4.LOCK4args(nfs4.WRITE_LT, False, start, 1, nfs4.locker4(True, open_owner=locker))
        reply = await self._ask([put, encoded("LOCK", lock)])
        if reply.status == nfs4.NFS4_OK:
            material.locks.append(reply.value(at + 1).lock_stateid)

    # -- mutated requests ---------------------------------------------------------------------------------

    def _send(self, data: bytes, xid: int | None) -> None:
        if xid is not None:
            self._outstanding[xid] += 1
        self.recent.append(data)
        if not self._channel.transport.is_closing():
            self._channel.transport.write(data)

    async def _mutated(self) -> None:
        """Send one mutated request, as a whole record."""
        rng = self.rng
        self._xid = self._xid + 1 & 0xFFFFFFFF
        xid = self._xid
        operations = self._composer.compose()
        head: list[bytes] = []
        sequenced = bool(self.minor) and rng.random() < 0.9
        if sequenced:
            head = [await self._sequence(xid)]
        minor = self.minor if rng.random() < 0.97 else rng.randrange(4)
        kind = rng.random()
        if kind < 0.25:
            operations = mutations.mutate_operations(operations, self._composer.anything, rng)
        credential = rng.choice(_CREDENTIALS)
        count = len(head) + len(operations)
        if len(operations) > 1 and rng.random() < 0.8:
            # Mostly the first operations set the file handles, and without them nothing gets far.
            head += operations[:-1]
            operations = operations[-1:]
        tail = bytearray(b"".join(operations))
        if rng.random() < 0.6:
            # Another number makes another operation: that is worth less than wrong arguments.
            head.append(bytes(tail[:4]))
            del tail[:4]
        if tail and 0.2 < kind < 0.95:
            mutations.mutate_bytes(tail, rng)
        prefix = struct.pack(">III", 0, minor, count) + b"".join(head)
        message = bytearray(call(xid, prefix, credential)) + tail
        if kind >= 0.95:
            # All of the message, its RPC header and SEQUENCE included: this often costs the connection.
            at = 4 if rng.random() < 0.9 else 0
            part = message[at:] if rng.random() < 0.3 else message[at + 36 :]
            keep = len(message) - len(part)
            mutations.mutate_bytes(part, rng)
            message[keep:] = part
        self._deliver(bytes(message), xid)

    def _deliver(self, message: bytes, xid: int) -> None:
        rng = self.rng
        sent_xid = _WORD.unpack_from(message)[0] if len(message) >= 4 else xid
        if sent_xid != xid and (slot := self._slot_of.pop(xid, None)) is not None:
            self._slot_of[sent_xid] = slot
        data = marked(message) if rng.random() < 0.97 else mutations.fragments(message, rng)
        answerable = None if message[4:8] == _REPLY else sent_xid
        if answerable is None and (slot := self._slot_of.pop(sent_xid, None)) is not None:
            self._free.append(slot)
        self._send(data, answerable)
        self.figures.sent += 1
        if rng.random() < 0.01:
            self._send(data, answerable)  # a retry on the same connection
            self.figures.sent += 1

    async def _settle(self, at_most: int) -> None:
        """Wait until so few requests are unanswered, or the connection is lost."""
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                while sum(self._outstanding.values()) > at_most and not self._channel.lost:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            xids = ", ".join(f"{xid:#x}" for xid in list(self._outstanding)[:5])
            self.figures.silent.append(f"{self.name}: no answer to {len(self._outstanding)} requests: {xids}")
            self._outstanding.clear()

    async def run(self, count: int) -> None:
        """Send `count` mutated requests, over as many connections as that takes.

        Raises OSError if the server cannot be reached.
        """
        done = 0
        failures = 0
        while done < count and failures < FAILURES_MAX:
            failures += 1
            try:
                await self._begin()
                await self._refresh()
                done += await self._one_connection(count - done)
                failures = 0
            except WireError as error:
                self.figures.failures[str(error)] += 1
            except TimeoutError:
                failures = 0
            self.figures.forgiven += sum(self._outstanding.values())
            channel = self._channel
            channel.closing = True
            channel.transport.abort() if self.rng.random() < 0.5 else channel.transport.close()

    async def _one_connection(self, most: int) -> int:
        budget = min(most, self.rng.randrange(1, 40) if self.breaker else 5000)
        for number in range(budget):
            worn = self._renewed_session or (self.minor and len(self._free) + len(self._slot_of) < SLOTS // 4)
            if self._channel.lost or worn:
                await self._settle(0)
                return number + 1
            if number % REFRESH_INTERVAL == REFRESH_INTERVAL - 1:
                await self._settle(0)
                await self._refresh()
            await self._mutated()
            if number % 8 == 7:
                await asyncio.sleep(0)
            if len(self._outstanding) >= IN_FLIGHT_MAX:
                await self._settle(IN_FLIGHT_MAX // 2)
        await self._settle(0)
        if self.breaker:
            await self._break()
        return budget

    async def _break(self) -> None:
        """End the connection by bytes that no record can be found in; the server may only close it."""
        message = call(self._xid, compound(self.minor, self._composer.compose()))
        self._send(mutations.broken_stream(message, self.rng), None)
        self.figures.sent += 1
        # Some of these the server cannot tell from a slow peer: then it is we who close.
        async with asyncio.timeout(0.05):
            while not self._channel.lost:
                self.changed.clear()
                await self.changed.wait()


def _sequence_outcome(message: bytes) -> tuple[int, int] | None:
    """Status and sequence id of the SEQUENCE that a reply begins with, None if it begins with none."""
    if len(message) < 44 or message[20:24] != bytes(4):
        return None
    at = 36 + (_WORD.unpack_from(message, 28)[0] + 3 & ~3)
    if len(message) < at + 8:
        return None
    opnum, status = struct.unpack_from(">2I", message, at)
    if opnum != nfs4.OP_SEQUENCE:
        return None
    return status, _WORD.unpack_from(message, at + 24)[0] if status == nfs4.NFS4_OK else 0
