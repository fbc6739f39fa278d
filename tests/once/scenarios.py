"""The requests that change a file system, each with what there is before it.

Owns the list; must not know how they are crashed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.once.harness import World, decoded
from tests.support import operations as ops
from xdr.generated import nfs4

Setup = Callable[["Client"], None]
Request = Callable[["Client"], list[ops.Op]]

NEW_OWNER = 1234


class Client:
    """One client of a minor version; `held` and `handle` are of the file that a setup has opened."""

    def __init__(self, world: World, minor: int, name: bytes = b"client") -> None:
        self.world = world
        self.minor = minor
        self.seqid = 0
        self.owner_seqid = 0
        self.clientid = 0
        self.sessionid = b""
        self.held = ops.ANONYMOUS
        self.handle = b""
        if minor:
            made: Any = self.plain(ops.exchange_id(name))[0].eir_resok4
            self.clientid = made.eir_clientid
            begun: Any = self.plain(ops.create_session(self.clientid, made.eir_sequenceid))[0].csr_resok4
            self.sessionid = begun.csr_sessionid
            self.ok(ops.reclaim_complete())
        else:
            told: Any = self.plain(ops.setclientid(name))[0].resok4
            self.clientid = told.clientid
            self.plain(ops.setclientid_confirm(self.clientid, told.setclientid_confirm))
        self.root: bytes = self.ok(ops.putrootfh(), ops.getfh())[-1].resok4.object

    def plain(self, *operations: ops.Op) -> list[Any]:
        """A compound without SEQUENCE that must succeed."""
        reply = decoded(self.world.send(self.world.record(self.minor, *operations)))
        assert reply.status == nfs4.NFS4_OK, nfs4.nfsstat4_names[reply.status]
        return [result.arm for result in reply.resarray]

    def record(self, *operations: ops.Op) -> bytes:
        """The record of the next request."""
        if not self.minor:
            return self.world.record(0, *operations)
        self.seqid += 1
        return self.world.record(self.minor, ops.sequence(self.sessionid, self.seqid, cache=True), *operations)

    def ok(self, *operations: ops.Op) -> list[Any]:
        """The next request, which must succeed."""
        reply = decoded(self.world.send(self.record(*operations)))
        assert reply.status == nfs4.NFS4_OK, nfs4.nfsstat4_names[reply.status]
        return [result.arm for result in reply.resarray]

    def opening(self, name: bytes, how: nfs4.createhow4 | None = None, owner: bytes = b"owner") -> ops.Op:
        """OPEN; an NFSv4.0 owner must be confirmed already."""
        self.owner_seqid += not self.minor
        return ops.open_(name, owner=owner, how=how, clientid=self.clientid, seqid=self.owner_seqid)

    def open(self, name: bytes) -> None:
        """Open a file of the root, and keep it open."""
        found = self.ok(ops.putfh(self.root), self.opening(name), ops.getfh())
        self.held, self.handle = found[-2].resok4.stateid, found[-1].resok4.object
        if not self.minor and found[-2].resok4.rflags & nfs4.OPEN4_RESULT_CONFIRM:
            self.owner_seqid += 1
            confirmed = self.ok(ops.putfh(self.handle), ops.open_confirm(self.held, self.owner_seqid))
            self.held = confirmed[-1].resok4.open_stateid


@dataclass(frozen=True)
class Scenario:
    """One request; `expect` is the status that it ends with."""

    name: str
    request: Request
    files: tuple[str, ...] = ()
    opened: bytes = b""
    minors: tuple[int, ...] = (1, 0)
    expect: int = nfs4.NFS4_OK

    def prepare(self, client: Client) -> None:
        """Make what there is before the request."""
        for name in self.files:
            path: Path = client.world.export / name
            if name.endswith("/"):
                path.mkdir()
            else:
                path.write_bytes(name.encode() * 3)
                os.setxattr(path, "user.old", b"old value")
                os.setxattr(path, "user.same", b"new value")
        if self.opened:
            client.open(self.opened)


def create(kind: int, name: bytes, values: nfs4.fattr4 | None = None, target: bytes = b"") -> ops.Op:
    """CREATE."""
    made = nfs4.createtype4(kind, linkdata=target) if kind == nfs4.NF4LNK else nfs4.createtype4(kind)
    return ops.Op(nfs4.OP_CREATE, nfs4.CREATE4args(made, name, values or ops.attrs(mode=0o755)))


def owned(mode: int) -> nfs4.fattr4:
    """Mode and owner."""
    owner = str(NEW_OWNER).encode()
    text = len(owner).to_bytes(4, "big") + owner + bytes(-len(owner) % 4)
    return nfs4.fattr4(1 << nfs4.FATTR4_MODE | 1 << nfs4.FATTR4_OWNER, mode.to_bytes(4, "big") + text)


def everything(size: int, mode: int) -> nfs4.fattr4:
    """Size, mode, owner, and a time of the client's."""
    plain = owned(mode)
    time = (1).to_bytes(4, "big") + (1_000_000_000).to_bytes(8, "big") + bytes(4)
    return nfs4.fattr4(
        plain.attrmask | 1 << nfs4.FATTR4_SIZE | 1 << nfs4.FATTR4_TIME_MODIFY_SET,
        size.to_bytes(8, "big") + bytes(plain.attr_vals) + time,
    )


