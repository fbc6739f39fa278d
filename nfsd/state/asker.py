"""Who asks: what a change of protocol state may know of the request that asks for it.

Owns these few facts.  `nfsd/ops/request.py` adds what an operation may know besides.
"""

from __future__ import annotations

from nfsd.attributes.encode import Environment
from nfsd.rpc.connection import Connection
from nfsd.state.model import Client
from statestore import ChangeSet


class Asker(Environment):
    """One request as the protocol state sees it.  It is made as a `Compound`; tests make their own kind.

    minor       the minor version, 0 to 2
    now         the server's clock in seconds when the request began
    connection  where it came from
    client      who asks, as soon as that is known: by SEQUENCE, by a clientid or by a stateid
    changes     what the request has changed so far; it becomes durable together with the reply
    revealed    the reply shows state that another request may have changed and that may not be durable yet
    stateid     the current stateid (RFC 8881 16.2.3.1.2) as (seqid, other)
    """

    __slots__ = ("now", "connection", "client", "changes", "revealed", "stateid")

    now: float
    connection: Connection
    client: Client | None
    changes: ChangeSet
    revealed: bool
    stateid: tuple[int, bytes] | None
