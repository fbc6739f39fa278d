"""Damage to any stored record, at random: the server starts, says so once, and serves nothing that it cannot trust.

The long run, a minute or two: python -m pytest -q -s -m long tests/once/test_corruption.py.  The seed is printed;
UNDERSTUDY_SEED sets it.
"""

from __future__ import annotations

import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nfsd.resume import losses, requests, salvage
from nfsd.state.reply_cache import record_key
from statestore import (
    ANSWER,
    GRANT,
    HOLDER,
    INTENT,
    META,
    NAME,
    OPEN,
    OWNER,
    PENDING,
    QUARANTINE,
    RANGE,
    SLOT,
    STREAM,
    ChangeSet,
    LmdbStore,
    StoreDamaged,
    kind_name,
    verify,
)
from tests.once.harness import Boundaries, Crash, Life, World
from tests.once.scenarios import Client
from tests.support import operations as ops
from tests.wire.store import Records, holder_of, rewrite, stored_records

EVERYDAY_COUNT, LONG_COUNT = 300, 10_000
OWN_RECORDS = (b"store.format", b"store.epoch")
KINDS = {HOLDER, STREAM, SLOT, OWNER, OPEN, RANGE, GRANT, INTENT, PENDING, META, ANSWER, QUARANTINE}
DEADLY_BOUNDARY = 4  # Right behind the system call: the intent is stored, the change is made.
Facts = dict[tuple[int, bytes], object]


class Log:
    """What was said, by event."""

    def __init__(self) -> None:
        self.said: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, _level: str) -> Callable[..., None]:
        return lambda event, **fields: self.said.append((event, fields))

    def count(self, *events: str) -> int:
        """How many lines had one of these events."""
        return sum(event in events for event, _fields in self.said)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    """The log of what concerns lost records and intents."""
    found = Log()
    for module in (losses, requests, salvage):
        monkeypatch.setattr(module, "log", found)
    return found


def hold(world: World, minor: int, name: bytes) -> Client:
    """A client with an open, locked file, and one without a name."""
    client = Client(world, minor, name)
    for path in (name + b"-kept", name + b"-removed"):
        (world.export / path.decode()).write_bytes(path)
        client.open(path)
        client.owner_seqid += not minor
        locking = ops.lock_new(
            client.held, 10, 20, owner=path, clientid=client.clientid, open_seqid=client.owner_seqid, lock_seqid=0
        )
        client.ok(ops.putfh(client.handle), locking)
    client.ok(ops.putfh(client.root), ops.remove(name + b"-removed"))
    return client


def populated(boundaries: Boundaries, directory: Path, handles: str = "kernel") -> World:
    """A world that died in the middle of a request, with records of every kind."""
    world = World(boundaries, directory, handles)
    for number in range(2):
        hold(world, 1, b"client%d" % number)
        hold(world, 0, b"older%d" % number)
    changes = ChangeSet()
    changes.put(GRANT, b"grant", b"of no use yet")
    changes.put(META, b"verifier", bytes(4))
    changes.put(META, b"blackout.unreadable", b"nonsense")
    world.life.outbox.commit_now(changes)
    # The unreadable one is put aside: a record of that kind too.
    world.restart()
    dying = Client(world, 1, b"dying")
    record = dying.record(ops.putfh(dying.root), ops.mkdir(b"made"))
    boundaries.arm(DEADLY_BOUNDARY)
    with pytest.raises(Crash):
        world.send(record)
    world.die()
    return world


