"""What all compounds of one serving process share: the services that operations ask, and the machinery around them.

Owns the list.  It is complete before the first request, be it a client's or one that a crash interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nfsd.compound.in_doubt import InDoubt
from nfsd.counters import Counters
from nfsd.durable.faults import Faults
from nfsd.durable.outbox import Destination, Outbox
from nfsd.durable.threads import Threads
from nfsd.services import Services
from nfsd.state.reply_cache import Key, ReplyCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The parts of one process that evaluates compounds.

    `syncs` says that what was changed in a file system has to be on the disk before its reply leaves (level
    "power").  `now` is the server's clock in seconds, which never jumps; `file_ns` the clock that files' times are
    taken from, in ns.
    """

    services: Services
    outbox: Outbox
    threads: Threads
    faults: Faults
    counters: Counters
    replies: ReplyCache
    syncs: bool
    now: Callable[[], float]
    file_ns: Callable[[], int]
    in_doubt: InDoubt = field(default_factory=InDoubt)
    under_way: dict[Key, list[tuple[Destination, int]]] = field(default_factory=dict)
    """NFSv4.0 requests that may be put aside, each with where it was sent again meanwhile, and its xid there."""

    @property
    def puts_aside(self) -> bool:
        """Whether a request may have to wait in the middle of an operation, for a tree that is served apart."""
        return self.services.namespace.has_apart