def at_root(*operations: Callable[[Client], ops.Op] | ops.Op) -> Request:
    """A request in the export's root."""
    return lambda c: [ops.putfh(c.root), *(op if isinstance(op, ops.Op) else op(c) for op in operations)]


def at_file(*operations: Callable[[Client], ops.Op] | ops.Op, name: bytes = b"f") -> Request:
    """A request on a file of the root."""
    return at_root(ops.lookup(name), *operations)


def rename(old: bytes, new: bytes) -> Request:
    """RENAME within the root."""
    return at_root(ops.savefh(), ops.Op(nfs4.OP_RENAME, nfs4.RENAME4args(old, new)))


def setxattr(option: int, key: bytes, value: bytes = b"new value") -> ops.Op:
    """SETXATTR."""
    return ops.Op(nfs4.OP_SETXATTR, nfs4.SETXATTR4args(option, key, value))


def removexattr(key: bytes) -> ops.Op:
    """REMOVEXATTR."""
    return ops.Op(nfs4.OP_REMOVEXATTR, nfs4.REMOVEXATTR4args(key))


def opening(how: nfs4.createhow4, name: bytes = b"new") -> Callable[[Client], ops.Op]:
    """OPEN that creates."""
    return lambda c: c.opening(name, how)


TYPE_AND_LINKS = ops.getattr_(nfs4.FATTR4_TYPE, nfs4.FATTR4_SIZE, nfs4.FATTR4_NUMLINKS)
LINK = ops.Op(nfs4.OP_LINK, nfs4.LINK4args(b"name"))
EXIST, NOENT = nfs4.NFS4ERR_EXIST, nfs4.NFS4ERR_NOENT

