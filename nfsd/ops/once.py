"""Exactly once: whether a change that was intended before a crash has happened (docs/failover.md has the table).

Owns the evidence, one function for each kind of change, and nothing else.  They run in recovery only, before anybody
is served: between the intent and now only programs on this machine can have changed the tree.  A function returns
whether the change is done, or raises Undecidable: it never guesses.  What is done has touched its nodes.
"""

from __future__ import annotations

import hashlib
import os
import stat

from nfsd.attributes import SetAttrs
from nfsd.errors import Undecidable
from nfsd.vfs.credentials import switching
from nfsd.vfs.interface import Credentials, Node

# A file's time of birth comes from the kernel's coarse clock, which lags by up to a tick (10 ms at 100 Hz).
TICK_NS = 20_000_000
_VALUE_DIGEST_SIZE = 16
_TIME_MIN_NS, _TIME_MAX_NS = -(1 << 63), (1 << 63) - 1


class Before:
    """What there was before a change.

    `found` is the identity of what the name led to (`FileSystem.identify`), or the digest of a value; empty where
    there was nothing.  `change` is of the object or directory, `other_change` of a second directory.
    """

    __slots__ = (
        "change", "other_change", "found", "other_found", "at_ns", "size", "mode", "uid", "gid", "atime_ns", "mtime_ns",
    )  # fmt: skip

    def __init__(
        self, change: int, found: bytes = b"", other_change: int = 0, other_found: bytes = b"", *, at_ns: int = 0,
        size: int = 0, mode: int = 0, uid: int = 0, gid: int = 0, atime_ns: int = 0, mtime_ns: int = 0,
    ) -> None:  # fmt: skip
        self.change = change
        self.found = found
        self.other_change = other_change
        self.other_found = other_found
        self.at_ns = at_ns
        self.size = size
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.atime_ns = atime_ns
        self.mtime_ns = mtime_ns


def storable(time_ns: int) -> int:
    """A file's time as a record has it: 64 bits, the nearest where a client has set one beyond the year 2262."""
    return max(_TIME_MIN_NS, min(_TIME_MAX_NS, time_ns))


def is_removed(parent: Node, name: bytes, cred: Credentials, before: Before) -> bool:
    """REMOVE: what the name led to is not there any more."""
    if not before.found:
        return False
    found = parent.fs.identify(parent, name, cred)
    if found and found != before.found:
        raise Undecidable("another object has the name")
    return _done(not found, parent)


def is_renamed(source: Node, oldname: bytes, target: Node, newname: bytes, cred: Credentials, before: Before) -> bool:
    """RENAME: the new name leads to what the old one led to, and the old one does not."""
    if not before.found:
        return False
    old = source.fs.identify(source, oldname, cred)
    if old == before.found:
        return False
    if target.fs.identify(target, newname, cred) != before.found:
        raise Undecidable("neither name leads to the object")
    return _done(True, source, target)


def is_linked(node: Node, parent: Node, name: bytes, cred: Credentials, before: Before) -> bool:
    """LINK: the name, which was free, leads to the object."""
    if before.found:
        return False
    found = parent.fs.identify(parent, name, cred)
    return _done(parent.fs.handle_of(found) == node.handle, node, parent)


def made(parent: Node, name: bytes, cred: Credentials, before: Before, kind: int, wanted: SetAttrs) -> Node | None:
    """CREATE, OPEN: the object that the name, which was free, leads to, if it can only be the one intended.

    It is of the kind and the owner that were asked for, and was born after the intent.
    """
    fs = parent.fs
    if before.found or not fs.identify(parent, name, cred):
        return None
    node = fs.lookup(parent, name, cred)
    owner = cred.uid if switching() else os.geteuid()
    born_ns = fs.btime_ns(node)
    if node.kind != kind or fs.stat(node).st_uid not in (owner, wanted.uid):
        return None
    if born_ns is not None and born_ns < before.at_ns - TICK_NS:
        return None
    _done(True, parent)
    return node


def attributes_done(node: Node, before: Before, steps: list[dict[str, object]]) -> int:
    """SETATTR: how many of its steps have surely been taken; those after them are taken again.

    A step has been taken if its values are in force and were not before; and then so have those before it.
    """
    st = node.fs.stat(node)
    now: dict[str, object] = {
        "size": st.st_size, "uid": st.st_uid, "gid": st.st_gid, "mode": stat.S_IMODE(st.st_mode),
        "atime_ns": st.st_atime_ns, "mtime_ns": st.st_mtime_ns,
    }  # fmt: skip
    then: dict[str, object] = {
        "size": before.size, "uid": before.uid, "gid": before.gid, "mode": before.mode,
        "atime_ns": before.atime_ns, "mtime_ns": before.mtime_ns,
    }  # fmt: skip
    node.fs.touch(node)
    done = 0
    for number, step in enumerate(steps, start=1):
        values = {name: value for name, value in step.items() if name in now and value is not None}
        in_force = all(now[name] == value for name, value in values.items())
        if in_force and any(then[name] != _as_stored(name, value) for name, value in values.items()):
            done = number
    return done


def _as_stored(name: str, value: object) -> object:
    """A value as the intent would have it: what was is known no better, and then the step is taken again."""
    return storable(value) if name.endswith("_ns") and isinstance(value, int) else value


def value_digest(node: Node, name: bytes, cred: Credentials) -> bytes:
    """What an extended attribute's value is recognised by; empty where there is none that could be read."""
    try:
        return digest_of(node.fs.getxattr(node, name, cred))
    except OSError:
        return b""


def digest_of(value: bytes) -> bytes:
    """What a value is recognised by."""
    return hashlib.blake2b(value, digest_size=_VALUE_DIGEST_SIZE).digest()


def is_value_set(node: Node, name: bytes, value: bytes, cred: Credentials, before: Before, *, creating: bool) -> bool:
    """SETXATTR: the value is there and was not.

    Where it was there before, setting it again changes nothing that anybody could tell.
    """
    if creating and before.found:
        return False
    now, wanted = value_digest(node, name, cred), digest_of(value)
    if now == before.found:
        return False
    if now == wanted:
        return _done(True, node)
    raise Undecidable("another value has been set")


def is_value_removed(node: Node, name: bytes, cred: Credentials, before: Before) -> bool:
    """REMOVEXATTR: the value that was there is not."""
    if not before.found:
        return False
    now = value_digest(node, name, cred)
    if now and now != before.found:
        raise Undecidable("another value has been set")
    return _done(not now, node)


def _done(done: bool, *nodes: Node) -> bool:
    if done:
        for node in nodes:
            node.fs.touch(node)
    return done
