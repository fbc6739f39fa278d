"""The row of one operation in the operation table (`nfsd/compound/table.py`).

Owns what is said of an operation, and the packing of what a failed one carries.  Must not know any operation.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from xdr.generated import nfs4

Handler = Callable[..., Any]
FailureArm = tuple[str, tuple[int, ...] | None]

_TWO = struct.Struct(">2I")
UNBOUNDED = 1 << 40
# The "type" of a result that its handler encodes itself, operation number and status included.
ENCODED = "encoded"


class Operation:
    """One row.

    number, name        as the RFC has them
    handler             (Request, args) -> the result's success arm; raises Nfs4Error
    args, result        the XDR types' names, None for void; "raw": the handler returns the encoded body
    minor_first, _last  the minor versions that have it
    needs_node          needs a current file handle
    sessionless         may come without SEQUENCE, alone (RFC 8881 2.10.6.4, 18.46.3)
    modifies            changes a file system or protocol state: its reply's size is checked beforehand
    blocks              the handler is a generator whose steps run in threads
    reply_size          the most bytes that a successful result takes
    writes              changes files: refused where the client may only read
    last                nothing behind it can be decoded
    checked             its place, its size or the store's room has to be checked beforehand
    when_full           it adds to the stored state: its status where the store has no room left, RESOURCE in NFSv4.0
    calls               how often it has been called
    failure             (type, statuses) of the arm that a failure carries; statuses None: every failure
    """

    __slots__ = (
        "number", "name", "handler", "unpack", "pack", "minor_first", "minor_last", "needs_node", "sessionless",
        "modifies", "blocks", "reply_size", "failure", "success", "writes", "calls",
        "checked", "last", "encodes", "when_full",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        handler: Handler,
        args: str | None = None,
        result: str | None = None,
        *,
        minors: tuple[int, int] = (0, 2),
        needs_node: bool = False,
        sessionless: bool = False,
        modifies: bool = False,
        blocks: bool = False,
        reply_size: int | None = None,
        failure: FailureArm | None = None,
        writes: bool = False,
        last: bool = False,
        when_full: int | None = None,
    ) -> None:
        self.name = name
        self.number: int = getattr(nfs4, f"OP_{name}")
        self.handler = handler
        self.unpack: Callable[[Any], Any] | None = getattr(nfs4.Nfs4Unpacker, f"unpack_{args}") if args else None
        self.encodes = result == ENCODED
        self.pack: Callable[[Any, Any], None] | None = None
        if result and not self.encodes:
            self.pack = getattr(nfs4.Nfs4Packer, f"pack_{result}")
        self.minor_first, self.minor_last = minors
        self.needs_node = needs_node
        self.sessionless = sessionless
        self.modifies = modifies
        self.blocks = blocks
        # Without a bound the reply's size is counted whenever that could matter.
        self.reply_size = reply_size or (8 if result is None else UNBOUNDED)
        self.failure = (getattr(nfs4.Nfs4Packer, f"pack_{failure[0]}"), failure[1]) if failure else None
        self.checked = modifies or name == "SEQUENCE" or when_full is not None
        self.when_full = when_full
        self.last = last
        self.writes = writes
        self.calls = 0
        self.success = _TWO.pack(self.number, nfs4.NFS4_OK)

    def pack_failure(self, packer: nfs4.Nfs4Packer, status: int, body: Any) -> None:
        """Pack what a failed result carries besides its status, if anything."""
        if self.failure is None:
            return
        pack, statuses = self.failure
        if statuses is None:
            pack(packer, body or 0)
        elif status in statuses:
            pack(packer, body)
