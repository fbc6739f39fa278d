"""Plain counts of what a serving process has done, for the figures.

Owns the numbers: whoever does something counts it here, and `nfsd/admin` reads them.
"""

from __future__ import annotations

from collections import Counter


class Counters:
    """Everything since the process began to serve; sizes in bytes."""

    __slots__ = (
        "requests",
        "replays",
        "received_bytes",
        "sent_bytes",
        "clients_expired",
        "connections_accepted",
        "connections_refused",
        "connections_dropped",
        "store_refusals",
        "bad_requests",
        "errors",
        "recovered",
    )

    def __init__(self) -> None:
        self.requests = 0
        self.replays = 0
        self.received_bytes = 0
        self.sent_bytes = 0
        self.clients_expired = 0
        self.connections_accepted = 0
        self.connections_refused: Counter[str] = Counter()
        """By the limit that was reached."""
        self.connections_dropped: Counter[str] = Counter()
        """By the limit that was reached."""
        self.store_refusals = 0
        """Operations that were refused because the store was nearly full."""
        self.bad_requests: Counter[str] = Counter()
        """Records that were no request of ours, by what was wrong."""
        self.errors: Counter[int] = Counter()
        """Operations that failed, by nfsstat4."""
        self.recovered: Counter[str] = Counter()
        """Requests that a crash interrupted, by what became of them."""
