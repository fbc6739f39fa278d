"""Services: what operations may ask of the server that carries them out.

Owns the list.  It is complete before the first connection is taken, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nfsd.config import Limits
from nfsd.durable.verifier import WriteVerifier
from nfsd.exports import Namespace
from nfsd.state.tables import State


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the server is: the same on every node of a cluster (RFC 8881 2.5)."""

    owner: bytes
    """so_major_id of EXCHANGE_ID."""
    scope: bytes
    """eir_server_scope of EXCHANGE_ID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """One serving process's services."""

    state: State
    namespace: Namespace
    limits: Limits
    lease_time_s: int
    now: Callable[[], float]
    """The clock of `Request.now`: seconds, which never jump."""
    client_moves: str
    """One of `nfsd.config.CLIENT_MOVES`: when another instance of a client may come from another address."""
    identity: Identity
    verifier: WriteVerifier
    writes_lost: Callable[[], None]
    """To be called, in any thread, when data that was not committed may have been lost."""
    random_bytes: Callable[[int], bytes]
    """That many bytes, which nobody can guess."""
