"""An administrator's blackouts: whom they cover, when they end, and that their records bring them back."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nfsd.errors import Nfs4Error
from nfsd.state.blackout import BLACKOUTS_MAX, CLIENT, EXPORT, FILE, Blackout, Blackouts
from nfsd.state.clients import Client
from statestore import META, ChangeSet, MemoryStore
from xdr.codec import XdrError
from xdr.generated import nfs4

NOW = 100.0


def client_of(owner: bytes) -> Client:
    """A client."""
    return Client(clientid=7, family=1, owner=owner, verifier=bytes(8), principal=b"1:0", now=NOW)


def compound(now: float = NOW, *, minor: int = 1, address: str = "192.0.2.1") -> Any:
    """As much of a request as a blackout looks at."""
    connection = SimpleNamespace(address=address, peer=f"{address}:700")
    return SimpleNamespace(now=now, minor=minor, connection=connection, client=None)


def node(handle: bytes = b"handle", pseudo: str | None = "/export") -> Any:
    """A file of an export, or one above the exports."""
    export = SimpleNamespace(pseudo=pseudo) if pseudo is not None else None
    return SimpleNamespace(handle=handle, fs=SimpleNamespace(export=export))


def standing(what: str, target: bytes, *, retry: bool = True, address: str = "") -> Blackouts:
    """One blackout of 10 s."""
    blackouts = Blackouts()
    blackouts.begin(Blackout(what, target, "name", until=NOW + 10, retry=retry, address=address), NOW, ChangeSet())
    return blackouts


def refused(blackouts: Blackouts, request: Any, about: Any, client: Client | None = None) -> int:
    """The status that a request gets."""
    try:
        blackouts.check(request, about, client)
    except Nfs4Error as error:
        return error.status
    return nfs4.NFS4_OK


def test_file() -> None:
    """One file, for everybody, for its time."""
    blackouts = standing(FILE, b"handle")
    assert refused(blackouts, compound(), node()) == nfs4.NFS4ERR_DELAY
    assert refused(blackouts, compound(), node(b"another")) == nfs4.NFS4_OK
    assert refused(blackouts, compound(NOW + 10), node()) == nfs4.NFS4_OK
    assert blackouts.refusals == 1


def test_export() -> None:
    """Every file of one export, and nothing above it."""
    blackouts = standing(EXPORT, b"/export", retry=False)
    assert refused(blackouts, compound(), node()) == nfs4.NFS4ERR_ACCESS
    assert refused(blackouts, compound(), node(pseudo="/other")) == nfs4.NFS4_OK
    assert refused(blackouts, compound(), node(pseudo=None)) == nfs4.NFS4_OK


def test_client() -> None:
    """One client by its identity; an NFSv4.0 request that names none by its address."""
    one = client_of(b"one")
    blackouts = standing(CLIENT, one.identity, address="192.0.2.1")
    assert refused(blackouts, compound(), node(), one) == nfs4.NFS4ERR_DELAY
    assert refused(blackouts, compound(), node(), client_of(b"two")) == nfs4.NFS4_OK
    assert refused(blackouts, compound(minor=0), node()) == nfs4.NFS4ERR_DELAY
    assert refused(blackouts, compound(minor=0, address="192.0.2.2"), node()) == nfs4.NFS4_OK


def test_reap() -> None:
    """It ends by itself, and its record goes."""
    store = MemoryStore()
    blackouts = Blackouts()
    changes = ChangeSet()
    blackouts.begin(Blackout(FILE, b"handle", "/f", until=NOW + 10, retry=True), NOW, changes)
    blackouts.reap(NOW + 9, changes)
    store.commit(changes)
    store.flush()
    assert len(list(store.load())) == 1
    changes = ChangeSet()
    blackouts.reap(NOW + 10, changes)
    store.commit(changes)
    store.flush()
    assert not list(store.load())
    assert not blackouts.standing


def test_record_on_another_clock() -> None:
    """After a restart the end is the same moment of the wall clock, though the server's own clock began anew."""
    changes = ChangeSet()
    before = Blackouts(wall_offset_s=1_000_000.0)
    name = b"/export/\xff".decode("utf-8", "surrogateescape")
    before.begin(Blackout(CLIENT, b"id", name, until=NOW + 10, retry=False, address="::1"), NOW, changes)
    store = MemoryStore()
    store.commit(changes)
    store.flush()
    ((kind, key, value),) = store.load()
    after = Blackouts(wall_offset_s=1_000_000.0 + NOW)
    assert kind == META
    assert after.load(key, value)
    found = after.standing[CLIENT, b"id"]
    assert found.until == pytest.approx(10)
    assert (found.name, found.retry, found.address) == (name, False, "::1")
    with pytest.raises(XdrError):
        after.load(key, value[:-1])
    assert not after.load(b"instances", value)


def test_limit() -> None:
    """There is a limit, which setting one again does not meet."""
    blackouts = Blackouts()
    for number in range(BLACKOUTS_MAX):
        blackouts.begin(Blackout(FILE, b"%d" % number, "f", until=NOW, retry=True), NOW, ChangeSet())
    blackouts.begin(Blackout(FILE, b"0", "f", until=NOW + 5, retry=True), NOW, ChangeSet())
    with pytest.raises(ValueError, match="lift some"):
        blackouts.begin(Blackout(FILE, b"more", "f", until=NOW, retry=True), NOW, ChangeSet())