class Sweep:
    """One populated state, damaged again and again; `whole` is what a server makes of it undamaged."""

    def __init__(self, world: World, log: Log) -> None:
        self.world, self.log = world, log
        self.state = world.directory / "state"
        self.sound = stored_records(self.state)
        self.content = (self.state / "data.mdb").read_bytes()
        world.start()
        self.whole = facts(world.life)
        self.kept = len(world.life.taken.quarantine)
        world.die()
        log.said.clear()

    def restore(self) -> None:
        """The state as it was before any damage."""
        (self.state / "data.mdb").write_bytes(self.content)

    def run(self, stored_key: bytes, stored_value: bytes) -> None:
        """Damage one record, start, and see what is served; start again, and hear nothing."""
        kind, key = stored_key[0], stored_key[1:]
        self.restore()
        rewrite(self.state, {stored_key: stored_value})
        self.log.said.clear()
        if kind == META and key in OWN_RECORDS:
            for opening in (verify, lambda state: LmdbStore.open(state, level="process", on_failure=print)):
                with pytest.raises(StoreDamaged, match="is damaged at META"):
                    opening(self.state)
            return
        assert stored_key in {bytes((each.kind,)) + each.key for each in verify(self.state).damaged}
        self.world.start()
        try:
            self.check(kind, key)
        finally:
            self.world.die()
        self.log.said.clear()
        self.world.start()
        again = len(self.world.life.taken.quarantine)
        self.world.die()
        assert self.log.count("record.damaged", "record.left_out") == 0
        assert again >= self.kept + (kind != QUARANTINE)
        assert not verify(self.state).damaged

    def check(self, kind: int, key: bytes) -> None:
        """The damage is said, and nothing is there but what the damage leaves, unchanged."""
        life = self.world.life
        said = [str(fields["record"]) for event, fields in self.log.said if event == "record.damaged"]
        assert len(said) == 1 and said[0].startswith(f"{kind_name(kind)} {key.hex()}: ")
        found = facts(life)
        changed = {fact for fact in found if self.whole.get(fact) != found[fact]}
        assert not changed
        gone = set(self.whole) - set(found)
        assert gone == costs(self.sound, self.whole, kind, key)
        assert life.engine.counters.recovered["undecidable"] == (kind == INTENT)


def facts(life: Life) -> Facts:
    """What a server holds of its store, by the record that it has it from."""
    state = life.state
    found: Facts = {}
    for client in state.clients:
        found[HOLDER, client.key] = client.owner, client.verifier, client.create_sequence
        for owner in (*client.open_owners.values(), *client.lock_owners.values()):
            found[OWNER, owner.key] = owner.seqid, owner.result
    for session in state.sessions.values():
        found[STREAM, session.sessionid] = session.client.clientid
        for slot in session.slots:
            if slot is not None:
                # A change attribute in the reply to the interrupted request is another at each recovery.
                dying = session.client.owner == b"dying"
                found[SLOT, slot.key] = slot.seqid, len(slot.reply or b"") if dying else slot.reply
    for held in state.filter.opens.values():
        grants = ((held.caller, held.granted), *held.others)
        found[OPEN, held.key] = held.owner, held.object, held.access, held.deny, held.seqid, held.other, grants
        for lock in (held.locks or {}).values():
            found[RANGE, lock.key] = lock.owner, lock.seqid, [(each.start, each.end) for each in lock.held()]
    for handle in state.filter.pending:
        found[PENDING, handle] = True
    for key, reply in life.engine.replies._replies.items():
        found[ANSWER, record_key(key)] = reply
    return found


def costs(sound: Records, whole: Facts, kind: int, key: bytes) -> set[tuple[int, bytes]]:
    """What goes with a record, by the table in docs/failover.md."""
    if kind == PENDING:
        return set()
    gone = {(kind, key)} & set(whole)
    if kind == HOLDER:
        gone |= {fact for fact in whole if holder_of(sound, bytes((fact[0],)) + fact[1]) == key}
    if kind in (HOLDER, STREAM, SLOT, INTENT):
        of_stream = key[1:17] if kind == INTENT else key[:8] if kind == HOLDER else key[:16]
        gone |= {fact for fact in whole if fact[0] in (STREAM, SLOT) and fact[1].startswith(of_stream)}
    if kind == OWNER:
        gone |= {fact for fact in whole if fact[0] in (OPEN, RANGE) and owner_of(sound, whole, fact) == key}
    opened = {fact for fact in gone if fact[0] == OPEN}
    for open_key in {fact[1] for fact in opened}:
        gone |= {fact for fact in whole if fact[0] == RANGE and fact[1].startswith(open_key)}
    handles = {whole[fact][1] for fact in opened}  # type: ignore[index]
    return gone | {(PENDING, handle) for handle in handles if (PENDING, handle) in whole}


