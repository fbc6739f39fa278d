"""A protocol state without a process: what the tests of its rules stand on.

Owns builders, each over the server's own functions, with a clock and a randomness that the test sets; and a store in
memory that takes the changes step by step. Must not be a second implementation of any rule.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from nfsd.config import Limits, parse_export
from nfsd.exports import Namespace, parse_exports
from nfsd.rpc.connection import Connection
from nfsd.state import clients, opens, records, sessions
from nfsd.state.asker import Asker
from nfsd.state.fold import KINDS, Fold
from nfsd.state.model import Callback, Channel, Client, OpenState, SeqidOwner, Session
from nfsd.state.tables import State
from nfsd.vfs.interface import Credentials, Node
from nfsd.vfs.memory import opening
from nfsd.vfs.memorytree import MemoryTree
from statestore import ChangeSet, MemoryStore
from statestore.records import FRAME_SIZE
from tests.state.snapshot import differences, snapshot
from xdr.generated import nfs4

NOW = 1000.0
SECRET = bytes(range(32))
LEASE_TIME_S = 90
CALLER = Credentials(1000, 100, (4, 5))
ROOT = Credentials(0, 0)
READ, WRITE, BOTH = nfs4.OPEN4_SHARE_ACCESS_READ, nfs4.OPEN4_SHARE_ACCESS_WRITE, nfs4.OPEN4_SHARE_ACCESS_BOTH

Entry = tuple[int, bytes, bytes | None]
"""The kind, the key and the value of a record; None for its removal."""


class Requester(Asker):
    """Somebody who asks, by a request that changes `changes`."""

    __slots__ = ()

    def __init__(self, client: Client | None = None, *, minor: int = 1, now: float = NOW) -> None:
        self.minor = minor
        self.lease_time_s = LEASE_TIME_S
        self.now = now
        self.connection = Connection(1, "192.0.2.1", 700)
        self.client = client
        self.changes = ChangeSet()
        self.revealed = False
        self.stateid = None


def new_state(*, now: float = NOW, wall_offset_s: float = 0.0, limits: Limits | None = None, seed: int = 1) -> State:
    """A state that holds nothing."""
    return State(
        secret=SECRET, epoch=1, lease_time_s=LEASE_TIME_S, limits=limits or Limits(), now=now,
        random_bytes=random.Random(seed).randbytes, wall_offset_s=wall_offset_s,
    )  # fmt: skip


def entries_of(changes: ChangeSet) -> list[Entry]:
    """What a set changes."""
    return [
        (stored_key[0], stored_key[1:], None if value is None else value[FRAME_SIZE:])
        for stored_key, value in changes.entries.items()
    ]


def fold_all(fold: Fold, entries: Iterable[Entry]) -> None:
    """Fold records in their order, but for those that are no state."""
    for kind, key, value in entries:
        if kind in KINDS:
            fold.apply(kind, key, value)


class World:
    """A live state, some files to open, and the store that has what was committed."""

    def __init__(self, *, files: int = 3, wall_offset_s: float = 0.0, limits: Limits | None = None) -> None:
        self.state = new_state(wall_offset_s=wall_offset_s, limits=limits)
        self.now = NOW
        self.store = MemoryStore()
        # What each committed ChangeSet changed.
        self.steps: list[list[Entry]] = []
        # Slots whose last request was not stored.
        self.ahead: set[bytes] = set()
        self.namespace = Namespace(
            parse_exports([parse_export("/tree=/export,no_root_squash")]),
            SECRET,
            opener=opening({"/tree": MemoryTree(lambda: 0)}),
        )
        root = self.namespace.root()
        self.export = root.fs.lookup(root, b"export", ROOT)
        self.files = [self.file(b"file-%d" % number) for number in range(files)]

    # -- what there is ------------------------------------------------------------------------------------

    def file(self, name: bytes) -> Node:
        """A new regular file."""
        return self.export.fs.create(self.export, name, ROOT, 0o644)[0]

    def asker(self, client: Client | None = None, minor: int | None = None) -> Requester:
        """A request of a client, of its own minor version."""
        family = client.family if client is not None else 1
        return Requester(client, minor=family if minor is None else minor, now=self.now)

    def client(self, owner: bytes, family: int = 1, *, verifier: bytes = bytes(8), address: str = "") -> Client:
        """A client that has been confirmed and stored, in place of an older instance."""
        asker = self.asker(minor=family)
        client = Client(
            clientid=self.state.new_clientid(), family=family, owner=owner, verifier=verifier, principal=b"1:0",
            now=self.now,
        )  # fmt: skip
        clients.came_from(client, f"{address or '192.0.2.1'}:700")
        if not family:
            client.confirm = b"confirmd"
            client.callback = Callback(0x40000000, b"tcp", b"192.0.2.1.3.3", 7)
        self.state.clients.add_unconfirmed(client)
        old = self.state.clients.confirmed(family, owner)
        if old is not None:
            clients.remove_client(self.state, asker.changes, old)
        clients.confirm(self.state, client)
        records.put_client(asker.changes, client)
        self.commit(asker.changes)
        return client

    def session(self, client: Client, *, slots: int = 4) -> Session:
        """A session of a client of NFSv4.1."""
        changes = ChangeSet()
        channel = Channel(
            request_size_max=1000, reply_size_max=2000, reply_cached_max=64, operations_max=8, slots=slots
        )  # fmt: skip
        session = Session(
            sessions.new_sessionid(self.state, client), client, flags=2, callback_program=9, fore=channel, back=channel
        )
        sessions.add_session(self.state, session)
        client.create_sequence += 1
        client.create_reply = b"session %d" % client.create_sequence
        records.put_client(changes, client)
        records.put_session(changes, session)
        self.commit(changes)
        return session

    def owner(self, client: Client, name: bytes, is_lock_owner: bool = False) -> SeqidOwner:
        """An owner of a client of NFSv4.0; nothing is stored of a new one."""
        mine = client.lock_owners if is_lock_owner else client.open_owners
        owner = mine.get(name)
        if owner is None:
            owner = mine[name] = SeqidOwner(client, name, is_lock_owner)
        return owner

    def open(self, client: Client, owner: bytes, node: Node, access: int = BOTH, deny: int = 0) -> OpenState:
        """An open, granted and committed; of NFSv4.0 with its owner."""
        asker = self.asker(client)
        seqid_owner = None if client.family else self.owner(client, owner)
        held = opens.grant(self.state, asker, client, owner, node, access, deny, CALLER, access, seqid_owner)
        self.commit(asker.changes)
        return held

    # -- what is stored -----------------------------------------------------------------------------------

    def commit(self, changes: ChangeSet) -> None:
        """Make changes durable."""
        if changes:
            self.store.wait(self.store.commit(changes))
        self.steps.append(entries_of(changes))

    def records(self) -> list[Entry]:
        """All stored records, in the order of a start."""
        return list(self.store.load())

    def follower(self, entries: Iterable[Entry] = ()) -> Fold:
        """The fold of records into a state that held nothing, as another process would have it."""
        fold = Fold(new_state(now=self.now, wall_offset_s=self.state.wall_offset_s, seed=2))
        fold_all(fold, entries)
        return fold

    def differences(self, fold: Fold) -> list[str]:
        """What a fold has otherwise than the live state."""
        return differences(snapshot(self.state, self.ahead), snapshot(fold.state, self.ahead))
