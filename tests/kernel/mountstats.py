"""Reads the Linux client's own counters (/proc/self/mountstats): what it really sent, and what failed.

Owns the format; it must not know guests. Tests use it to assert what the client did, e.g. that nothing made
it set up its client again after the mount.
"""

import re
from dataclasses import dataclass

from tests.support.judge import introductions

# The fields of one operation's row (include/linux/sunrpc/metrics.h), times in milliseconds.
FIELDS = ("operations", "transmissions", "timeouts", "sent", "received", "queue_ms", "rtt_ms", "execute_ms", "errors")
ROW = re.compile(r"^\s+([A-Z0-9_]+):((?: \d+){8,9})$")
DEVICE = re.compile(r"^device (\S+) mounted on (\S+) with fstype (\S+)")


@dataclass(frozen=True, slots=True)
class Counters:
    """One operation's counters."""

    operations: int = 0
    transmissions: int = 0
    timeouts: int = 0
    sent: int = 0
    received: int = 0
    queue_ms: int = 0
    rtt_ms: int = 0
    execute_ms: int = 0
    errors: int = 0

    @property
    def resent(self) -> int:
        """Transmissions beyond one for each operation."""
        return max(0, self.transmissions - self.operations)


NONE = Counters()


class MountStats:
    """One mount's counters by operation name (the kernel's spelling, e.g. READ, EXCHANGE_ID)."""

    def __init__(self, rows: dict[str, Counters]) -> None:
        self.rows = rows

    def __getitem__(self, operation: str) -> Counters:
        return self.rows.get(operation, NONE)

    def since(self, earlier: "MountStats") -> "MountStats":
        """Return what was counted after an earlier reading."""
        return MountStats(
            {
                name: Counters(*(getattr(row, field) - getattr(earlier[name], field) for field in FIELDS))
                for name, row in self.rows.items()
            }
        )

    def used(self) -> dict[str, int]:
        """How often each operation that occurred was sent."""
        return {name: row.operations for name, row in self.rows.items() if row.operations}

    def set_up_again(self) -> dict[str, int]:
        """The operations among these by which a client introduces itself."""
        return introductions(self.used())


def parse(text: str, mounted_on: str) -> MountStats:
    """Return the counters of the NFSv4 mount at a mount point.

    Raises:
        LookupError: it is not mounted, or the kernel shows no counters for it.
    """
    rows: dict[str, Counters] = {}
    inside = False
    for line in text.splitlines():
        if device := DEVICE.match(line):
            inside = device[2] == mounted_on and device[3] == "nfs4"
        elif inside and (row := ROW.match(line)):
            rows[row[1]] = Counters(*map(int, row[2].split()))
    if not rows:
        raise LookupError(f"no NFS counters for {mounted_on}")
    return MountStats(rows)