def owner_of(sound: Records, whole: Facts, fact: tuple[int, bytes]) -> bytes:
    """The key of the NFSv4.0 owner's record that an open or a lock belongs to."""
    name: bytes = whole[fact][0]  # type: ignore[index]
    kind = b"l" if fact[0] == RANGE else b"o"
    digest = hashlib.blake2b(kind + name, digest_size=16).digest()
    return holder_of(sound, bytes((fact[0],)) + fact[1]) + digest


def damage_of(rng: random.Random, stored_value: bytes) -> bytes:
    """A stored value with one to three wrong bits, cut short, or with something behind it."""
    how = rng.randrange(10)
    if how == 0:
        return stored_value[: rng.randrange(len(stored_value))]
    if how == 1:
        return stored_value + rng.randbytes(rng.randrange(1, 9))
    harmed = bytearray(stored_value)
    for bit in rng.sample(range(8 * len(harmed)), rng.randrange(1, 4)):
        harmed[bit // 8] ^= 1 << bit % 8
    return bytes(harmed)


def sweep(boundaries: Boundaries, directory: Path, log: Log, seed: int, count: int) -> None:
    """Damage one record after the other, of each kind as often."""
    rng = random.Random(seed)
    swept = Sweep(populated(boundaries, directory), log)
    by_kind: dict[int, list[bytes]] = {}
    for stored_key in swept.sound:
        by_kind.setdefault(stored_key[0], []).append(stored_key)
    assert set(by_kind) == KINDS
    done: Counter[str] = Counter()
    try:
        for number in range(count):
            kind = sorted(KINDS)[number % len(KINDS)]
            stored_key = rng.choice(by_kind[kind])
            swept.run(stored_key, damage_of(rng, swept.sound[stored_key]))
            done[kind_name(kind)] += 1
    finally:
        print(f"{done.total()} records damaged: {dict(done)}")
        shutil.rmtree(swept.world.directory)


def test_corruption(boundaries: Boundaries, directory: Path, log: Log, new_seed: int) -> None:
    """A bounded number, every day."""
    sweep(boundaries, directory, log, new_seed, EVERYDAY_COUNT)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_corruption_long(boundaries: Boundaries, directory: Path, log: Log, new_seed: int) -> None:
    """Ten thousand."""
    sweep(boundaries, directory, log, new_seed, LONG_COUNT)


def test_corruption_reclaim(boundaries: Boundaries, directory: Path, log: Log) -> None:
    """A start that lets clients claim what they had puts the same records aside, and is silent afterwards."""
    world = populated(boundaries, directory)
    state = world.directory / "state"
    for kind in sorted({HOLDER, STREAM, SLOT, OWNER, OPEN, RANGE, PENDING}):
        world.recovery = "resume"
        stored_key = next(stored_key for stored_key in stored_records(state) if stored_key[0] == kind)
        rewrite(state, {stored_key: damage_of(random.Random(kind), stored_records(state)[stored_key])})
    world.recovery = "reclaim"
    world.start()
    assert log.count("record.damaged") == 7
    world.die()
    log.said.clear()
    world.start()
    assert log.count("record.damaged", "record.left_out") == 0
    world.close()


def test_corruption_names(boundaries: Boundaries, directory: Path, log: Log) -> None:
    """Where handles are a table: each row that is damaged is forgotten, and its number is not given again."""
    world = populated(boundaries, directory, "table")
    state = world.directory / "state"
    content, sound = (state / "data.mdb").read_bytes(), stored_records(state)
    rows = [stored_key for stored_key in sound if stored_key[0] == NAME]
    assert len(rows) > 5
    for stored_key in rows:
        (state / "data.mdb").write_bytes(content)
        rewrite(state, {stored_key: damage_of(random.Random(stored_key), sound[stored_key])})
        log.said.clear()
        world.start()
        assert log.count("record.damaged") == 1
        [tree] = world.life.namespace.trees()
        known, number = tree.table.rows, int.from_bytes(stored_key[2:], "big")  # type: ignore[attr-defined]
        assert number not in known and len(known) >= len(rows) - 2
        Client(world, 1, b"new").ok(ops.putrootfh(), ops.mkdir(b"new%d" % number))
        assert number not in known
        world.restart()
        assert log.count("record.damaged", "record.left_out") == 1
        world.die()
    shutil.rmtree(world.directory)
