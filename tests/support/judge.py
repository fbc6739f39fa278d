"""What every suite takes for a fault of a server that died and went on: stalls, introductions, complaints, log lines.

Owns the rules that do not depend on how the server died and who wrote down what followed. Three judges stand on it,
which judge different things and share no more than this: `tests.kernel.judge` has the answers that two clients got and
the host's disk; `vagrant.failover.judge` what machines wrote down, and whether the power and the fence did as they
should; `tests.soak.ledger` compares a store with what was acknowledged, and needs nothing of this.

Reads values only: it must not know how they were come by. Standard library only: `vagrant` runs without ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# By these a client introduces itself, or claims what it had: after the mount each one means that it lost something.
INTRODUCTIONS = (
    "EXCHANGE_ID",
    "CREATE_SESSION",
    "DESTROY_SESSION",
    "SETCLIENTID",
    "SETCLIENTID_CONFIRM",
    "RECLAIM_COMPLETE",
)
# What a client's kernel says when it met something that no test provokes.
ALARMS = re.compile(
    r"Kernel panic|BUG:|Oops|WARNING:|not responding|blocked for more than|reclaim failed|state manager"
    r"|nfs4?_\w+.*(error|failed)|NFS:.*(error|failed|lost|server returned)|fragment too large|refused"
)
# A server's own mistakes, in its log and in what it wrote where no log was.
FAULT_LEVELS = ("error", "critical")
FAULT_LINE = re.compile(rf'Traceback \(most recent call last\)|"level": ?"({"|".join(FAULT_LEVELS)})"')


def introductions(operations: Mapping[str, int]) -> dict[str, int]:
    """Of how often a client sent each operation, those by which it introduced itself."""
    return {name: operations[name] for name in INTRODUCTIONS if operations.get(name)}


def longest_gap(moments: Sequence[float], start: float, end: float) -> float:
    """The longest time between two steps that overlaps a span, 0 if none does."""
    pairs = zip(moments, moments[1:], strict=False)
    return max((after - before for before, after in pairs if after > start and before < end), default=0.0)


def stall(moments: Sequence[float], quiet: tuple[float, float], span: tuple[float, float]) -> float:
    """How long work stood still in a span of time, beyond its longest gap in a quiet time."""
    return max(0.0, longest_gap(moments, *span) - longest_gap(moments, *quiet))


def went_on(moments: Sequence[float], moment: float) -> bool:
    """Whether anything was done after a moment: what stands still for good has no gap to be measured."""
    return bool(moments) and moments[-1] > moment


def faults(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of a server's log, the lines in which it owns up to a mistake of its own."""
    return [row for row in rows if row.get("level") in FAULT_LEVELS]
