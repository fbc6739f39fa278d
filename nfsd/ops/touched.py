"""Which objects an operation would use, so that an administrator's blackout can refuse it beforehand.

Owns that table.  What closes, unlocks, downgrades, renews, commits or only looks at names and attributes is not in
it: nobody loses state by a blackout, and what is held may always be given back.  OPEN and LOCK ask for themselves,
after an NFSv4.0 owner's sequence id has been admitted.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Callable
from typing import Any

from nfsd.ops.request import Request
from nfsd.ops.require import check_name, require_directory
from nfsd.state.conflicts import check_blackouts
from nfsd.state.durations import ATTRIBUTE, check_value
from nfsd.state.model import Client
from nfsd.vfs.interface import Node
from xdr.generated import nfs4

_Touches = Callable[["Request", Any], "list[Node]"]


def _current(c: Request, _args: Any) -> list[Node]:
    return [c.node()]


def _both(c: Request, _args: Any) -> list[Node]:
    return [c.saved_node(), c.node()]


def _entry(c: Request, parent: Node, name: bytes) -> list[Node]:
    """A directory and what the name stands for, if it stands for anything; what is wrong the operation finds out."""
    require_directory(parent)
    touched = [parent]
    with contextlib.suppress(OSError):
        touched.append(parent.fs.lookup(parent, check_name(parent, name), c.as_caller(parent)))
    return touched


def _removed(c: Request, args: nfs4.REMOVE4args) -> list[Node]:
    return _entry(c, c.node(), args.target)


def _renamed(c: Request, args: nfs4.RENAME4args) -> list[Node]:
    return _entry(c, c.saved_node(), args.oldname) + _entry(c, c.node(), args.newname)


_TOUCHES: dict[int, _Touches] = {
    nfs4.OP_READ: _current,
    nfs4.OP_WRITE: _current,
    nfs4.OP_SETATTR: _current,
    nfs4.OP_LOCKT: _current,
    nfs4.OP_CREATE: _current,
    nfs4.OP_LINK: _both,
    nfs4.OP_REMOVE: _removed,
    nfs4.OP_RENAME: _renamed,
    nfs4.OP_ALLOCATE: _current,
    nfs4.OP_DEALLOCATE: _current,
    nfs4.OP_SEEK: _current,
    nfs4.OP_COPY: _both,
    nfs4.OP_CLONE: _both,
    nfs4.OP_GETXATTR: _current,
    nfs4.OP_SETXATTR: _current,
    nfs4.OP_REMOVEXATTR: _current,
}


def admit(c: Request, number: int, args: Any) -> None:
    """Whether no standing blackout is in an operation's way.  Raises Nfs4Error(DELAY, ACCESS).

    What had begun before a crash is not: it is carried on to its end.
    """
    touches = _TOUCHES.get(number)
    if touches is not None and c.unfinished() is None:
        for node in touches(c, args):
            check_blackouts(c.state, c, node, c.client)


def admit_open(c: Request, args: nfs4.OPEN4args, client: Client) -> None:
    """Whether no standing blackout is in an OPEN's way, before it makes anything.  Raises Nfs4Error(DELAY, ACCESS).

    What was held before a start may be claimed at any time.
    """
    claim = args.claim.claim
    if claim == nfs4.CLAIM_PREVIOUS or c.unfinished() is not None:
        return
    node = c.node()
    touched = [node]
    if claim == nfs4.CLAIM_NULL and node.kind == stat.S_IFDIR and args.claim.file is not None:
        touched = _entry(c, node, args.claim.file)
    for node in touched:
        check_blackouts(c.state, c, node, client)


def note_attribute(c: Request, node: Node, name: bytes, value: bytes | None) -> None:
    """An extended attribute is about to be set, or removed (None).  Raises Nfs4Error(INVAL).

    What a file says of its blackout counts from the next start on: nobody can end one early by changing it.
    """
    if name == ATTRIBUTE:
        if value is not None:
            check_value(value)
        waiting = c.state.filter.waiting
        if waiting is not None:
            waiting.of_object(node.handle)