SCENARIOS = (
    Scenario("mkdir", at_root(create(nfs4.NF4DIR, b"d"), ops.getfh(), TYPE_AND_LINKS)),
    Scenario("mkdir, set-gid and an owner", at_root(create(nfs4.NF4DIR, b"d", owned(0o2775)), ops.getfh())),
    Scenario("mkdir of what exists", at_root(ops.mkdir(b"d")), ("d/",), expect=EXIST),
    Scenario("symlink", at_root(create(nfs4.NF4LNK, b"l", ops.NO_ATTRS, b"target"))),
    Scenario("fifo", at_root(create(nfs4.NF4FIFO, b"p", owned(0o640)))),
    Scenario("fifo, set-id bits and an owner", at_root(create(nfs4.NF4FIFO, b"p", owned(0o6710)), ops.getfh())),
    Scenario(
        "open, set-id bits and an owner", at_root(opening(ops.guarded(owned(0o6710))), ops.getfh()), ("f",), b"f"
    ),
    Scenario(
        "open, unchecked", at_root(opening(ops.unchecked(owned(0o640))), ops.getfh(), TYPE_AND_LINKS), ("f",), b"f"
    ),
    Scenario("open, guarded", at_root(opening(ops.guarded(ops.attrs(mode=0o600))), ops.getfh()), ("f",), b"f"),
    Scenario("open, guarded, exists", at_root(opening(ops.guarded(), b"f")), ("f",), b"f", expect=EXIST),
    Scenario("open, exclusive", at_root(opening(ops.exclusive(b"verifier")), ops.getfh()), ("f",), b"f"),
    Scenario(
        "open, exclusive with attributes",
        at_root(opening(ops.exclusive41(b"verifier", ops.attrs(mode=0o600))), ops.getfh()), minors=(1,),
    ),
    Scenario("open, truncating", at_root(opening(ops.unchecked(ops.attrs(size=0)), b"f")), ("f",), b"f"),
    Scenario("open, create and write", lambda c: [
        ops.putfh(c.root), c.opening(b"new", ops.guarded()),
        ops.write(ops.CURRENT, b"data", stable=nfs4.FILE_SYNC4), TYPE_AND_LINKS,
        ops.setattr_(ops.CURRENT, ops.attrs(size=2)), TYPE_AND_LINKS,
    ], minors=(1,)),
    Scenario("remove a file", at_root(ops.remove(b"f")), ("f",)),
    Scenario("remove a directory", at_root(ops.remove(b"d")), ("d/",)),
    Scenario("remove a full directory", at_root(ops.remove(b"d")), ("d/", "d/f"), expect=nfs4.NFS4ERR_NOTEMPTY),
    Scenario("remove what does not exist", at_root(ops.remove(b"f")), expect=NOENT),
    Scenario("remove an open file", at_root(ops.remove(b"f")), ("f",), b"f"),
    Scenario("rename", rename(b"f", b"g"), ("f",)),
    Scenario("rename a directory", rename(b"d", b"e"), ("d/", "d/f")),
    Scenario("rename over a file", rename(b"f", b"g"), ("f", "g")),
    Scenario("rename over an open file", rename(b"f", b"g"), ("f", "g"), b"g"),
    Scenario("rename what does not exist", rename(b"f", b"g"), expect=NOENT),
    Scenario("link", at_file(ops.savefh(), lambda c: ops.putfh(c.root), LINK), ("f",)),
    Scenario("link, exists", at_file(ops.savefh(), lambda c: ops.putfh(c.root), LINK), ("f", "name"), expect=EXIST),
    Scenario("setattr, mode", at_file(ops.setattr_(ops.ANONYMOUS, ops.attrs(mode=0o600))), ("f",)),
    Scenario("setattr, everything", at_file(ops.setattr_(ops.ANONYMOUS, everything(1, 0o444)), TYPE_AND_LINKS), ("f",)),
    Scenario("setattr, size by an open", at_file(lambda c: ops.setattr_(c.held, ops.attrs(size=0))), ("f",), b"f"),
    Scenario("setxattr", at_file(setxattr(nfs4.SETXATTR4_EITHER, b"new")), ("f",), minors=(2,)),
    Scenario("setxattr, create", at_file(setxattr(nfs4.SETXATTR4_CREATE, b"new")), ("f",), minors=(2,)),
    Scenario(
        "setxattr, create, exists", at_file(setxattr(nfs4.SETXATTR4_CREATE, b"old")), ("f",), minors=(2,), expect=EXIST
    ),
    Scenario("setxattr, replace", at_file(setxattr(nfs4.SETXATTR4_REPLACE, b"old")), ("f",), minors=(2,)),
    Scenario("setxattr, the same value", at_file(setxattr(nfs4.SETXATTR4_REPLACE, b"same")), ("f",), minors=(2,)),
    Scenario("removexattr", at_file(removexattr(b"old")), ("f",), minors=(2,)),
    Scenario("three changes", at_root(
        ops.mkdir(b"d"), create(nfs4.NF4LNK, b"l", ops.NO_ATTRS, b"t"), lambda c: ops.putfh(c.root), ops.remove(b"f"),
    ), ("f",)),
)  # fmt: skip
